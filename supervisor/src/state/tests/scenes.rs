//! Pure: single scenes: the first start, intensity, retries, back-off, stops, wedged children, requests, auto-shutdown.
use super::world::{SECOND, Seen, World, bad, id, no_spawn, settings};
use crate::backoff::Backoff;
use crate::children::{Rest, Standing, Turn};
use crate::event::{Answer, Event, FailedToStart, Place, Refusal, Report, Request, StartFailure, Who, Word};
use crate::spec::{AutoShutdown, Flags, Restart, Settings, Shutdown, SpecError, Strategy};
use colloquium_runtime::ExitReason;
use std::time::Duration;

fn three(flags: Flags) -> World {
    World::begun(flags, &["a", "b", "c"].map(|id| (id, settings())))
}

fn strategy(strategy: Strategy) -> Flags {
    Flags { strategy, ..Flags::default() }
}

fn running(mut world: World) -> World {
    world.log();
    world
}

#[test]
fn a_failing_first_start_is_undone_in_reverse_and_not_retried() {
    let mut world = World::unborn(Flags::default(), &["a", "b", "c", "d"].map(|id| (id, settings())));
    world.failing.insert("c", 1);
    world.event(Event::Begin);
    let reason = ExitReason::shutdown_with(FailedToStart { id: "c".into(), failure: no_spawn() });
    let stopped = [Seen::Stop("b"), Seen::Stop("a"), Seen::End(reason)];
    let log = world.log();
    assert_eq!(log[..3], [Seen::Start("a"), Seen::Start("b"), Seen::Fail("c")]);
    assert_eq!(log[3..], stopped);
    assert!(world.alive.is_empty());
}

#[test]
fn intensity_n_lets_n_restarts_pass_and_the_next_ends_the_supervisor() {
    for intensity in 0..4 {
        let mut world = running(three(Flags { intensity, ..Flags::default() }));
        for _ in 0..intensity {
            world.fall("b", bad());
            assert_eq!(world.log(), [Seen::Start("b")]);
        }
        world.fall("b", bad());
        assert_eq!(world.log(), [Seen::Stop("c"), Seen::Stop("a"), Seen::End(ExitReason::Shutdown)]);
        assert!(world.reports.contains(&Report::GaveUp { id: "b".into(), escalates: true }));
    }
}

#[test]
fn restarts_spaced_wider_than_the_period_never_exhaust_it() {
    let mut world = running(three(Flags { intensity: 1, period: 5 * SECOND, ..Flags::default() }));
    for _ in 0..100 {
        world.fall("a", bad());
        assert_eq!(world.log(), [Seen::Start("a")]);
        world.pass(5 * SECOND + Duration::from_nanos(1));
    }
}

#[test]
fn every_retry_of_a_failing_restart_counts_and_takes_its_turn() {
    let mut world = running(three(Flags { intensity: 5, ..strategy(Strategy::OneForAll) }));
    world.failing.insert("b", 100);
    world.fall("a", bad());
    for _ in 0..4 {
        assert_eq!(world.picture(), "a+ br c-");
        assert_eq!(world.answer(Request::Restart(id("b"))), Answer::Refused(Refusal::Restarting));
        assert_eq!(world.answer(Request::Look), Answer::Done, "it stays answerable");
        assert!(world.take_turn());
    }
    world.log();
    assert!(world.take_turn());
    assert_eq!(world.log(), [Seen::Stop("a"), Seen::End(ExitReason::Shutdown)]);
}

#[test]
fn a_restarting_child_can_be_terminated_and_its_retry_comes_to_nothing() {
    let mut world = running(three(Flags::default()));
    world.failing.insert("b", 1);
    world.fall("b", bad());
    assert_eq!(world.answer(Request::Delete(id("b"))), Answer::Refused(Refusal::Restarting));
    assert_eq!(world.answer(Request::Terminate(id("b"))), Answer::Done);
    world.log();
    assert!(world.take_turn());
    assert_eq!((world.log(), world.picture().as_str()), (vec![], "a+ b- c+"));
    assert_eq!(world.answer(Request::Delete(id("b"))), Answer::Done);
    assert_eq!(world.picture(), "a+ c+");
}

