//! Pure: the consumers of a group as their group counts them: who is there, who has room, and whose turn it is.
use crate::metrics::{ConsumerMetrics, Flow, Tally};
use crate::retry::Chance;
use crate::revival::Health;
use crate::routing::{Choice, Ring};
use crate::view::{ConsumerId, ConsumerStateView};
use crate::waiting_room::{Offer, Wish};
use colloquium_runtime::Pid;
use std::sync::Arc;
use std::time::Duration;

/// A consumer's process, as it is given to those who deliver to it.
pub(crate) trait Occupant: Clone {
    /// What it is; `None` only where nobody runs it.
    fn process(&self) -> Option<Pid>;
    /// Deliveries that it works on.
    fn started(&self) -> u32;
}

/// One consumer, across its restarts. First what each message touches, so that few lines of memory go from core to core with it.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Seat<A> {
    pub(crate) occupant: Option<A>,
    /// Which process of it this is: what was given to another is not counted here.
    pub(crate) incarnation: u64,
    pub(crate) id: ConsumerId,
    pub(crate) room: u32,
    /// Places taken in it.
    pub(crate) taken: u32,
    pub(crate) half_open: bool,
    pub(crate) stuck: bool,
    /// Its process is on its way out, as somebody found who sent to it, or as it says itself.
    pub(crate) gone: bool,
    pub(crate) failed: bool,
    pub(crate) leaving: bool,
    pub(crate) ejected_until: Option<Duration>,
    /// Deliveries that were sent to it. Those above are one line, what a completion touches beside them is another.
    pub(crate) delivered: u64,
    pub(crate) completed: u64,
    /// Completions.
    pub(crate) out: Flow,
    pub(crate) health: Health,
    pub(crate) tally: Tally,
    pub(crate) tags: Arc<[Arc<str>]>,
    pub(crate) since: Duration,
    /// Since when it is ejected, or has been given up.
    pub(crate) trouble_since: Duration,
    /// Its next process waits, from then until then.
    pub(crate) back_off: Option<(Duration, Duration)>,
    /// What its next process waits before it starts.
    pub(crate) pause: Duration,
}

impl<A> Seat<A> {
    /// Whether it is there and nothing is held against it.
    pub(crate) fn is_usable(&self) -> bool {
        self.occupant.is_some() && self.is_wanted() && !self.stuck && !self.gone && self.ejected_until.is_none()
    }

    /// Whether it will be there again if it is not now.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.failed && !self.leaving
    }

    pub(crate) fn free(&self) -> u32 {
        if !self.is_usable() {
            return 0;
        }
        let room = if self.half_open { 1 } else { self.room };
        room.saturating_sub(self.taken)
    }
}

/// What choosing a consumer came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chosen {
    /// The one at this position has room.
    At(usize),
    /// Nobody that would do has room; this is what to wait for.
    Wait(Wish),
    /// There is nobody of that id.
    Unknown,
}

#[derive(Debug)]
#[repr(C)]
pub(crate) struct Seats<A> {
    seats: Vec<Seat<A>>,
    /// Free places, over all.
    vacant: usize,
    cursor: usize,
    usable: usize,
    /// A bit for each position that has room.
    open: Vec<u64>,
    next: u64,
    ring: Ring,
}

