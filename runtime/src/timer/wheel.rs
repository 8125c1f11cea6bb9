//! Pure: a hierarchical timing wheel; time is an argument and nothing is ever early.
//!
//! Time is counted in ticks. A deadline is rounded up to a tick, and a tick expires once its start has been reached.
//! Level 0 has one slot for each of the 64 ticks around the cursor, and a slot of each further level spans 64 slots of
//! the level below. The cursor is the first tick that may still hold timers. A timer lies on the level of the highest
//! group of six bits in which its tick differs from the cursor, so every slot of a level precedes every slot of the
//! levels above, and the earliest occupied slot is found by looking at one bitmap for each level.
//!
//! When the cursor enters a slot of a higher level, the timers of that slot cascade to lower levels, one for each unit
//! of work. The cursor stays at the start of the slot until it is empty, and meanwhile new timers which belong into the
//! slot queue up at its end. At most one slot of a higher level is in that state, because a slot that the cursor enters
//! has nothing on the levels below it yet.
//!
//! A timer whose deadline has already passed when it is inserted goes to a due list, which comes out first. Its order is
//! the order of insertion.

use slab::Slab;

/// The logarithm of a tick: 2^14 ns are 16.384 µs. That is well below what a sleeping thread can be woken at (some
/// 50 µs), so that rounding is lost in that noise, and the tick is found by a shift instead of a division.
const TICK_BITS: u32 = 14;
const TICK: u64 = 1 << TICK_BITS;

/// Six bits of the tick select a slot, so that the occupancy of a level fits into one `u64`.
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;

/// Nine levels span 54 bits of ticks, and the tick of any `u64` deadline needs 51.
const LEVELS: usize = 9;

/// The tick to which deadlines in the last partial tick of time are rounded up. It starts just after `u64::MAX`, so it
/// is taken to be reached at `u64::MAX`; otherwise those timers could never expire.
const LAST_TICK: u64 = 1 << (u64::BITS - TICK_BITS);

/// The list of the timers that were due on insertion follows the slots of all levels.
const DUE: u16 = (LEVELS * SLOTS) as u16;
const LISTS: usize = LEVELS * SLOTS + 1;

/// Marks the end of a list, for which reason no timer has this index.
const NONE: u32 = u32::MAX;

/// Names a timer; a stale key never denotes another timer, because re-use of its index changes the generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    index: u32,
    generation: u32,
}

struct Entry<T> {
    deadline: u64,
    previous: u32,
    next: u32,
    /// The list in which the entry is linked: level times 64 plus slot, or `DUE`.
    location: u16,
    /// Empty only in an entry that was retired because its generations are used up.
    value: Option<T>,
}

#[derive(Clone, Copy)]
struct List {
    first: u32,
    last: u32,
}

pub(crate) struct Wheel<T> {
    entries: Slab<Entry<T>>,
    /// The generation of each index of `entries`. They are kept apart, as they must outlive the entries.
    generations: Vec<u32>,
    /// How many indices are never used again.
    retired: usize,
    lists: Box<[List; LISTS]>,
    /// For each level, the slots which are not empty.
    occupied: [u64; LEVELS],
    /// No slot holds a timer of an earlier tick.
    cursor: u64,
    /// The latest time that was passed to `new` or `advance`.
    now: u64,
}

impl<T> Wheel<T> {
    pub(crate) fn new(now: u64) -> Self {
        Self {
            entries: Slab::new(),
            generations: Vec::new(),
            retired: 0,
            lists: Box::new([List { first: NONE, last: NONE }; LISTS]),
            occupied: [0; LEVELS],
            cursor: tick_reached(now) + 1,
            now,
        }
    }

    /// Takes constant time. A deadline that is not later than the last `now` of `advance` (or `new`) comes out with the
    /// next `advance`, even at the same `now`; any other comes out once the tick to which it is rounded up has begun.
    ///
    /// Timers with equal deadlines come out in the order of insertion, with one exception: a timer that is inserted
    /// when its deadline has passed does not wait for the end of the tick, so it may overtake one that does.
    pub(crate) fn insert(&mut self, deadline: u64, value: T) -> Key {
        let entry = Entry { deadline, previous: NONE, next: NONE, location: DUE, value: Some(value) };
        let index = u32::try_from(self.entries.insert(entry)).expect("memory ends before there are 2^32 timers");
        assert_ne!(index, NONE, "the last index marks the end of a list");
        if index as usize == self.generations.len() {
            self.generations.push(0);
        }
        let location = self.location_of_new(deadline);
        self.link(index, location);
        Key { index, generation: self.generations[index as usize] }
    }

