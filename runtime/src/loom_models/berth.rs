//! Shared: loom models of dormant processes in berths: whoever comes first has them. A harbor's lock is held below one of the
//! table's, which loom does not see, so it sees neither: what happens under them is one step.
use super::{Token, explore, process};
use crate::mailbox::Mailbox;
use crate::pid::Pid;
use crate::process::address::Address;
use crate::process::berth::{Berth, Busy, Harbor};
use crate::process::control::Process;
use crate::process::latent::{Dormant, Origin, Peer};
use crate::runtime::Handle;
use crate::scheduler::Home;
use loom::thread;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::Duration;

/// A dormant process that is linked to a process of numbers.
struct Guest {
    origin: Origin,
    runtime: Handle,
    peer: Address<u32>,
    token: Arc<Token>,
}

impl Dormant for Guest {
    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn runtime(&self) -> &Handle {
        &self.runtime
    }

    fn peer(&self) -> Option<Peer> {
        Some(Peer::from(&self.peer))
    }

    fn waker(self: Arc<Self>) -> Waker {
        Waker::from(Arc::clone(&self.token))
    }
}

/// A harbor with one berth.
struct Pier(Mutex<Place>);

#[derive(Default)]
struct Place {
    berth: Option<Berth>,
    guest: Option<Arc<Guest>>,
}

impl Harbor for Pier {
    fn release(&self, _: usize, pid: Pid) -> Option<Arc<dyn Dormant>> {
        let mut place = self.0.lock();
        place.berth.as_ref().filter(|berth| berth.pid() == pid)?;
        let guest = place.guest.take()?;
        let _slot = place.berth.take();
        Some(guest)
    }

    fn look(&self, _: usize, _: Duration) -> Result<Option<Arc<dyn Dormant>>, Busy> {
        Ok(self.0.lock().guest.clone().map(|guest| guest as Arc<dyn Dormant>))
    }

    fn len(&self) -> usize {
        usize::from(self.0.lock().guest.is_some())
    }

    fn idle(&self) -> Vec<Berth> {
        let mut place = self.0.lock();
        if place.guest.is_some() { Vec::new() } else { place.berth.take().into_iter().collect() }
    }
}

impl Pier {
    fn new(home: &Arc<Home>) -> Arc<Self> {
        let pier = Arc::new(Self(Mutex::new(Place::default())));
        let harbor: Arc<dyn Harbor> = Arc::<Self>::clone(&pier);
        let known: Weak<dyn Harbor> = Arc::downgrade(&harbor);
        home.shared.table.register(&known.upgrade().expect("it is here"));
        pier.0.lock().berth = Handle::new(Arc::clone(home)).berth(&harbor, 0);
        pier
    }

    /// A process takes the berth, and is sent to its peer.
    fn moor(&self, home: &Arc<Home>) -> (Arc<Guest>, Pid) {
        let peer = Address::new(process(home, Mailbox::default()));
        let runtime = Handle::new(Arc::clone(home));
        let guest = Arc::new(Guest { origin: Origin::new(), runtime, peer, token: Arc::default() });
        let mut place = self.0.lock();
        let pid = place.berth.as_mut().and_then(|berth| berth.take(&*guest, guest.peer.pid())).expect("it has pids");
        place.guest = Some(Arc::clone(&guest));
        drop(place);
        guest.peer.send_linked(1, &*guest).expect("it lives").wake();
        (guest, pid)
    }

    /// The process ends; true if it did so in its berth.
    fn end(&self, guest: &Guest, pid: Pid) -> bool {
        let ended = self.0.lock().guest.take().is_some();
        if ended {
            guest.peer.forget_dormant(guest.origin.link(pid));
        }
        ended
    }
}

fn links(guest: &Guest, pid: Pid) -> (usize, bool) {
    let core = guest.peer.control.core();
    (core.extra.as_ref().map_or(0, |extra| extra.latent.len()), core.links.contains(pid))
}

#[test]
fn a_process_ends_in_its_berth_or_is_found_and_ends_otherwise() {
    explore(|| {
        let home = Home::detached();
        let pier = Pier::new(&home);
        let (guest, pid) = pier.moor(&home);
        let found = {
            let home = Arc::clone(&home);
            thread::spawn(move || home.shared.table.get(pid))
        };
        let ended = pier.end(&guest, pid);
        if !ended {
            // Whoever only looks does not keep it.
            assert!(guest.runtime.retire(&*guest, Some(&guest.peer)));
        }
        let found = found.join().expect("looking does not fail");
        assert!(found.as_ref().is_none_or(|process| process.head().is_gone()));
        assert!(found.is_none() || !ended);
        assert!(home.shared.table.get(pid).is_none());
        assert_eq!(links(&guest, pid), (0, false));
    });
}

#[test]
fn two_who_look_for_a_process_in_a_berth_find_the_same() {
    explore(|| {
        let home = Home::detached();
        let pier = Pier::new(&home);
        let (guest, pid) = pier.moor(&home);
        let found = {
            let home = Arc::clone(&home);
            thread::spawn(move || home.shared.table.get(pid).expect("it is there"))
        };
        let other = home.shared.table.get(pid).expect("it is there");
        let found = found.join().expect("looking does not fail");
        assert!(Arc::ptr_eq(&found, &other));
        assert_eq!((links(&guest, pid), home.shared.table.len()), ((0, true), 2));
        assert!(guest.runtime.retire(&*guest, Some(&guest.peer)));
        assert_eq!((links(&guest, pid), home.shared.table.len()), ((0, false), 1));
    });
}

#[test]
fn who_looks_for_the_one_before_does_not_find_the_next_in_its_berth() {
    explore(|| {
        let home = Home::detached();
        let pier = Pier::new(&home);
        let (first, old) = pier.moor(&home);
        let found = {
            let home = Arc::clone(&home);
            thread::spawn(move || home.shared.table.get(old))
        };
        let in_berth = pier.end(&first, old);
        if in_berth {
            let (next, pid) = pier.moor(&home);
            let found = found.join().expect("looking does not fail");
            assert!(found.is_none() && pid != old);
            assert_eq!(links(&next, pid), (1, false), "nobody has had to do with it");
            assert!(home.shared.table.get(pid).is_some());
            assert!(next.runtime.retire(&*next, Some(&next.peer)));
        } else {
            assert!(found.join().expect("looking does not fail").is_some());
            assert!(first.runtime.retire(&*first, Some(&first.peer)));
        }
    });
}