impl<A: Occupant> Seats<A> {
    pub(crate) fn new() -> Self {
        Self { seats: Vec::new(), open: Vec::new(), usable: 0, vacant: 0, ring: Ring::default(), cursor: 0, next: 0 }
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Seat<A>> {
        self.seats.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.seats.len()
    }

    /// Ids are given in order, so that the seats stand in their order: each by its number, less those removed before it.
    pub(crate) fn position(&self, id: ConsumerId) -> Option<usize> {
        let number = usize::try_from(id.number()).ok()?;
        let removed = usize::try_from(self.next).unwrap_or(usize::MAX) - self.seats.len();
        let (first, end) = (number.saturating_sub(removed), number.saturating_add(1).min(self.seats.len()));
        let among = self.seats.get(first..end)?;
        among.binary_search_by_key(&id, |seat| seat.id).ok().map(|at| first + at)
    }

    /// As [`Seats::position`], of one that stood there lately.
    #[inline]
    pub(crate) fn position_near(&self, id: ConsumerId, near: usize) -> Option<usize> {
        if self.seats.get(near).is_some_and(|seat| seat.id == id) { Some(near) } else { self.position(id) }
    }

    /// Takes a place at one that has room.
    pub(crate) fn give(&mut self, position: usize) {
        let seat = &mut self.seats[position];
        debug_assert!(seat.free() > 0, "it has room");
        seat.taken += 1;
        seat.delivered += 1;
        self.vacant -= 1;
        if seat.free() == 0 {
            self.open[position / 64] ^= 1 << (position % 64);
        }
    }

    /// What [`Seats::change`] would come to for a completion at one that is sound; false, and nothing has happened, if it is not.
    pub(crate) fn complete(&mut self, position: usize, incarnation: u64, now: Duration) -> bool {
        let seat = &mut self.seats[position];
        let sound = seat.incarnation == incarnation && seat.is_usable() && !seat.half_open && seat.health.is_sound();
        if !sound || seat.taken == 0 || seat.taken > seat.room {
            return false;
        }
        if seat.taken == seat.room {
            self.open[position / 64] ^= 1 << (position % 64);
        }
        self.vacant += 1;
        seat.taken -= 1;
        seat.completed += 1;
        seat.out.add(now);
        true
    }

    pub(crate) fn at(&self, position: usize) -> &Seat<A> {
        &self.seats[position]
    }

    pub(crate) fn get(&self, id: ConsumerId) -> Option<&Seat<A>> {
        self.position(id).map(|at| &self.seats[at])
    }

    /// Changes a seat, and counts anew what depends on it.
    pub(crate) fn change<R>(&mut self, position: usize, change: impl FnOnce(&mut Seat<A>) -> R) -> R {
        let seat = &mut self.seats[position];
        let (was, had) = (seat.is_usable(), seat.free());
        let result = change(seat);
        let (is, has) = (seat.is_usable(), seat.free());
        let open = has > 0;
        self.usable = self.usable + usize::from(is) - usize::from(was);
        self.vacant = self.vacant + has as usize - had as usize;
        if open != (had > 0) {
            self.open[position / 64] ^= 1 << (position % 64);
        }
        result
    }

    pub(crate) fn join(&mut self, room: u32, tags: Arc<[Arc<str>]>) -> ConsumerId {
        let id = ConsumerId::new(self.next);
        self.next += 1;
        self.seats.push(Seat {
            id,
            tags,
            room: room.max(1),
            occupant: None,
            incarnation: 0,
            taken: 0,
            half_open: false,
            ejected_until: None,
            stuck: false,
            gone: false,
            failed: false,
            leaving: false,
            health: Health::default(),
            delivered: 0,
            completed: 0,
            out: Flow::default(),
            tally: Tally::default(),
            since: Duration::ZERO,
            trouble_since: Duration::ZERO,
            back_off: None,
            pause: Duration::ZERO,
        });
        if self.seats.len() > self.open.len() * 64 {
            self.open.push(0);
        }
        self.ring.join(id);
        id
    }

    /// It is wanted again: keys go to it.
    pub(crate) fn enlist(&mut self, id: ConsumerId) {
        self.ring.join(id);
    }

    /// It is wanted no more: no key goes to it.
    pub(crate) fn retire(&mut self, id: ConsumerId) {
        self.ring.leave(id);
    }

    pub(crate) fn remove(&mut self, id: ConsumerId) -> Option<Seat<A>> {
        let position = self.position(id)?;
        self.ring.leave(id);
        let seat = self.seats.remove(position);
        self.usable -= usize::from(seat.is_usable());
        self.vacant -= seat.free() as usize;
        self.open = vec![0; self.seats.len().div_ceil(64)];
        for (at, seat) in self.seats.iter().enumerate() {
            if seat.free() > 0 {
                self.open[at / 64] |= 1 << (at % 64);
            }
        }
        Some(seat)
    }

    pub(crate) fn vacant(&self) -> usize {
        self.vacant
    }

    pub(crate) fn usable(&self) -> usize {
        self.usable
    }

    /// What is offered to those who wait, if the seat has room.
    pub(crate) fn offer(&self, position: usize) -> Option<Offer> {
        let seat = &self.seats[position];
        let offer = Offer { consumer: seat.id, idle: seat.taken == 0, sole: self.usable <= 1 };
        (seat.free() > 0).then_some(offer)
    }

    /// The next position with room, from `from` on and going round.
    fn next_open(&self, from: usize) -> Option<usize> {
        let from = if from < self.seats.len() { from } else { 0 };
        let (word, bit) = (from / 64, from % 64);
        let first = *self.open.get(word)? & (u64::MAX << bit);
        if first != 0 {
            return Some(word * 64 + first.trailing_zeros() as usize);
        }
        let words = self.open.len();
        // The first word comes once more, for what stands before the bit.
        let mut others = (1..=words).map(|step| (word + step) % words);
        others.find(|at| self.open[*at] != 0).map(|at| at * 64 + self.open[at].trailing_zeros() as usize)
    }

    /// All positions with room.
    pub(crate) fn all_open(&self) -> Vec<usize> {
        (0..self.seats.len()).filter(|at| self.open[at / 64] & (1 << (at % 64)) != 0).collect()
    }

    /// Chooses a consumer that has room, or says what to wait for.
    pub(crate) fn choose(&mut self, choice: Choice, wish: Wish, chance: &mut Chance) -> Chosen {
        match choice {
            Choice::To(id) => match self.position(id) {
                Some(at) if self.seats[at].is_wanted() => self.this_one(at, wish),
                _ => Chosen::Unknown,
            },
            Choice::Hash(hash) => {
                let found = self.ring.find(hash);
                let at = found.and_then(|id| self.position(id));
                let fits = |at: &usize| {
                    let seat = &self.seats[*at];
                    let excused = seat.stuck || seat.ejected_until.is_some() || wish.avoid == Some(seat.id);
                    seat.is_wanted() && !(excused && self.usable > 0)
                };
                match at.filter(fits) {
                    Some(at) => self.this_one(at, wish),
                    None => self.in_turn(wish),
                }
            }
            Choice::LeastLoaded => {
                let open = (0..self.seats.len()).filter(|at| self.fits(*at, wish));
                let least = open.min_by_key(|at| self.seats[*at].taken);
                least.map_or_else(|| self.in_turn(wish), Chosen::At)
            }
            Choice::TwoChoices if !self.seats.is_empty() => {
                let drawn = [chance.below(self.seats.len()), chance.below(self.seats.len())];
                let open = drawn.into_iter().filter(|at| self.fits(*at, wish));
                let least = open.min_by_key(|at| self.seats[*at].taken);
                least.map_or_else(|| self.in_turn(wish), Chosen::At)
            }
            Choice::TwoChoices | Choice::RoundRobin | Choice::Any => self.in_turn(wish),
        }
    }

    fn this_one(&self, at: usize, wish: Wish) -> Chosen {
        let seat = &self.seats[at];
        if seat.free() > 0 && (!wish.alone || seat.taken == 0) {
            return Chosen::At(at);
        }
        Chosen::Wait(Wish { only: Some(seat.id), avoid: None, ..wish })
    }

    /// Whether the seat has room for one who wishes this.
    fn fits(&self, at: usize, wish: Wish) -> bool {
        let seat = &self.seats[at];
        let avoided = wish.avoid == Some(seat.id) && self.usable > 1;
        seat.free() > 0 && !avoided && (!wish.alone || seat.taken == 0)
    }

    fn in_turn(&mut self, wish: Wish) -> Chosen {
        let Some(first) = self.next_open(self.cursor) else { return Chosen::Wait(wish) };
        let mut at = first;
        loop {
            if self.fits(at, wish) {
                self.cursor = at + 1;
                return Chosen::At(at);
            }
            match self.next_open(at + 1) {
                Some(next) if next != first && next != at => at = next,
                _ => return Chosen::Wait(wish),
            }
        }
    }

    pub(crate) fn metrics(&self, now: Duration) -> Vec<ConsumerMetrics> {
        let of = |seat: &Seat<A>| ConsumerMetrics {
            id: seat.id,
            delivered: seat.delivered,
            completed: seat.completed,
            failed: seat.tally.failed,
            crashed: seat.tally.crashed,
            lost: seat.tally.lost,
            in_flight: seat.taken,
            starts: seat.incarnation,
            out: seat.out.rate(now),
        };
        self.seats.iter().map(of).collect()
    }

    pub(crate) fn views(&self) -> Vec<ConsumerStateView> {
        self.seats.iter().map(view).collect()
    }
}

fn view<A: Occupant>(seat: &Seat<A>) -> ConsumerStateView {
    let started = seat.occupant.as_ref().map_or(0, Occupant::started).min(seat.taken);
    ConsumerStateView {
        id: seat.id,
        pid: seat.occupant.as_ref().filter(|_| !seat.gone).and_then(Occupant::process),
        tags: Arc::clone(&seat.tags),
        room: seat.room,
        queued: seat.taken - started,
        started,
        failures: seat.health.failures(),
        half_open: seat.half_open,
        ejected: seat.ejected_until.is_some(),
        failed: seat.failed,
        stuck: seat.stuck,
        leaving: seat.leaving,
        starts: seat.incarnation,
        completed: seat.completed,
        since: seat.since,
    }
}

/// A consumer's process that nobody runs, for tests.
#[cfg(test)]
#[derive(Clone, Debug)]
pub(crate) struct Nobody;

#[cfg(test)]
impl Occupant for Nobody {
    fn process(&self) -> Option<Pid> {
        None
    }

    fn started(&self) -> u32 {
        0
    }
}

#[cfg(test)]
#[path = "seats/tests/choosing.rs"]
mod tests;
