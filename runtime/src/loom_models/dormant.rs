//! Shared: loom models of processes without a body: whoever comes first has them.
use super::{Token, explore, process};
use crate::exit::ExitReason;
use crate::mailbox::Mailbox;
use crate::process::address::Address;
use crate::process::control::{AnyProcess, Control, Process, doom};
use crate::process::latent::{Dormant, Origin, Peer};
use crate::process::{dormant, ending, joint};
use crate::runtime::Handle;
use crate::scheduler::Home;
use crate::sync::Mutex;
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

fn retire(address: &Address<u32>, peer: Option<crate::pid::Pid>) -> bool {
    dormant::retire(&(address.control.clone() as AnyProcess), peer)
}

/// A dormant process without a control block, whose peer is a process of numbers.
struct Latent {
    origin: Origin,
    runtime: Handle,
    peer: Address<u32>,
    /// Whom it says it is linked to.
    linked: Mutex<Option<Address<u32>>>,
    token: Arc<Token>,
}

impl Dormant for Latent {
    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn runtime(&self) -> &Handle {
        &self.runtime
    }

    fn peer(&self) -> Option<Peer> {
        self.linked.lock().as_ref().map(Peer::from)
    }

    fn waker(self: Arc<Self>) -> Waker {
        Waker::from(Arc::clone(&self.token))
    }
}

fn latent(home: &Arc<Home>) -> (Arc<Latent>, crate::pid::Pid) {
    let runtime = Handle::new(Arc::clone(home));
    let peer = Address::new(process(home, Mailbox::default()));
    let (linked, token) = (Mutex::new(Some(peer.clone())), Arc::default());
    let latent = Arc::new(Latent { origin: Origin::new(), runtime: runtime.clone(), peer, linked, token });
    let pid = runtime.spawn_dormant(&latent, None).expect("room in the table");
    (latent, pid)
}

impl Latent {
    /// How its peer has it: as one without a control block, and as any other.
    fn links(&self, pid: crate::pid::Pid) -> (usize, bool) {
        links(&self.peer, pid)
    }
}

fn links(peer: &Address<u32>, pid: crate::pid::Pid) -> (usize, bool) {
    let core = peer.control.core();
    (core.extra.as_ref().map_or(0, |extra| extra.latent.len()), core.links.contains(pid))
}

/// As a dispatch's record goes from a consumer that ends to another.
#[test]
fn a_latent_process_that_is_found_while_its_link_moves_has_the_new_link_or_is_seen_to_be_found() {
    explore(|| {
        let home = Home::detached();
        let (latent, pid) = latent(&home);
        latent.peer.send_linked(1, &*latent).expect("it lives").wake();
        let other = Address::new(process(&home, Mailbox::default()));
        let finder = {
            let home = Arc::clone(&home);
            thread::spawn(move || home.shared.table.get(pid).expect("it is there"))
        };
        let moves = || {
            let mut linked = latent.linked.lock();
            if latent.origin.is_made() {
                return false;
            }
            *linked = None;
            let link = latent.origin.link(pid);
            drop(linked);
            latent.peer.forget_dormant(link);
            let mut linked = latent.linked.lock();
            if latent.origin.is_made() {
                return false;
            }
            *linked = Some(other.clone());
            let sent = other.send_linked(2, &*latent).expect("it lives");
            drop(linked);
            sent.wake();
            true
        };
        let moved = moves();
        let found = finder.join().expect("looking does not fail");
        let own = |peer: &Address<u32>| found.core().links.contains(peer.pid());
        if moved {
            assert_eq!((links(&other, pid), own(&other)), ((0, true), true));
            assert_eq!((latent.links(pid), own(&latent.peer)), ((0, false), false));
        } else {
            // Both know of the old link, or neither does, and whoever moves it links the found one to the other.
            assert_eq!(latent.links(pid), (0, own(&latent.peer)));
            assert_eq!((links(&other, pid), own(&other)), ((0, false), false));
        }
    });
}

#[test]
fn a_latent_process_is_retired_or_found() {
    explore(|| {
        let home = Home::detached();
        let (latent, pid) = latent(&home);
        latent.peer.send_linked(1, &*latent).expect("it lives").wake();
        let found = {
            let home = Arc::clone(&home);
            thread::spawn(move || home.shared.table.get(pid))
        };
        // Whoever only looks does not keep it.
        assert!(latent.runtime.retire(&*latent, Some(&latent.peer)));
        let found = found.join().expect("looking does not fail");
        assert!(found.is_none_or(|process| process.head().is_gone()));
        assert!(home.shared.table.get(pid).is_none());
        assert_eq!(latent.links(pid), (0, false));
    });
}

#[test]
fn a_latent_process_that_is_found_while_it_is_linked_has_one_link() {
    explore(|| {
        let home = Home::detached();
        let (latent, pid) = latent(&home);
        let found = {
            let home = Arc::clone(&home);
            thread::spawn(move || home.shared.table.get(pid))
        };
        latent.peer.send_linked(1, &*latent).expect("it lives").wake();
        let found = found.join().expect("looking does not fail").expect("it is there");
        assert!(found.core().links.contains(latent.peer.pid()));
        assert_eq!(latent.links(pid), (0, true));
        assert!(latent.runtime.retire(&*latent, Some(&latent.peer)));
        assert_eq!(latent.links(pid), (0, false));
    });
}

#[test]
fn a_latent_process_is_retired_or_learns_of_its_peers_end() {
    explore(|| {
        let home = Home::detached();
        let (latent, pid) = latent(&home);
        let dying: AnyProcess = latent.peer.control.clone();
        let end = thread::spawn(move || {
            doom(&dying, ExitReason::Killed);
            ending::finish(&dying).complete();
        });
        let sent = latent.peer.send_linked(1, &*latent).is_ok();
        let retired = latent.runtime.retire(&*latent, Some(&latent.peer));
        end.join().expect("an end does not fail");
        assert!(sent || retired, "one that is linked to nobody learns of nothing");
        if !retired {
            // For ever, if it was not woken.
            latent.token.park();
            let process = home.shared.table.get(pid).expect("it is there");
            assert!(process.core().signals.is_some());
        }
        assert_eq!(home.shared.table.get(pid).is_none(), retired);
    });
}

#[test]
fn a_dormant_process_is_retired_or_woken_by_a_message() {
    explore(|| {
        let home = Home::detached();
        let peer: AnyProcess = process(&home, Mailbox::default());
        let (address, token) = asleep(&home, &peer);
        let control = Arc::clone(&address.control);
        let sender = thread::spawn(move || control.push(1).is_ok());
        let retired = retire(&address, Some(peer.head().pid));
        let sent = sender.join().expect("no sender fails");
        assert_ne!(retired, sent);
        if sent {
            // For ever, if it was not woken.
            token.park();
            assert!(dormant::claim(&address.control) && !retire(&address, None));
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
        let retired = retire(&address, Some(pid));
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
        let retired = retire(&address, Some(peer.head().pid));
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
        let retired = u32::from(retire(&address, Some(peer.head().pid)));
        assert_eq!(mine + other.join().expect("claiming does not fail") + retired, 1);
        joint::unlink(&peer, &(address.control.clone() as AnyProcess));
    });
}
