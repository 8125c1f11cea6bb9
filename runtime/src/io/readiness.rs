//! Shared: whether a socket is ready, and who waits for it: what the poller tells and what those who read and write find out.
//!
//! One lock for both directions; each has a flag, a count of the poller's tellings, and the waker of who waits. The poller is
//! told of a change once (edges), so that the flag may only be taken back by one who has seen the socket refuse: with the count
//! from before its attempt. If the poller has told of something meanwhile, the count is another and the flag stays; else the
//! next edge is still to come. Without the count, an edge between the attempt and the taking back would be lost, and whoever
//! waits would wait for ever. `wait` looks at the flag under the same lock under which it leaves the waker.
//!
//! No waker is woken or dropped under the lock.
use crate::sync::Mutex;
use std::task::Waker;

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// What the poller has seen of a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The peer has closed its half, or there is an error: no further edge may come.
    pub(crate) read_closed: bool,
    pub(crate) write_closed: bool,
}

#[derive(Default)]
struct Way {
    ready: bool,
    closed: bool,
    told: u64,
    waker: Option<Waker>,
    /// How many have left a waker so far: the number of the last one's.
    waits: u64,
}

pub(crate) struct Readiness(Mutex<Ways>);

struct Ways {
    read: Way,
    write: Way,
    /// The runtime has shut down: nobody polls.
    over: bool,
}

/// What one who wants to read or write may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chance {
    /// Try; the number is for [`Readiness::refused`] and [`Readiness::drained`].
    Try(u64),
    Wait,
    /// The runtime has shut down.
    Over,
}

impl Ways {
    fn way(&mut self, direction: Direction) -> &mut Way {
        match direction {
            Direction::Read => &mut self.read,
            Direction::Write => &mut self.write,
        }
    }
}

impl Way {
    fn tell(&mut self, ready: bool, closed: bool) -> Option<Waker> {
        if !(ready || closed) {
            return None;
        }
        self.ready = true;
        self.closed |= closed;
        self.told = self.told.wrapping_add(1);
        self.waker.take()
    }
}

impl Readiness {
    /// Of a socket that nobody has tried yet: trying costs less than being told.
    pub(crate) fn new() -> Self {
        let way = || Way { ready: true, ..Way::default() };
        Self(Mutex::new(Ways { read: way(), write: way(), over: false }))
    }

    /// Of a socket that is being connected: it is not to be tried before it is told of.
    pub(crate) fn unready() -> Self {
        Self(Mutex::new(Ways { read: Way::default(), write: Way::default(), over: false }))
    }

    /// Whether to try.
    pub(crate) fn chance(&self, direction: Direction) -> Chance {
        let mut ways = self.0.lock();
        if ways.over {
            return Chance::Over;
        }
        let way = ways.way(direction);
        if way.ready { Chance::Try(way.told) } else { Chance::Wait }
    }

    /// The socket would have blocked: the next edge is to come.
    pub(crate) fn refused(&self, direction: Direction, told: u64) {
        let mut ways = self.0.lock();
        let way = ways.way(direction);
        if way.told == told {
            way.ready = false;
        }
    }

    /// The socket did less than it was asked for: it has no more, unless it is closed, which no further edge may tell.
    pub(crate) fn drained(&self, direction: Direction, told: u64) {
        let mut ways = self.0.lock();
        let way = ways.way(direction);
        if way.told == told && !way.closed {
            way.ready = false;
        }
    }

    /// Leaves the waker for the next edge, and tells by what number it is taken back ([`Readiness::stop_waiting`]); `None` if there
    /// has been an edge, or none will come. Whoever waited in this direction has lost its place.
    pub(crate) fn wait(&self, direction: Direction, waker: &Waker) -> Option<u64> {
        let fresh = waker.clone();
        let mut ways = self.0.lock();
        let over = ways.over;
        let way = ways.way(direction);
        if way.ready || over {
            drop(ways);
            drop(fresh);
            return None;
        }
        let old = way.waker.replace(fresh);
        way.waits += 1;
        let number = way.waits;
        drop(ways);
        drop(old);
        Some(number)
    }

