//! Shared: loom models of processes without a body: whoever comes first has them.
use super::{Token, explore, process};
use crate::exit::ExitReason;
use crate::mailbox::Mailbox;
use crate::process::address::Address;
use crate::process::control::{AnyProcess, Control, Process, doom};
use crate::process::{dormant, ending, joint};
use crate::scheduler::Home;
use loom::thread;
use std::sync::Arc;
use std::task::Waker;

/// A dormant process that traps exits, linked to the peer, and what is unparked when it is woken.
fn asleep(home: &Arc<Home>, peer: &AnyProcess) -> (Address<u32>, Arc<Token>) {
    let control: Arc<Control<u32>> = process(home, Mailbox::default());
    let token = Arc::new(Token::default());
    {
        let mut core = control.core();
        (core.dormant, core.trapping) = (true, true);
        core.wait();
        core.waker = Some(Waker::from(Arc::clone(&token)));
    }
    let any: AnyProcess = control.clone();
    joint::link(&any, peer);
    (Address::new(control), token)
}

#[test]
fn a_dormant_process_is_retired_or_woken_by_a_message() {
    explore(|| {
        let home = Home::detached();
        let peer: AnyProcess = process(&home, Mailbox::default());
        let (address, token) = asleep(&home, &peer);
        let control = Arc::clone(&address.control);
        let sender = thread::spawn(move || control.push(1).is_ok());
        let retired = address.retire(Some(peer.head().pid));
        let sent = sender.join().expect("no sender fails");
        assert_ne!(retired, sent);
        if sent {
            // For ever, if it was not woken.
            token.park();
            assert!(dormant::claim(&address.control) && !address.retire(None));
        }
        joint::unlink(&peer, &(address.control.clone() as AnyProcess));
        assert_eq!((peer.core().links.len(), address.control.head.is_gone()), (0, retired));
    });
}

#[test]
fn a_dormant_process_is_retired_or_learns_of_its_peers_end() {
    explore(|| {
        let home = Home::detached();
        let peer: AnyProcess = process(&home, Mailbox::default());
        let (address, token) = asleep(&home, &peer);
        let (dying, pid) = (peer.clone(), peer.head().pid);
        let end = thread::spawn(move || {
            doom(&dying, ExitReason::Killed);
            ending::finish(&dying).complete();
        });
        let retired = address.retire(Some(pid));
        end.join().expect("an end does not fail");
        let signals = address.control.core().signals.take();
        assert_eq!(signals.is_some(), !retired);
        if !retired {
            token.park();
            assert!(dormant::claim(&address.control));
        }
        assert_eq!((peer.core().links.len(), address.control.core().links.len()), (0, 0));
    });
}

#[test]
fn who_links_to_a_dormant_process_that_retires_is_told_or_keeps_it() {
    explore(|| {
        let home = Home::detached();
        let peer: AnyProcess = process(&home, Mailbox::default());
        let other: AnyProcess = process(&home, Mailbox::default());
        other.core().trapping = true;
        let (address, _token) = asleep(&home, &peer);
        let linker = {
            let (other, process) = (other.clone(), address.control.clone() as AnyProcess);
            thread::spawn(move || joint::link(&other, &process))
        };
        let retired = address.retire(Some(peer.head().pid));
        assert!(linker.join().expect("linking does not fail"));
        let told = other.core().signals.take().is_some();
        let linked = other.core().links.contains(address.pid());
        assert_eq!((told, linked), (retired, !retired));
        let process: AnyProcess = address.control.clone();
        joint::unlink(&other, &process);
        joint::unlink(&peer, &process);
    });
}

#[test]
fn a_dormant_process_gets_one_body_or_none() {
    explore(|| {
        let home = Home::detached();
        let peer: AnyProcess = process(&home, Mailbox::default());
        let (address, _token) = asleep(&home, &peer);
        let control = Arc::clone(&address.control);
        let other = thread::spawn(move || u32::from(dormant::claim(&control)));
        let mine = u32::from(dormant::claim(&address.control));
        let retired = u32::from(address.retire(Some(peer.head().pid)));
        assert_eq!(mine + other.join().expect("claiming does not fail") + retired, 1);
        joint::unlink(&peer, &(address.control.clone() as AnyProcess));
    });
}
