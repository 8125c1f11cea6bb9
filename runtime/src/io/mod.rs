//! Shared: the poller of sockets: made when the first socket is, asked by one thread at a time.
//!
//! Whose turn it is to ask, [`turn`] says: a worker that goes to sleep, for as long as it sleeps; a busy one at a tick, in passing.
//! One may park before there is a poller, which is why making it wakes all. Sleeping there and being woken from there is
//! [`crate::scheduler::parker`]'s.
//!
//! `sockets` knows the readiness of each socket by its token: a place and a generation, so that an event that was fetched
//! before its socket was closed does not reach the next in its place. (Events are not kept beyond one fetch, so that a
//! generation that wraps harms nobody.) The two locks are never held together with another, but for `sockets` under the turn,
//! and one socket's under `sockets`. Wakers are collected under them and woken after.
pub(crate) mod readiness;
pub(crate) mod socket;
pub(crate) mod turn;

use crate::limits::IO_EVENTS;
use crate::process::ending::wake_caught;
use crate::scheduler::parker::Parker;
use crate::shared::Shared;
use mio::event::{Event, Source};
use mio::{Events, Interest, Poll, Registry, Token};
use once_cell::sync::OnceCell;
use parking_lot::Mutex;
use readiness::{Edge, Readiness};
use slab::Slab;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;
use turn::Turn;

/// The token of the poller's own waker; no socket has it, since places are counted from 0 and end before.
const WAKE: Token = Token(usize::MAX);
/// Half of a token is the place, half the generation.
const HALF: u32 = usize::BITS / 2;
const PLACE: usize = (1 << HALF) - 1;

/// The sockets of a runtime; nothing until there is one.
#[derive(Default)]
pub(crate) struct Io {
    poller: OnceCell<Poller>,
    /// Set in a simulation: real sockets are refused.
    refused: bool,
}

pub(crate) struct Poller {
    turn: Turn<Polling>,
    registry: Registry,
    waker: mio::Waker,
    sockets: Mutex<Sockets>,
}

struct Polling {
    poll: Poll,
    events: Events,
}

#[derive(Default)]
struct Sockets {
    all: Slab<Arc<Readiness>>,
    /// Of each place, for they must outlive what is in it.
    generations: Vec<usize>,
    /// The runtime is closed: none is taken in.
    closed: bool,
}

/// Why a real socket was refused: the program runs in a simulation, whose result would depend on it.
///
/// It stands in an [`io::Error`] of the kind [`Unsupported`](io::ErrorKind::Unsupported).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketInSimulation;

impl fmt::Display for SocketInSimulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a real socket in a simulation: let processes stand for the peers, or use a simulated transport")
    }
}

impl std::error::Error for SocketInSimulation {}

/// What sockets say on a runtime that has shut down.
pub(crate) fn runtime_is_over() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the runtime has shut down")
}

impl Io {
    /// Of a simulation.
    pub(crate) fn refusing() -> Self {
        Self { poller: OnceCell::new(), refused: true }
    }

    /// The poller, made if there is none yet.
    fn poller(&self, shared: &Shared) -> io::Result<&Poller> {
        if self.refused {
            return Err(io::Error::new(io::ErrorKind::Unsupported, SocketInSimulation));
        }
        if let Some(poller) = self.poller.get() {
            return Ok(poller);
        }
        let poller = self.poller.get_or_try_init(Poller::new)?;
        // Workers that sleep have parked without looking into it.
        shared.wake_all();
        Ok(poller)
    }

    /// Sleeps until something comes, the parker is unparked or the time is over; in the poller if that is free. Whoever is
    /// to be woken is added to `woken`; `note` is called if it is the poller.
    pub(crate) fn sleep(&self, parker: &Parker, at_most: Duration, woken: &mut Vec<Waker>, note: impl FnOnce()) {
        let slept = self.poller.get().is_some_and(|poller| {
            let fetch = |polling: &mut Polling, now| {
                poller.fetch(polling, if now { Duration::ZERO } else { at_most }, woken);
            };
            poller.turn.sleep(parker, note, fetch)
        });
        if !slept {
            parker.park(at_most);
        }
    }

    /// A look in passing, by a worker that is busy, if nobody has asked for a while.
    #[inline]
    pub(crate) fn look(&self, now: u64, woken: &mut Vec<Waker>) {
        if let Some(poller) = self.poller.get() {
            poller.turn.look(now, |polling| poller.fetch(polling, Duration::ZERO, woken));
        }
    }

    /// How often the poller has been asked, if nobody sleeps in it: the same number twice says that nobody comes to it.
    pub(crate) fn unattended(&self) -> Option<u64> {
        self.poller.get()?.turn.unattended()
    }

    /// Wakes the thread that sleeps in the poller.
    pub(crate) fn wake(&self) {
        if let Some(poller) = self.poller.get() {
            // It fails only when the system has no memory for it; the sleeper looks up by itself then.
            let _ = poller.waker.wake();
        }
    }

    /// The runtime is closed: whoever waits for a socket waits no more.
    pub(crate) fn close(&self) {
        let Some(poller) = self.poller.get() else { return };
        let mut sockets = poller.sockets.lock();
        sockets.closed = true;
        let wakers: Vec<Waker> = sockets.all.iter().flat_map(|(_, socket)| socket.end()).flatten().collect();
        drop(sockets);
        wakers.into_iter().for_each(wake_caught);
    }
}