#[test]
fn the_supervisor_can_be_stopped_in_the_midst_of_retries() {
    let mut world = running(three(Flags { intensity: 1000, ..Flags::default() }));
    world.failing.insert("b", u32::MAX);
    world.fall("b", bad());
    assert!(world.take_turn() && world.take_turn());
    world.log();
    world.event(Event::End(ExitReason::Normal, None));
    assert_eq!(world.log(), [Seen::Stop("c"), Seen::Stop("a"), Seen::End(ExitReason::Normal)]);
    assert!(world.take_turn());
    assert_eq!(world.log(), []);
}

fn backing_off(backoff: Backoff) -> (&'static str, Settings) {
    ("b", Settings { backoff: Some(Box::new(backoff)), ..settings() })
}

/// Makes `b` fail at once, whatever it waits for first; how long it waited.
fn fail_once(world: &mut World) -> Duration {
    let before = world.now;
    if matches!(world.standing("b"), Some(Standing::Again(Turn::At(_)))) {
        world.wait();
    }
    world.fall("b", bad());
    world.now - before
}

#[test]
fn a_child_that_backs_off_is_restarted_at_once_then_later_and_given_up_at_last() {
    let others = [("a", settings()), backing_off(Backoff::default().give_up_after(6))];
    let mut world = running(World::begun(Flags { intensity: 0, ..Flags::default() }, &others));
    assert_eq!(fail_once(&mut world), Duration::ZERO);
    assert_eq!(world.picture(), "a+ b+");
    let waits: Vec<Duration> = (0..5).map(|_| fail_once(&mut world)).collect();
    let longest = [0, 100, 200, 400, 800].map(Duration::from_millis);
    assert!(waits.iter().zip(longest).all(|(wait, longest)| *wait <= longest), "{waits:?}");
    assert!(waits.iter().any(|wait| !wait.is_zero()));
    assert_eq!(world.log().last(), Some(&Seen::End(ExitReason::Shutdown)));
    assert!(world.reports.contains(&Report::GaveUp { id: "b".into(), escalates: true }));
}

#[test]
fn a_healthy_child_begins_anew() {
    let mut world = running(World::begun(Flags::default(), &[backing_off(Backoff::default().give_up_after(3))]));
    for _ in 0..20 {
        fail_once(&mut world);
        assert_eq!(world.picture(), "b+");
        fail_once(&mut world);
        assert_eq!(world.picture(), "bb");
        world.wait();
        world.pass(60 * SECOND);
        // Healthy: this one counts for nothing.
        fail_once(&mut world);
        assert_eq!(world.picture(), "b+");
    }
}

#[test]
fn a_given_up_child_may_be_left_failed_and_be_restarted_by_hand() {
    let child = backing_off(Backoff::default().give_up_after(1).leave_failed());
    let mut world = running(World::begun(Flags::default(), &[("a", settings()), child]));
    world.fall("b", bad());
    assert_eq!(world.standing("b"), Some(Standing::Stopped(Rest::Failed)));
    assert_eq!((world.log(), world.picture().as_str()), (vec![], "a+ b-"));
    let answer = world.answer(Request::Restart(id("b")));
    assert_eq!(answer, Answer::Child(world.process("b")));
    assert_eq!(world.picture(), "a+ b+");
}

#[test]
fn a_group_backs_off_as_a_whole() {
    let children = [("a", settings()), backing_off(Backoff::default()), ("c", settings())];
    for (strategy, waiting, restarted) in [
        (Strategy::OneForOne, "a+ bb c+", vec![Seen::Start("b")]),
        (Strategy::RestForOne, "a+ bb c-", vec![Seen::Start("b"), Seen::Start("c")]),
        (Strategy::OneForAll, "a- bb c-", vec![Seen::Start("a"), Seen::Start("b"), Seen::Start("c")]),
    ] {
        let mut world = World::begun(Flags { strategy, ..Flags::default() }, &children);
        world.fall("b", bad());
        world.fall("b", bad());
        assert_eq!(world.picture(), waiting);
        world.log();
        world.wait();
        assert_eq!((world.log(), world.picture().as_str()), (restarted, "a+ b+ c+"));
    }
}