    /// The one of this number does not wait in this direction any more. If another has taken its place, that one does.
    pub(crate) fn stop_waiting(&self, direction: Direction, number: u64) {
        let mut ways = self.0.lock();
        let way = ways.way(direction);
        let old = if way.waits == number { way.waker.take() } else { None };
        drop(ways);
        drop(old);
    }

    /// The poller has seen an edge; whom to wake.
    #[must_use]
    pub(crate) fn tell(&self, edge: Edge) -> [Option<Waker>; 2] {
        let mut ways = self.0.lock();
        let reader = ways.read.tell(edge.readable, edge.read_closed);
        let writer = ways.write.tell(edge.writable, edge.write_closed);
        [reader, writer]
    }

    /// Nobody will tell any more; whom to wake.
    #[must_use]
    pub(crate) fn end(&self) -> [Option<Waker>; 2] {
        let mut ways = self.0.lock();
        ways.over = true;
        [ways.read.waker.take(), ways.write.waker.take()]
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const READABLE: Edge = Edge { readable: true, writable: false, read_closed: false, write_closed: false };

    #[test]
    fn who_was_refused_waits_for_the_next_edge_and_not_for_one_that_has_been() {
        let readiness = Readiness::new();
        assert_eq!(readiness.chance(Direction::Read), Chance::Try(0));
        readiness.refused(Direction::Read, 0);
        assert_eq!(
            (readiness.chance(Direction::Read), readiness.chance(Direction::Write)),
            (Chance::Wait, Chance::Try(0))
        );
        assert!(readiness.wait(Direction::Read, Waker::noop()).is_some());
        let [reader, writer] = readiness.tell(READABLE);
        assert!(reader.is_some() && writer.is_none());
        // An edge between the attempt and the refusal's being noted.
        assert_eq!(readiness.chance(Direction::Read), Chance::Try(1));
        assert_eq!(readiness.tell(READABLE).iter().flatten().count(), 0);
        readiness.refused(Direction::Read, 1);
        assert!(readiness.wait(Direction::Read, Waker::noop()).is_none());
        assert_eq!(readiness.chance(Direction::Read), Chance::Try(2));
    }

    #[test]
    fn a_closed_half_stays_ready_until_it_refuses() {
        let readiness = Readiness::new();
        let _ = readiness.tell(Edge { read_closed: true, ..READABLE });
        readiness.drained(Direction::Read, 1);
        assert_eq!(readiness.chance(Direction::Read), Chance::Try(1));
        readiness.refused(Direction::Read, 1);
        assert_eq!(readiness.chance(Direction::Read), Chance::Wait);
        readiness.drained(Direction::Write, 0);
        assert_eq!(readiness.chance(Direction::Write), Chance::Wait);
    }

    #[test]
    fn at_the_end_all_are_woken_and_nobody_waits() {
        let readiness = Readiness::unready();
        assert_eq!(readiness.chance(Direction::Write), Chance::Wait);
        assert!(readiness.wait(Direction::Write, Waker::noop()).is_some());
        assert_eq!(readiness.end().iter().flatten().count(), 1);
        assert!(readiness.wait(Direction::Read, Waker::noop()).is_none());
        assert_eq!(readiness.chance(Direction::Read), Chance::Over);
    }

    #[test]
    fn one_who_does_not_wait_any_more_is_not_woken() {
        let readiness = Readiness::unready();
        let number = readiness.wait(Direction::Read, Waker::noop()).expect("not ready");
        readiness.stop_waiting(Direction::Read, number);
        assert_eq!(readiness.tell(READABLE).iter().flatten().count(), 0);
    }

    #[test]
    fn one_whose_place_was_taken_does_not_take_the_other_ones_waker_back() {
        let readiness = Readiness::unready();
        let number = readiness.wait(Direction::Read, Waker::noop()).expect("not ready");
        assert!(readiness.wait(Direction::Read, Waker::noop()).is_some());
        readiness.stop_waiting(Direction::Read, number);
        assert_eq!(readiness.tell(READABLE).iter().flatten().count(), 1);
    }
}
