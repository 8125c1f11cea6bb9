//! Pure: random supervisors in a random world: what holds at every moment, and what holds when the faults have stopped.
use super::world::{Seen, World, bad, id, settings};
use crate::backoff::Backoff;
use crate::children::{Key, Standing, Turn};
use crate::event::{Event, Request};
use crate::spec::{Flags, Restart, Settings, Strategy};
use crate::state::Stage;
use colloquium_runtime::ExitReason;
use proptest::prelude::{Just, ProptestConfig, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as Values;
use std::time::Duration;

const IDS: [&str; 5] = ["a", "b", "c", "d", "e"];

#[derive(Clone, Debug)]
enum Happens {
    Fall(usize, u8),
    FailNext(usize, u32),
    Turn,
    Pass(u64),
    Terminate(usize),
    Restart(usize),
    Delete(usize),
    Add(usize, u8),
}

fn happens() -> impl Values<Value = Happens> {
    let child = 0..IDS.len();
    prop_oneof![
        5 => (child.clone(), any::<u8>()).prop_map(|(at, kind)| Happens::Fall(at, kind)),
        2 => (child.clone(), 1..4u32).prop_map(|(at, times)| Happens::FailNext(at, times)),
        3 => Just(Happens::Turn),
        3 => (0..8000u64).prop_map(Happens::Pass),
        1 => child.clone().prop_map(Happens::Terminate),
        1 => child.clone().prop_map(Happens::Restart),
        1 => child.clone().prop_map(Happens::Delete),
        1 => (child, any::<u8>()).prop_map(|(at, kind)| Happens::Add(at, kind)),
    ]
}

fn child(kind: u8) -> Settings {
    let restart = [Restart::Permanent, Restart::Transient, Restart::Temporary][usize::from(kind % 3)];
    let backs_off = kind & 64 != 0 && restart != Restart::Temporary;
    Settings { restart, backoff: backs_off.then(Box::<Backoff>::default), ..settings() }
}

fn apply(world: &mut World, what: &Happens) {
    match *what {
        Happens::Fall(at, kind) => {
            if world.process(IDS[at]).is_some() {
                let reasons = [ExitReason::Normal, ExitReason::Shutdown, bad(), ExitReason::Killed];
                world.fall(IDS[at], reasons[usize::from(kind % 4)].clone());
            }
        }
        Happens::FailNext(at, times) => drop(world.failing.insert(IDS[at], times)),
        Happens::Turn => drop(world.take_turn()),
        Happens::Pass(millis) => world.pass(Duration::from_millis(millis)),
        Happens::Terminate(at) => drop(world.answer(Request::Terminate(id(IDS[at])))),
        Happens::Restart(at) => drop(world.answer(Request::Restart(id(IDS[at])))),
        Happens::Delete(at) => drop(world.answer(Request::Delete(id(IDS[at])))),
        Happens::Add(at, kind) => {
            let ticket = world.add(IDS[at], child(kind));
            assert!(world.answers.remove(&ticket).is_some());
        }
    }
}

/// What holds whenever nothing is under way: the machine and the world agree on who is up, and what is due will come.
fn agrees(world: &World) {
    let mut up = 0;
    for (_, child) in world.machine.children.from(Key::FIRST) {
        match child.standing {
            Standing::Up(process) => {
                up += 1;
                assert_eq!(world.alive.get(&process).copied(), Some(&*child.id()));
            }
            Standing::Stopped(_) => {}
            Standing::Again(Turn::At(at)) => assert!(world.machine.deadline().is_some_and(|deadline| deadline <= at)),
            Standing::Again(Turn::Message(number)) => {
                assert!(world.turns.iter().any(|(_, turn)| *turn == number), "its turn will come");
            }
            ref other => panic!("{other:?} while nothing is under way"),
        }
    }
    assert_eq!((up, world.machine.children.active()), (world.alive.len(), world.alive.len()), "nobody is forgotten");
    assert!(world.watched.is_empty() && world.machine.later.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nobody_is_up_twice_or_forgotten_and_in_the_end_all_are_up_or_the_supervisor_has_ended(
        which in 0..3usize,
        intensity in 0..6u32,
        kinds in proptest::collection::vec(any::<u8>(), IDS.len()),
        story in proptest::collection::vec(happens(), 0..80),
    ) {
        let strategy = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne][which];
        let children: Vec<_> = IDS.iter().zip(&kinds).map(|(id, kind)| (*id, child(*kind))).collect();
        let mut world = World::begun(Flags { strategy, intensity, ..Flags::default() }, &children);
        for what in &story {
            apply(&mut world, what);
            if world.machine.stage == Stage::Over {
                break;
            }
            agrees(&world);
        }
        // The faults stop.
        world.failing.clear();
        while world.machine.stage != Stage::Over && (world.take_turn() || world.machine.deadline().is_some()) {
            if world.machine.deadline().is_some() {
                world.wait();
            }
        }
        if world.machine.stage == Stage::Running {
            agrees(&world);
            let waits = |child: &crate::children::Child<u32>| matches!(child.standing, Standing::Again(_));
            prop_assert!(!world.machine.children.from(Key::FIRST).any(|(_, child)| waits(child)));
            world.event(Event::End(ExitReason::Shutdown, None));
        }
        prop_assert_eq!(world.log.last(), Some(&Seen::End(ExitReason::Shutdown)));
        prop_assert!(world.alive.is_empty(), "no child outlives its supervisor");
    }
}