#[test]
fn a_back_off_gives_way_to_a_restart_by_hand_and_to_a_stop() {
    let children = [("a", settings()), backing_off(Backoff::default())];
    let flags = strategy(Strategy::OneForAll);
    for by_hand in [true, false] {
        let mut world = World::begun(flags.clone(), &children);
        world.fall("b", bad());
        world.fall("b", bad());
        assert_eq!(world.picture(), "a- bb");
        let deadline = world.machine.deadline();
        assert!(matches!(world.places.values().nth(1), Some(Place::Vacant(Some(at))) if Some(*at) == deadline));
        if by_hand {
            let answer = world.answer(Request::Restart(id("b")));
            assert_eq!(answer, Answer::Child(world.process("b")));
            assert_eq!((world.picture().as_str(), world.machine.deadline()), ("a+ b+", None));
        } else {
            world.event(Event::End(ExitReason::Shutdown, None));
            assert_eq!(world.log().last(), Some(&Seen::End(ExitReason::Shutdown)));
        }
    }
}

#[test]
fn failed_starts_of_a_child_that_backs_off_count_as_unhealthy() {
    let mut world = running(World::begun(Flags::default(), &[backing_off(Backoff::default().give_up_after(4))]));
    world.failing.insert("b", u32::MAX);
    world.fall("b", bad());
    assert_eq!(world.log(), [Seen::Fail("b")], "the first restart is at once, the second failure waits");
    assert_eq!(world.picture(), "bb");
    world.wait();
    world.wait();
    assert_eq!(world.log(), [Seen::Fail("b"), Seen::Fail("b"), Seen::End(ExitReason::Shutdown)]);
}

#[test]
fn a_stop_goes_from_right_to_left_and_each_child_has_its_time() {
    let children = [
        ("a", Settings { shutdown: Shutdown::Infinity, ..settings() }),
        ("b", Settings { shutdown: Shutdown::BrutalKill, ..settings() }),
        ("c", Settings { shutdown: Shutdown::After(3 * SECOND), ..settings() }),
    ];
    let mut world = running(World::begun(Flags::default(), &children));
    world.deaf.extend(["a", "c"]);
    world.event(Event::End(ExitReason::Normal, None));
    assert_eq!(world.log(), [Seen::Stop("c")]);
    world.pass(3 * SECOND - Duration::from_nanos(1));
    assert_eq!(world.log(), []);
    world.pass(Duration::from_nanos(1));
    assert_eq!(world.log(), [Seen::Kill("c"), Seen::Kill("b"), Seen::Stop("a")]);
    assert_eq!(world.machine.deadline(), None);
    world.fall("a", ExitReason::Shutdown);
    assert_eq!(world.log(), [Seen::End(ExitReason::Normal)]);
}

#[test]
fn a_child_that_a_kill_does_not_end_is_reported_and_passed_over() {
    let mut world = running(three(strategy(Strategy::RestForOne)));
    world.stuck.insert("c");
    let stuck = world.process("c").expect("it is up");
    world.fall("b", bad());
    world.wait();
    assert_eq!(world.log(), [Seen::Stop("c"), Seen::Kill("c")]);
    world.pass(SECOND);
    assert_eq!(world.log(), [Seen::Start("b"), Seen::Start("c")]);
    assert!(world.reports.contains(&Report::Wedged { id: "c".into(), process: stuck }));
    assert_eq!(world.machine.wedged.len(), 1);
    world.event(Event::Ended(stuck, ExitReason::Killed));
    assert_eq!((world.machine.wedged.len(), world.picture().as_str()), (0, "a+ b+ c+"));
}