impl Poller {
    fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let waker = mio::Waker::new(&registry, WAKE)?;
        let polling = Polling { poll, events: Events::with_capacity(IO_EVENTS) };
        Ok(Self { turn: Turn::new(polling), registry, waker, sockets: Mutex::default() })
    }

    /// Fetches events, for no longer than `at_most`, and notes them.
    fn fetch(&self, polling: &mut Polling, at_most: Duration, woken: &mut Vec<Waker>) {
        let Polling { poll, events } = polling;
        // An interrupt is a reason to look around like any other; what else fails is a bug of ours.
        if let Err(error) = poll.poll(events, Some(at_most)) {
            debug_assert_eq!(error.kind(), io::ErrorKind::Interrupted, "{error}");
            return;
        }
        if events.is_empty() {
            return;
        }
        let sockets = self.sockets.lock();
        for event in events.iter().filter(|event| event.token() != WAKE) {
            let place = event.token().0 & PLACE;
            if sockets.generations.get(place).copied() == Some(event.token().0 >> HALF)
                && let Some(socket) = sockets.all.get(place)
            {
                woken.extend(socket.tell(edge_of(event)).into_iter().flatten());
            }
        }
    }

    fn register(&self, source: &mut impl Source, readiness: &Arc<Readiness>) -> io::Result<usize> {
        let mut sockets = self.sockets.lock();
        if sockets.closed {
            return Err(runtime_is_over());
        }
        let place = sockets.all.insert(Arc::clone(readiness));
        if place == sockets.generations.len() {
            sockets.generations.push(0);
        }
        let token = Token(sockets.generations[place] << HALF | place);
        drop(sockets);
        let registered = self.registry.register(source, token, Interest::READABLE | Interest::WRITABLE);
        if let Err(error) = registered {
            self.forget(place);
            return Err(error);
        }
        Ok(place)
    }

    fn deregister(&self, source: &mut impl Source, place: usize) {
        // Closing it takes it out of the poller as well.
        let _ = self.registry.deregister(source);
        self.forget(place);
    }

    fn forget(&self, place: usize) {
        let mut sockets = self.sockets.lock();
        let generation = (sockets.generations[place] + 1) & PLACE;
        sockets.generations[place] = generation;
        let readiness = sockets.all.remove(place);
        drop(sockets);
        drop(readiness);
    }
}

fn edge_of(event: &Event) -> Edge {
    let error = event.is_error();
    Edge {
        readable: event.is_readable(),
        writable: event.is_writable(),
        read_closed: event.is_read_closed() || error,
        write_closed: event.is_write_closed() || error,
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_simulation_refuses_sockets_and_says_so() {
        let shared = Shared::detached();
        let error = Io::refusing().poller(&shared).err().expect("refused");
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        let inner = error.into_inner().expect("it says more");
        assert!(inner.downcast::<SocketInSimulation>().is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn an_event_of_a_closed_socket_does_not_reach_the_next_in_its_place() {
        let poller = Poller::new().expect("a poller");
        let (old, new) = (Arc::new(Readiness::unready()), Arc::new(Readiness::unready()));
        let (mut socket, peer) = std::os::unix::net::UnixStream::pair()
            .map(|(a, b)| {
                a.set_nonblocking(true).expect("a socket takes that");
                (mio::net::UnixStream::from_std(a), b)
            })
            .expect("a pair");
        let place = poller.register(&mut socket, &old).expect("room");
        std::io::Write::write_all(&mut &peer, b"x").expect("room");
        // Fetched by hand, so that the place changes hands between the fetch and the telling.
        let token = poller.turn.with(|Polling { poll, events }| {
            poll.poll(events, Some(Duration::from_secs(10))).expect("a fetch");
            events.iter().next().expect("an event").token()
        });
        poller.deregister(&mut socket, place);
        assert_eq!(poller.register(&mut socket, &new).expect("room"), place);
        assert_ne!(poller.sockets.lock().generations[place], token.0 >> HALF);
        let mut woken = Vec::new();
        poller.turn.with(|polling| poller.fetch(polling, Duration::from_secs(10), &mut woken));
        assert_eq!(old.chance(readiness::Direction::Read), readiness::Chance::Wait);
        assert_ne!(new.chance(readiness::Direction::Read), readiness::Chance::Wait, "its own event came");
    }

    /// From outside, the descriptors and the system's poller tell that sockets are gone (`tests/socket_kills.rs`); not this.
    #[cfg(unix)]
    #[test]
    fn of_a_process_that_is_killed_at_a_socket_no_place_is_left() {
        use crate::{Context, Runtime, Whereabouts};
        let runtime = Runtime::builder().workers(1).build().expect("a runtime");
        let places = || {
            let poller = runtime.home().shared.scheduler.io.poller.get().expect("a socket was made");
            poller.sockets.lock().all.len()
        };
        runtime.block_on(async {
            let (near, far) = crate::net::UnixStream::pair(&runtime).expect("a pair");
            let reads = runtime.spawn(async move |_: Context<()>| drop(far.read(&mut [0]).await));
            let reads = reads.expect("room for a process");
            while runtime.info(reads.pid()).expect("it lives").whereabouts != Whereabouts::Io {
                std::thread::yield_now();
            }
            assert_eq!(places(), 2);
            reads.kill();
            reads.ended().await;
            assert_eq!(places(), 1);
            drop(near);
            assert_eq!(places(), 0);
        });
    }
}
