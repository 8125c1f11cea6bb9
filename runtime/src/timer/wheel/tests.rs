//! Pure: the wheel against a sorted map, and the cases that once went wrong by name.
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const YEAR: u64 = 365 * 24 * 3600 * 1_000_000_000;

/// Lists, bitmaps, cursor and counts agree.
fn check_structure<T>(wheel: &Wheel<T>) {
    let mut count = 0;
    let mut cascading = 0;
    for (number, list) in wheel.lists.iter().enumerate() {
        let (level, slot) = (number / SLOTS, number % SLOTS);
        if number != usize::from(DUE) {
            let bit = wheel.occupied[level] >> slot & 1 == 1;
            assert_eq!(bit, list.first != NONE);
            assert!(!bit || slot >= slot_of(wheel.cursor, level), "a slot behind the cursor is occupied");
            cascading += usize::from(bit && level > 0 && slot == slot_of(wheel.cursor, level));
        }
        let (mut previous, mut index) = (NONE, list.first);
        while index != NONE {
            let entry = &wheel.entries[index as usize];
            assert_eq!((entry.previous, usize::from(entry.location)), (previous, number));
            if number != usize::from(DUE) {
                let tick = tick_of(entry.deadline);
                assert!(tick >= wheel.cursor);
                assert_eq!(slot_of(tick, level), slot);
                assert!(level_of(tick, wheel.cursor) <= level);
            }
            count += 1;
            (previous, index) = (index, entry.next);
        }
        assert_eq!(list.last, previous);
    }
    assert!(cascading <= 1, "only one slot cascades at a time");
    assert_eq!(count, wheel.len());
    assert_eq!(count == 0, (wheel.len() == 0));
}

#[derive(Clone, Copy, Debug)]
struct Timer {
    key: Key,
    serial: u64,
    deadline: u64,
    /// The moment at which the timer comes out; zero when it was due on insertion.
    rounded: u64,
}

/// The wheel together with a reference which keeps the timers sorted.
struct Pair {
    wheel: Wheel<u64>,
    /// By moment and then by serial number, which is the order in which they come out.
    live: BTreeMap<(u64, u64), Timer>,
    issued: Vec<Timer>,
    now: u64,
    complete: bool,
}

impl Pair {
    fn new(now: u64) -> Self {
        Self { wheel: Wheel::new(now), live: BTreeMap::new(), issued: Vec::new(), now, complete: true }
    }

    fn insert(&mut self, deadline: u64) {
        let serial = self.issued.len() as u64;
        let up = (u128::from(deadline) + u128::from(TICK - 1)) / u128::from(TICK) * u128::from(TICK);
        let up = u64::try_from(up).unwrap_or(u64::MAX);
        // With a complete advance, the deadline alone decides; otherwise it depends on how far the wheel has got.
        let behind = if self.complete { true } else { up > self.now || tick_of(deadline) < self.wheel.cursor };
        let rounded = if deadline <= self.now && behind { 0 } else { up };
        let key = self.wheel.insert(deadline, serial);
        let timer = Timer { key, serial, deadline, rounded };
        assert!(self.live.insert((rounded, serial), timer).is_none());
        self.issued.push(timer);
    }

    fn remove(&mut self, pick: usize) {
        let Some(timer) = self.issued.get(pick % self.issued.len().max(1)).copied() else { return };
        let expected = self.live.remove(&(timer.rounded, timer.serial)).map(|timer| (timer.deadline, timer.serial));
        assert_eq!(self.wheel.get_mut(timer.key).copied(), expected.map(|(_, serial)| serial));
        assert_eq!(self.wheel.remove(timer.key), expected);
        assert_eq!(self.wheel.remove(timer.key), None);
    }