#[test]
fn a_deadline_bounds_a_stop_whatever_the_children_do() {
    let children = ["a", "b", "c"].map(|id| (id, Settings { shutdown: Shutdown::Infinity, ..settings() }));
    let mut world = running(World::begun(Flags::default(), &children));
    world.deaf.extend(["a", "b", "c"]);
    world.stuck.insert("b");
    let by = world.now + 20 * SECOND;
    world.event(Event::End(ExitReason::Shutdown, Some(by)));
    assert_eq!(world.log(), [Seen::Stop("c")]);
    world.wait();
    assert_eq!(world.now, by - SECOND);
    assert_eq!(world.log(), [Seen::Kill("a"), Seen::Kill("b"), Seen::Kill("c")]);
    world.wait();
    assert_eq!((world.now, world.log()), (by, vec![Seen::End(ExitReason::Shutdown)]));
    assert_eq!(world.machine.wedged.len(), 1);
}

#[test]
fn an_order_to_end_interrupts_the_first_start() {
    let mut children = ["a", "b", "c"].map(|id| (id, settings()));
    children[1].1.init = Some(10 * SECOND);
    let mut world = World::begun(Flags::default(), &children);
    assert_eq!(world.log(), [Seen::Start("a"), Seen::Start("b")]);
    world.event(Event::End(ExitReason::Killed, None));
    assert_eq!(world.log(), [Seen::Stop("b"), Seen::Stop("a"), Seen::End(ExitReason::Killed)]);
}

#[test]
fn while_a_supervisor_ends_what_an_initialising_child_does_hurries_nothing() {
    let mut children = ["a", "b", "c"].map(|id| (id, settings()));
    children[1].1.init = Some(10 * SECOND);
    let mut world = World::begun(Flags::default(), &children);
    world.said("b", Word::Ready);
    world.fall("b", bad());
    world.deaf.insert("c");
    world.log();
    world.event(Event::End(ExitReason::Shutdown, None));
    assert_eq!(world.log(), [Seen::Stop("c")]);
    world.said("b", Word::Ready);
    world.fall("b", bad());
    assert_eq!(world.log(), [], "c is still waited for");
    world.fall("c", ExitReason::Shutdown);
    assert_eq!(world.log(), [Seen::Stop("a"), Seen::End(ExitReason::Shutdown)]);
}

#[test]
fn a_supervisor_has_as_long_as_it_takes_to_start() {
    let mut world = World::begun(Flags::default(), &[("s", Settings { init: Some(Duration::MAX), ..settings() })]);
    assert_eq!((world.picture().as_str(), world.machine.deadline()), ("ss", None));
    world.pass(1_000_000 * SECOND);
    world.said("s", Word::Ready);
    assert_eq!(world.picture(), "s+");
}

#[test]
fn a_child_says_what_came_of_its_initialisation() {
    let init = Settings { init: Some(10 * SECOND), ..settings() };
    let failed = |failure| Some(Answer::Refused(Refusal::Failed(failure)));
    for (word, picture, answered) in [
        (Some(Word::Ready), "a+ b+ c+ x+", Some(Answer::Child(Some(4)))),
        (Some(Word::Ignore), "a+ b+ c+ x-", Some(Answer::Child(None))),
        (Some(Word::Nothing), "a+ b+ c+", failed(StartFailure::NotReady)),
        (None, "a+ b+ c+", failed(StartFailure::TimedOut)),
    ] {
        let mut world = running(three(Flags::default()));
        let ticket = world.add("x", init.clone());
        assert_eq!((world.picture().as_str(), world.answers.len()), ("a+ b+ c+ xs", 0));
        world.deaf.insert("x");
        match word {
            Some(word) => world.said("x", word),
            None => world.pass(10 * SECOND),
        }
        if word == Some(Word::Nothing) {
            assert_eq!(world.machine.deadline(), Some(world.now + SECOND), "mostly it is about to end");
        }
        if world.answers.is_empty() {
            // Stopped, it takes its time; the supervisor answers when it is gone.
            world.wait();
        }
        assert_eq!((world.picture().as_str(), world.answers.remove(&ticket)), (picture, answered));
        assert!(world.watched.is_empty());
    }
    let mut world = running(three(Flags::default()));
    let ticket = world.add("x", init);
    world.fall("x", bad());
    assert_eq!(world.answers.remove(&ticket), failed(StartFailure::Ended(bad())));
    assert_eq!(world.picture(), "a+ b+ c+", "a start by hand that fails leaves nothing");
}

