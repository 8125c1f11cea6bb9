//! Pure: every way of choosing a consumer, over random groups and wishes: what is chosen will do, and nobody waits for what is there.
use super::*;
use crate::routing::hash_of;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// How a consumer stands.
#[derive(Clone, Debug)]
struct Stands {
    room: u32,
    taken: u32,
    up: bool,
    half_open: bool,
    /// Ejected, stuck, given up, leaving; mostly nothing.
    held_against: u8,
}

impl Stands {
    /// From the bits of a number: many are drawn, and each strategy of its own takes its time.
    fn of(bits: u32) -> Self {
        let part = |at: u32, of: u32| (bits >> at) % of;
        let room = 1 + part(0, 3);
        let held_against = if part(4, 8) < 5 { 9 } else { u8::try_from(part(8, 4)).expect("small") };
        Self { room, taken: part(12, 4).min(room), up: part(16, 5) > 0, half_open: part(20, 5) == 0, held_against }
    }
}

fn group(stands: &[Stands]) -> Seats<Nobody> {
    let mut seats = Seats::new();
    for (at, stands) in stands.iter().enumerate() {
        let id = seats.join(stands.room, [].into());
        seats.change(at, |seat| {
            seat.occupant = stands.up.then_some(Nobody);
            seat.taken = if stands.up { stands.taken } else { 0 };
            seat.half_open = stands.half_open;
            match stands.held_against {
                0 => seat.ejected_until = Some(Duration::MAX),
                1 => seat.stuck = true,
                2 => seat.failed = true,
                3 => seat.leaving = true,
                _ => {}
            }
        });
        if matches!(stands.held_against, 2 | 3) {
            seats.retire(id);
        }
    }
    seats
}

/// What the rules say of one consumer, written without the code under test.
fn would_do(seats: &Seats<Nobody>, at: usize, wish: Wish) -> bool {
    let usable = |seat: &Seat<Nobody>| {
        seat.occupant.is_some() && !seat.failed && !seat.leaving && !seat.stuck && seat.ejected_until.is_none()
    };
    let seat = seats.at(at);
    let room = if seat.half_open { 1 } else { seat.room };
    let another = seats.iter().filter(|seat| usable(seat)).count() > 1;
    usable(seat) && seat.taken < room && !(wish.avoid == Some(seat.id) && another) && (!wish.alone || seat.taken == 0)
}

fn wishes(consumers: usize) -> impl Strategy<Value = Wish> {
    let avoid = prop::option::of(0..consumers as u64);
    (avoid, prop::bool::weighted(0.2)).prop_map(|(avoid, alone)| Wish {
        only: None,
        avoid: avoid.map(ConsumerId::new),
        alone,
    })
}