    /// Takes constant time. Returns the deadline and the value, or `None` when the timer has come out or was removed.
    pub(crate) fn remove(&mut self, key: Key) -> Option<(u64, T)> {
        if self.is_live(key) { Some(self.take(key.index)) } else { None }
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        if self.is_live(key) { self.entries[key.index as usize].value.as_mut() } else { None }
    }

    /// Moves at most `work` entries (cascades and expiries together) towards `now`; expired ones are pushed to `out`.
    /// Returns true when all that is due at `now` has come out; false when the work bound stopped it (call again).
    ///
    /// Time does not go back: a `now` that is earlier than one before counts as that one.
    pub(crate) fn advance(&mut self, now: u64, work: usize, out: &mut Vec<T>) -> bool {
        self.now = self.now.max(now);
        let reached = tick_reached(self.now);
        let mut work = work;
        while let Some((location, start)) = self.earliest() {
            if location != DUE {
                if start > reached {
                    break;
                }
                self.cursor = start;
            }
            let expires = location == DUE || usize::from(location) < SLOTS;
            loop {
                let index = self.lists[usize::from(location)].first;
                if index == NONE {
                    break;
                }
                if work == 0 {
                    return false;
                }
                work -= 1;
                if expires {
                    out.push(self.take(index).1);
                } else {
                    self.cascade(index);
                }
            }
        }
        // No slot starts before the next tick, and so the cursor can skip the empty time in one step.
        self.cursor = self.cursor.max(reached + 1);
        true
    }

    /// An instant not later than the earliest moment at which `advance` has something to do; `None` when empty. It is
    /// exact for a timer on the lowest level (the start of its tick), and may be earlier than the next expiry when a
    /// higher level has to cascade first. It is later than `now` after an `advance` to `now` that returned true, unless
    /// a timer was inserted since whose deadline had passed.
    pub(crate) fn next(&self) -> Option<u64> {
        let (location, start) = self.earliest()?;
        Some(if location == DUE { self.now } else { start_of(start) })
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.retired
    }