#[test]
fn requests_are_answered_in_every_state_of_a_child() {
    let mut world = running(World::begun(Flags::default(), &[("a", settings())]));
    let up = world.process("a").expect("it is up");
    let again = world.add("a", settings());
    assert_eq!(world.answers.remove(&again), Some(Answer::Refused(Refusal::AlreadyStarted(up))));
    assert_eq!(world.answer(Request::Restart(id("a"))), Answer::Refused(Refusal::Running));
    assert_eq!(world.answer(Request::Delete(id("a"))), Answer::Refused(Refusal::Running));
    for request in [Request::Restart(id("z")), Request::Delete(id("z")), Request::Terminate(id("z"))] {
        assert_eq!(world.answer(request), Answer::Refused(Refusal::NotFound));
    }
    assert_eq!(world.answer(Request::Terminate(id("a"))), Answer::Done);
    assert_eq!(world.answer(Request::Terminate(id("a"))), Answer::Done, "stopped already");
    let present = world.add("a", settings());
    assert_eq!(world.answers.remove(&present), Some(Answer::Refused(Refusal::AlreadyPresent)));
    world.failing.insert("a", 1);
    assert_eq!(world.answer(Request::Restart(id("a"))), Answer::Refused(Refusal::Failed(no_spawn())));
    assert_eq!(world.picture(), "a-", "it stays stopped");
    let answer = world.answer(Request::Restart(id("a")));
    assert_eq!(answer, Answer::Child(world.process("a")));
    let significant = Settings { significant: true, restart: Restart::Transient, ..settings() };
    let ticket = world.add("s", significant);
    let error = SpecError::SignificantIgnored("s".into());
    assert_eq!(world.answers.remove(&ticket), Some(Answer::Refused(Refusal::Spec(error))));
    let temporary = world.add("t", Settings { restart: Restart::Temporary, ..settings() });
    assert!(matches!(world.answers.remove(&temporary), Some(Answer::Child(Some(_)))));
    assert_eq!(world.answer(Request::Terminate(id("t"))), Answer::Done);
    assert_eq!(world.picture(), "a+", "a temporary child's specification goes with it");
    world.event(Event::End(ExitReason::Shutdown, None));
    assert_eq!(world.answer(Request::Look), Answer::Refused(Refusal::Ending));
}

#[test]
fn ends_and_requests_in_the_midst_of_an_operation_wait_for_its_end() {
    let mut children = ["a", "b", "c"].map(|id| (id, settings()));
    children[1].1.init = Some(10 * SECOND);
    let mut world = World::begun(Flags::default(), &children);
    world.said("b", Word::Ready);
    world.fall("b", bad());
    world.log();
    world.fall("c", bad());
    let look = world.ask(Request::Look);
    assert_eq!((world.log(), world.picture().as_str(), world.answers.len()), (vec![], "a+ bs cf", 0));
    world.said("b", Word::Ready);
    assert_eq!((world.log(), world.picture().as_str()), (vec![Seen::Start("c")], "a+ b+ c+"));
    assert_eq!(world.answers.remove(&look), Some(Answer::Done));
}