fn groups() -> impl Strategy<Value = (Vec<Stands>, Wish, u64)> {
    let stands = prop::collection::vec(any::<u32>(), 1..70);
    (stands, wishes(70), any::<u64>())
        .prop_map(|(bits, wish, seed)| (bits.into_iter().map(Stands::of).collect(), wish, seed))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Round robin, least loaded and two random choices: one that will do, or none if none will.
    #[test]
    fn what_is_chosen_will_do_and_somebody_is_if_anybody_will((stands, wish, seed) in groups(), cursor in 0..80usize) {
        for choice in [Choice::RoundRobin, Choice::LeastLoaded, Choice::TwoChoices, Choice::Any] {
            let mut seats = group(&stands);
            seats.cursor = cursor;
            let fitting: Vec<usize> = (0..seats.len()).filter(|at| would_do(&seats, *at, wish)).collect();
            match seats.choose(choice, wish, &mut Chance(seed)) {
                Chosen::At(at) => {
                    prop_assert!(fitting.contains(&at), "{:?}: {} of {:?}", choice, at, fitting);
                    let least = fitting.iter().map(|at| seats.at(*at).taken).min();
                    prop_assert!(choice != Choice::LeastLoaded || Some(seats.at(at).taken) == least);
                    let next = fitting.iter().find(|at| **at >= cursor).or(fitting.first());
                    prop_assert!(choice != Choice::RoundRobin || cursor >= seats.len() || Some(&at) == next);
                }
                Chosen::Wait(wanted) => {
                    prop_assert!(fitting.is_empty(), "{:?} waits for {:?}", choice, fitting);
                    prop_assert_eq!(wanted, wish);
                }
                Chosen::Unknown => prop_assert!(false, "nobody was named"),
            }
        }
    }

    /// By hash (consistent, sticky): the key's own consumer or waiting for it, unless something is held against that; then any.
    #[test]
    fn a_key_goes_to_its_own_consumer_or_waits_for_it((stands, wish, seed) in groups(), key in any::<u64>()) {
        let mut seats = group(&stands);
        let owner = seats.ring.find(hash_of(&key)).and_then(|id| seats.position(id));
        let usable = seats.usable() > 0;
        let fitting: Vec<usize> = (0..seats.len()).filter(|at| would_do(&seats, *at, wish)).collect();
        let chosen = seats.choose(Choice::Hash(hash_of(&key)), wish, &mut Chance(seed));
        let Some(owner) = owner else {
            prop_assert!(stands.iter().all(|stands| matches!(stands.held_against, 2 | 3)), "somebody has the key");
            prop_assert_eq!(chosen, Chosen::Wait(wish));
            return Ok(());
        };
        let seat = seats.at(owner);
        let excused = seat.stuck || seat.ejected_until.is_some() || wish.avoid == Some(seat.id);
        match chosen {
            Chosen::At(at) if at == owner => prop_assert!(seat.free() > 0 && (!wish.alone || seat.taken == 0)),
            Chosen::At(at) => prop_assert!(excused && fitting.contains(&at)),
            Chosen::Wait(wanted) if excused && usable => {
                prop_assert!(fitting.is_empty() && wanted == wish);
            }
            Chosen::Wait(wanted) => prop_assert_eq!(wanted, Wish { only: Some(seat.id), avoid: None, ..wish }),
            Chosen::Unknown => prop_assert!(false, "nobody was named"),
        }
    }

    /// A consumer that is named is the one or is waited for; one that is gone, or going, is unknown.
    #[test]
    fn a_named_consumer_is_the_one_or_waited_for((stands, wish, seed) in groups(), named in 0..80u64) {
        let mut seats = group(&stands);
        let id = ConsumerId::new(named);
        let wanted = seats.get(id).is_some_and(Seat::is_wanted);
        match seats.choose(Choice::To(id), wish, &mut Chance(seed)) {
            Chosen::At(at) => prop_assert!(wanted && seats.at(at).id == id && seats.at(at).free() > 0),
            Chosen::Wait(wait) => prop_assert!(wanted && wait.only == Some(id)),
            Chosen::Unknown => prop_assert!(!wanted),
        }
    }

    /// When one joins, keys move to it alone, and no more than three times its share of them.
    #[test]
    fn a_newcomer_takes_its_share_of_the_keys_and_no_others_move(consumers in 1..24u64, first in any::<u32>()) {
        let mut ring = Ring::default();
        (0..consumers).for_each(|n| ring.join(ConsumerId::new(n)));
        let newcomer = ConsumerId::new(consumers);
        let keys = u64::from(first)..u64::from(first) + 2000;
        let owners = |ring: &mut Ring| keys.clone().map(|key| ring.find(hash_of(&key)).expect("somebody")).collect::<Vec<_>>();
        let before = owners(&mut ring);
        ring.join(newcomer);
        let after = owners(&mut ring);
        let moved = before.iter().zip(&after).filter(|(was, is)| was != is);
        prop_assert!(moved.clone().all(|(_, is)| *is == newcomer));
        let share = 2000 / (usize::try_from(consumers).expect("small") + 1);
        prop_assert!((1..=3 * share).contains(&moved.count()), "of {} each", share);
    }
}

/// The better of two draws keeps the fullest low, where one draw does not. (Chance is the seed's: the same in every run.)
#[test]
fn two_random_choices_spread_better_than_one() {
    let fullest = |two: bool| {
        let stands = Stands { room: 1000, taken: 0, up: true, half_open: false, held_against: 9 };
        let (mut seats, mut chance) = (group(&vec![stands; 64]), Chance(1));
        let mut loads = BTreeMap::new();
        for _ in 0..640 {
            let at = if two {
                let Chosen::At(at) = seats.choose(Choice::TwoChoices, Wish::default(), &mut chance) else {
                    panic!("full")
                };
                at
            } else {
                chance.below(64)
            };
            seats.change(at, |seat| seat.taken += 1);
            *loads.entry(at).or_insert(0) += 1;
        }
        loads.into_values().max().expect("some")
    };
    let (two, one) = (fullest(true), fullest(false));
    assert!(two <= 13 && one > two, "{two} of 10 on average, and {one} with one draw");
}