    fn advance(&mut self, now: u64, work: usize) -> bool {
        self.now = self.now.max(now);
        let mut out = Vec::new();
        self.complete = self.wheel.advance(now, work, &mut out);
        assert!(out.len() <= work);
        for serial in out {
            let (_, timer) = self.live.pop_first().expect("nothing comes out that is not in");
            assert_eq!(timer.serial, serial, "wrong order");
            assert!(timer.deadline <= self.now && timer.rounded <= self.now, "early");
            let overtaken = |other: &Timer| other.deadline == timer.deadline && other.serial < serial;
            assert!(timer.rounded == 0 || !self.live.values().any(overtaken), "equal deadlines are in order");
        }
        if self.complete {
            assert!(self.live.first_key_value().is_none_or(|((rounded, _), _)| *rounded > self.now), "missing");
            assert!(self.wheel.next().is_none_or(|next| next > self.now), "busy loop");
        }
        self.complete
    }

    fn advance_fully(&mut self, now: u64, work: usize) {
        // Every timer moves down each level at most once and then expires.
        let bound = self.live.len() * LEVELS / work + 2;
        assert!((0..bound).any(|_| self.advance(now, work)), "no progress");
    }

    fn check(&self) {
        check_structure(&self.wheel);
        assert_eq!(self.wheel.len(), self.live.len());
        match (self.wheel.next(), self.live.first_key_value()) {
            (None, None) => {}
            (Some(next), Some(((rounded, _), _))) => {
                assert!(next <= *rounded.max(&self.now));
                if self.complete && self.wheel.occupied[0] != 0 && *rounded > self.now {
                    assert_eq!(next, *rounded, "the lowest level is exact");
                }
            }
            other => panic!("next disagrees: {other:?}"),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Insert(u64),
    InsertAbsolute(u64),
    InsertPassed(u64),
    InsertEqual(usize),
    InsertAligned(u64, u32, u64),
    Remove(usize),
    Advance(u64, usize),
    AdvanceFully(u64, usize),
    AdvanceAligned(u64, u32, usize),
    AdvanceToNext(usize),
    Drain,
}

/// A time of any magnitude, from nanoseconds to centuries.
fn span() -> impl Strategy<Value = u64> {
    prop_oneof![
        (any::<u64>(), 0..64_u32).prop_map(|(bits, shift)| bits >> shift),
        0..200 * TICK,
        (0..6_u64).prop_map(|ticks| ticks * TICK),
    ]
}

fn work() -> impl Strategy<Value = usize> {
    prop_oneof![3 => 1..6_usize, 1 => Just(usize::MAX / 2)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => span().prop_map(Step::Insert),
        1 => prop_oneof![any::<u64>(), Just(u64::MAX), Just(0)].prop_map(Step::InsertAbsolute),
        2 => span().prop_map(Step::InsertPassed),
        8 => any::<usize>().prop_map(Step::InsertEqual),
        4 => (span(), 0..5_u32, 0..3_u64).prop_map(|(span, level, off)| Step::InsertAligned(span, level, off)),
        5 => any::<usize>().prop_map(Step::Remove),
        4 => (span(), 0..6_usize).prop_map(|(span, work)| Step::Advance(span, work)),
        2 => (span(), work()).prop_map(|(span, work)| Step::AdvanceFully(span, work)),
        3 => (span(), 0..5_u32, work()).prop_map(|(span, level, work)| Step::AdvanceAligned(span, level, work)),
        6 => work().prop_map(Step::AdvanceToNext),
        1 => Just(Step::Drain),
    ]
}

/// The last start of a slot of the level before the time, or the nanosecond before (`off` 0) or after (`off` 2) it.
fn aligned(time: u64, level: u32, off: u64) -> u64 {
    let bits = TICK_BITS + SLOT_BITS * level;
    (time >> bits << bits).saturating_add(off).saturating_sub(1)
}

fn run(pair: &mut Pair, step: Step) {
    match step {
        Step::Insert(span) => pair.insert(pair.now.saturating_add(span)),
        Step::InsertAbsolute(deadline) => pair.insert(deadline),
        Step::InsertPassed(span) => pair.insert(pair.now.saturating_sub(span)),
        Step::InsertEqual(pick) => {
            let deadline = match pair.live.len() {
                0 => pair.now,
                count => pair.live.values().nth(pick % count).expect("it is less than the count").deadline,
            };
            pair.insert(deadline);
        }
        Step::InsertAligned(span, level, off) => pair.insert(aligned(pair.now.saturating_add(span), level, off)),
        Step::Remove(pick) => pair.remove(pick),
        Step::Advance(span, work) => {
            pair.advance(pair.now.saturating_add(span), work);
        }
        Step::AdvanceFully(span, work) => pair.advance_fully(pair.now.saturating_add(span), work),
        Step::AdvanceAligned(span, level, work) => {
            // One tick before the boundary, so that the cursor stops just at the start of a slot.
            let now = aligned(pair.now.saturating_add(span), level, 1).saturating_sub(TICK);
            pair.advance(now, work);
        }
        Step::AdvanceToNext(work) => {
            if let Some(next) = pair.wheel.next() {
                pair.advance(next, work);
            }
        }
        Step::Drain => {
            let mut drained = pair.wheel.drain();
            drained.sort_unstable();
            let mut expected: Vec<u64> = pair.live.values().map(|timer| timer.serial).collect();
            expected.sort_unstable();
            assert_eq!(drained, expected);
            pair.live.clear();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_sorted_map(
        start in prop_oneof![Just(0), span(), any::<u64>()],
        steps in proptest::collection::vec(step(), 1..150),
        last_work in work(),
    ) {
        let mut pair = Pair::new(start);
        for step in steps {
            run(&mut pair, step);
            pair.check();
        }
        // Sleeping until `next` and advancing must reach all, with a wake-up for each level at most.
        pair.advance_fully(pair.now, last_work);
        let mut wakes = pair.live.len() * (LEVELS + 1);
        while let Some(next) = pair.wheel.next() {
            assert!(next > pair.now && wakes > 0);
            wakes -= 1;
            pair.advance_fully(next, last_work);
            pair.check();
        }
        assert!(pair.live.is_empty());
        for timer in pair.issued {
            assert_eq!(pair.wheel.remove(timer.key), None);
        }
    }
}

#[test]
fn million_for_one_instant_comes_piecewise() {
    const COUNT: u32 = 1_000_000;
    const WORK: usize = 10_000;
    let mut wheel = Wheel::new(0);
    // The start of a slot of level 3 and a few ticks, so that it cascades through several levels.
    let instant = ((5 << (3 * SLOT_BITS)) + (3 << SLOT_BITS) + 7) * TICK;
    let keys: Vec<Key> = (0..COUNT).map(|number| wheel.insert(instant, number)).collect();
    let mut out = Vec::new();
    while !wheel.advance(instant - 1, WORK, &mut out) {}
    assert!(out.is_empty(), "early");
    let mut calls = 0;
    let mut added = 0;
    loop {
        let before = out.len();
        let done = wheel.advance(instant, WORK, &mut out);
        assert!(out.len() - before <= WORK);
        calls += 1;
        if done {
            break;
        }
        if calls % 10 == 0 {
            wheel.insert(instant, COUNT + added);
            added += 1;
            // The first from the end which is still in.
            let removed = COUNT - added;
            assert_eq!(wheel.remove(keys[removed as usize]), Some((instant, removed)));
        }
    }
    assert!(calls >= COUNT as usize / WORK && added > 0);
    assert!((wheel.len() == 0));
    let expected: Vec<u32> = (0..COUNT - added).chain(COUNT..COUNT + added).collect();
    assert!(out == expected, "order is lost");
}

#[test]
fn cascade_is_bounded_too() {
    let mut wheel = Wheel::new(0);
    let slot = 64 * 64 * TICK;
    for number in 0..100 {
        wheel.insert(slot + 70 * TICK, number);
    }
    let mut out = Vec::new();
    let calls = (0..).take_while(|_| !wheel.advance(slot, 7, &mut out)).count();
    assert_eq!((calls, out.len()), (100 / 7, 0));
    check_structure(&wheel);
}

#[test]
fn insert_while_a_slot_cascades() {
    let mut wheel = Wheel::new(0);
    let slot = 64 * 64 * TICK;
    for number in 0..4 {
        wheel.insert(slot + TICK, number);
    }
    let mut out = Vec::new();
    assert!(!wheel.advance(slot + 2 * TICK, 2, &mut out));
    wheel.insert(slot + TICK, 4);
    wheel.insert(slot - TICK, 100);
    wheel.insert(slot + 3 * TICK, 5);
    check_structure(&wheel);
    assert!(wheel.advance(slot + 2 * TICK, usize::MAX, &mut out));
    assert_eq!(out, [100, 0, 1, 2, 3, 4]);
    assert!(wheel.advance(slot + 3 * TICK, usize::MAX, &mut out));
    assert_eq!(out.last(), Some(&5));
}

#[test]
fn order_across_cascade() {
    let mut wheel = Wheel::new(0);
    let deadline = 3 * 64 * 64 * TICK + 65 * TICK;
    let mut out = Vec::new();
    // Each is inserted on a lower level than the one before, at ever shorter distance.
    for (number, now) in
        [0, deadline - 66 * TICK, deadline - 65 * TICK, deadline - TICK, deadline - 1].iter().enumerate()
    {
        assert!(wheel.advance(*now, usize::MAX, &mut out));
        wheel.insert(deadline, number);
        check_structure(&wheel);
    }
    assert!(out.is_empty());
    assert!(wheel.advance(deadline, usize::MAX, &mut out));
    assert_eq!(out, [0, 1, 2, 3, 4]);
}

#[test]
fn ticks_come_in_order_within_one_advance() {
    let mut wheel = Wheel::new(0);
    let deadlines = [YEAR, 5 * TICK, 1, 70 * TICK, 64 * TICK, 5000 * TICK, 63 * TICK];
    for deadline in deadlines {
        wheel.insert(deadline, deadline);
    }
    let mut out = Vec::new();
    assert!(wheel.advance(2 * YEAR, usize::MAX, &mut out));
    let mut sorted = deadlines;
    sorted.sort_unstable();
    assert_eq!(out, sorted);
}

#[test]
fn stale_key_is_dead() {
    let mut wheel = Wheel::new(0);
    let first = wheel.insert(TICK, 'a');
    assert_eq!(wheel.remove(first), Some((TICK, 'a')));
    let second = wheel.insert(TICK, 'b');
    assert_eq!(second.index, first.index, "the index is used again");
    assert_ne!(second, first);
    assert_eq!((wheel.remove(first), wheel.get_mut(first)), (None, None));
    let mut out = Vec::new();
    assert!(wheel.advance(TICK, usize::MAX, &mut out));
    assert_eq!(out, ['b']);
    assert_eq!(wheel.remove(second), None);
    let third = wheel.insert(TICK, 'c');
    assert_eq!(wheel.drain(), ['c']);
    assert_eq!(wheel.remove(third), None);
    let fourth = wheel.insert(2 * TICK, 'd');
    assert_eq!((wheel.remove(third), wheel.len(), wheel.get_mut(fourth)), (None, 1, Some(&mut 'd')));
}

#[test]
fn index_without_generations_is_retired() {
    let mut wheel = Wheel::new(0);
    let key = wheel.insert(TICK, 1);
    wheel.remove(key);
    wheel.generations[0] = u32::MAX - 1;
    let last = wheel.insert(TICK, 2);
    assert_eq!((last.index, wheel.remove(last)), (0, Some((TICK, 2))));
    assert_eq!((wheel.len(), wheel.remove(last), wheel.next()), (0, None, None));
    let other = wheel.insert(TICK, 3);
    assert_ne!(other.index, 0);
    assert_eq!((wheel.len(), wheel.get_mut(Key { index: 0, generation: u32::MAX })), (1, None));
    check_structure(&wheel);
    assert_eq!(wheel.drain(), [3]);
    assert!((wheel.len() == 0));
}

#[test]
fn far_future() {
    let mut wheel = Wheel::new(0);
    let mut out = Vec::new();
    wheel.insert(u64::MAX, 'z');
    wheel.insert(u64::MAX - TICK, 'y');
    wheel.insert(500 * YEAR, 'x');
    assert!(wheel.advance(500 * YEAR - 1, usize::MAX, &mut out));
    assert!(out.is_empty());
    assert!(wheel.advance(500 * YEAR + TICK, usize::MAX, &mut out));
    assert_eq!(out, ['x']);
    assert!(wheel.advance(u64::MAX - 1, usize::MAX, &mut out));
    assert_eq!(out, ['x', 'y']);
    assert_eq!(wheel.next(), Some(u64::MAX));
    assert!(wheel.advance(u64::MAX, usize::MAX, &mut out));
    assert_eq!(out, ['x', 'y', 'z']);
    wheel.insert(u64::MAX, 'w');
    assert!(wheel.advance(u64::MAX, usize::MAX, &mut out));
    assert_eq!((out.last(), wheel.next()), (Some(&'w'), None));
}

#[test]
fn zero() {
    let mut wheel = Wheel::new(0);
    let mut out = Vec::new();
    assert!(wheel.advance(0, 0, &mut out));
    wheel.insert(0, 'a');
    assert_eq!(wheel.next(), Some(0));
    assert!(!wheel.advance(0, 0, &mut out));
    assert!(wheel.advance(0, 1, &mut out));
    assert_eq!(out, ['a']);
    wheel.insert(1, 'b');
    assert_eq!(wheel.next(), Some(TICK));
    assert!(wheel.advance(TICK - 1, 1, &mut out));
    assert_eq!(out, ['a']);
    assert!(wheel.advance(TICK, 1, &mut out));
    assert_eq!(out, ['a', 'b']);
}

#[test]
fn passed_deadline_does_not_wait_for_its_tick() {
    let now = 10 * TICK + 5;
    let mut wheel = Wheel::new(now);
    let mut out = Vec::new();
    for deadline in [now, now - 3, 10 * TICK, 0] {
        wheel.insert(deadline, deadline);
        assert_eq!(wheel.next(), Some(now));
        assert!(wheel.advance(now, 1, &mut out));
        assert_eq!(out.pop(), Some(deadline));
    }
}

/// The exception to the order of equal deadlines which `insert` describes.
#[test]
fn passed_deadline_overtakes_within_its_tick() {
    let mut wheel = Wheel::new(0);
    let mut out = Vec::new();
    let deadline = 3 * TICK + 1;
    wheel.insert(deadline, 'a');
    assert!(wheel.advance(deadline, usize::MAX, &mut out));
    wheel.insert(deadline, 'b');
    assert!(wheel.advance(deadline, usize::MAX, &mut out));
    assert!(wheel.advance(4 * TICK, usize::MAX, &mut out));
    assert_eq!(out, ['b', 'a']);
}

#[test]
fn time_does_not_go_back() {
    let mut wheel = Wheel::new(100 * TICK);
    let mut out = Vec::new();
    wheel.insert(101 * TICK, 'a');
    wheel.insert(99 * TICK, 'b');
    assert!(wheel.advance(3, usize::MAX, &mut out));
    assert_eq!((out.as_slice(), wheel.next()), (['b'].as_slice(), Some(101 * TICK)));
}

#[test]
fn entry_is_small() {
    assert_eq!(size_of::<Entry<Box<u8>>>(), 32);
}