#[test]
fn auto_shutdown_follows_the_ends_of_significant_children_only() {
    let significant = |id, restart| (id, Settings { significant: true, restart, ..settings() });
    let children = [
        ("a", settings()),
        significant("s", Restart::Transient),
        significant("t", Restart::Temporary),
        ("u", Settings { restart: Restart::Temporary, ..settings() }),
    ];
    let flags = |auto_shutdown| Flags { auto_shutdown, ..Flags::default() };
    let ended = |world: &World| world.log.last() == Some(&Seen::End(ExitReason::Shutdown));
    // Of any: the first that ends by itself and is not restarted.
    for (id, reason, ends) in [
        ("s", ExitReason::Normal, true),
        ("s", ExitReason::shutdown_with("x"), true),
        ("s", bad(), false),
        ("t", ExitReason::Normal, true),
        ("t", bad(), true),
        ("u", bad(), false),
    ] {
        let mut world = World::begun(flags(AutoShutdown::AnySignificant), &children);
        world.fall(id, reason.clone());
        assert_eq!(ended(&world), ends, "{id} {reason}");
    }
    // Of all: the last; one that was stopped by hand counts as gone but triggers nothing.
    let mut world = World::begun(flags(AutoShutdown::AllSignificant), &children);
    world.fall("s", ExitReason::Normal);
    assert!(!ended(&world));
    world.fall("t", bad());
    assert!(ended(&world));
    let mut world = World::begun(flags(AutoShutdown::AllSignificant), &children);
    world.fall("t", bad());
    assert_eq!(world.answer(Request::Terminate(id("s"))), Answer::Done);
    assert!(!ended(&world), "stopped by hand");
    world.fall("u", bad());
    assert!(!ended(&world), "none of its significant children is left, but this one was not significant");
}

#[test]
fn a_sibling_stopped_for_anothers_sake_triggers_no_auto_shutdown() {
    let flags = Flags { auto_shutdown: AutoShutdown::AnySignificant, ..strategy(Strategy::OneForAll) };
    let significant = Settings { significant: true, restart: Restart::Temporary, ..settings() };
    let mut world = running(World::begun(flags, &[("a", settings()), ("t", significant)]));
    world.fall("a", bad());
    assert_eq!(world.log(), [Seen::Stop("t"), Seen::Gone("t"), Seen::Start("a")]);
}

#[test]
fn dynamic_children_are_bounded_found_by_process_and_stopped_together_under_one_clock() {
    let flags = Flags { dynamic: Some(3), ..Flags::default() };
    let mut world = running(World::begun(flags, &[]));
    let child = Settings { restart: Restart::Temporary, ..settings() };
    for id in ["x", "y", "z"] {
        world.add(id, child.clone());
    }
    let ticket = world.add("w", child.clone());
    assert_eq!(world.answers.remove(&ticket), Some(Answer::Refused(Refusal::Full(3))));
    let y = world.process("y").expect("it is up");
    assert_eq!(world.answer(Request::Terminate(Who::Process(y))), Answer::Done);
    assert_eq!(world.answer(Request::Terminate(Who::Process(y))), Answer::Refused(Refusal::NotFound));
    world.add("w", child);
    world.deaf.extend(["x", "w"]);
    world.stuck.insert("w");
    world.log();
    world.event(Event::End(ExitReason::Shutdown, None));
    assert_eq!(world.log(), [Seen::Stop("x"), Seen::Stop("z"), Seen::Stop("w"), Seen::Gone("z")]);
    world.pass(5 * SECOND);
    assert_eq!(world.log(), [Seen::Kill("x"), Seen::Kill("w"), Seen::Gone("x")]);
    world.pass(SECOND);
    assert_eq!(world.log(), [Seen::Gone("w"), Seen::End(ExitReason::Shutdown)]);
    assert_eq!((world.machine.wedged.len(), world.machine.children.len()), (1, 0));
}

#[test]
fn strangers_ends_are_nobodys_business() {
    let mut world = running(three(Flags::default()));
    world.event(Event::Ended(999, bad()));
    world.event(Event::Said(999, Word::Ready));
    assert_eq!((world.log(), world.picture().as_str()), (vec![], "a+ b+ c+"));
}