    /// Takes out everything, for shutdown. The wheel is empty and usable afterwards, and the old keys are stale.
    /// The order is that of the slots, which is only roughly that of the deadlines.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        let mut values = Vec::with_capacity(self.len());
        for list in std::iter::once(LISTS - 1).chain(0..LISTS - 1) {
            while self.lists[list].first != NONE {
                values.push(self.take(self.lists[list].first).1);
            }
        }
        values
    }

    fn is_live(&self, key: Key) -> bool {
        // A free index has a generation that was not handed out yet, and so the comparison is enough for own keys; the
        // look into the slab makes a key of another wheel harmless.
        self.generations.get(key.index as usize) == Some(&key.generation)
            && self.entries.get(key.index as usize).is_some_and(|entry| entry.value.is_some())
    }

    /// The list with the earliest timers and the tick at which it starts. The due list precedes every slot.
    fn earliest(&self) -> Option<(u16, u64)> {
        if self.lists[usize::from(DUE)].first != NONE {
            return Some((DUE, self.cursor));
        }
        // No slot behind the cursor is occupied, so the lowest bit of the lowest level is the earliest slot. A slot that
        // cascades comes before, because what it still holds may belong anywhere on the levels below.
        let level = match self.cascading() {
            Some(level) => level,
            None => self.occupied.iter().position(|slots| *slots != 0)?,
        };
        let slot = self.occupied[level].trailing_zeros();
        let shift = SLOT_BITS * level as u32;
        let above = self.cursor >> (shift + SLOT_BITS) << SLOT_BITS;
        Some((location(level, slot as usize), (above | u64::from(slot)) << shift))
    }

    /// Where a new timer belongs.
    fn location_of_new(&self, deadline: u64) -> u16 {
        let tick = tick_of(deadline);
        let passed = deadline <= self.now && tick > tick_reached(self.now);
        if tick < self.cursor || passed {
            return DUE;
        }
        // While a slot cascades, those that belong into it must queue behind the ones which wait there, because there
        // may be equal deadlines among them.
        let lowest = level_of(tick, self.cursor);
        match self.cascading() {
            Some(level) if level > lowest => location(level, slot_of(self.cursor, level)),
            _ => location(lowest, slot_of(tick, lowest)),
        }
    }

    /// The level on which the slot that the cursor has entered is not empty yet, if it is not the lowest.
    fn cascading(&self) -> Option<usize> {
        (1..LEVELS).find(|level| self.occupied[*level] >> slot_of(self.cursor, *level) & 1 == 1)
    }

    /// Moves a timer from the slot at whose start the cursor is to a lower level.
    fn cascade(&mut self, index: u32) {
        let tick = tick_of(self.entries[index as usize].deadline);
        let level = level_of(tick, self.cursor);
        debug_assert!(level < usize::from(self.entries[index as usize].location) / SLOTS, "a cascade leads down");
        self.unlink(index);
        self.link(index, location(level, slot_of(tick, level)));
    }

    /// Takes a live timer out and makes its key stale.
    fn take(&mut self, index: u32) -> (u64, T) {
        self.unlink(index);
        let entry = &mut self.entries[index as usize];
        let deadline = entry.deadline;
        let value = entry.value.take().expect("only retired entries are without a value, and those are not linked");
        let generation = &mut self.generations[index as usize];
        *generation += 1;
        if *generation == u32::MAX {
            // The next generation would be an old one again, so the entry is never freed and its index never re-used.
            self.retired += 1;
        } else {
            self.entries.remove(index as usize);
        }
        (deadline, value)
    }

    /// Appends the entry to a list.
    fn link(&mut self, index: u32, location: u16) {
        let list = &mut self.lists[usize::from(location)];
        let previous = list.last;
        list.last = index;
        if previous == NONE {
            list.first = index;
            if location != DUE {
                self.occupied[usize::from(location) / SLOTS] |= 1 << (usize::from(location) % SLOTS);
            }
        } else {
            self.entries[previous as usize].next = index;
        }
        let entry = &mut self.entries[index as usize];
        entry.previous = previous;
        entry.next = NONE;
        entry.location = location;
    }

    fn unlink(&mut self, index: u32) {
        let Entry { previous, next, location, .. } = self.entries[index as usize];
        let list = &mut self.lists[usize::from(location)];
        if previous == NONE {
            list.first = next;
        } else {
            self.entries[previous as usize].next = next;
        }
        if next == NONE {
            list.last = previous;
        } else {
            self.entries[next as usize].previous = previous;
        }
        if list.first == NONE && location != DUE {
            self.occupied[usize::from(location) / SLOTS] &= !(1 << (usize::from(location) % SLOTS));
        }
    }
}

/// The first tick that does not start before the deadline.
fn tick_of(deadline: u64) -> u64 {
    deadline.div_ceil(TICK)
}

/// The last tick that has started.
fn tick_reached(now: u64) -> u64 {
    if now == u64::MAX { LAST_TICK } else { now >> TICK_BITS }
}

/// The inverse of `tick_reached`: the earliest moment at which the tick has started.
fn start_of(tick: u64) -> u64 {
    if tick < LAST_TICK { tick << TICK_BITS } else { u64::MAX }
}

/// The level of the highest group of bits in which the ticks differ.
fn level_of(tick: u64, cursor: u64) -> usize {
    // Setting the lowest bit makes equal ticks differ on level 0, and changes the level of no others.
    (((tick ^ cursor) | 1).ilog2() / SLOT_BITS) as usize
}

fn slot_of(tick: u64, level: usize) -> usize {
    (tick >> (SLOT_BITS * level as u32)) as usize % SLOTS
}

fn location(level: usize, slot: usize) -> u16 {
    (level * SLOTS + slot) as u16
}

#[cfg(test)]
mod tests;
