//! Random sequences of links, monitors and exits among a few processes, against a model, and many at once without one.
//!
//! `PROPTEST_CASES` runs more of them, `PROPTEST_RNG_SEED` others. A failure shows the smallest sequence found.
mod model;

use colloquium::{Context, Down, Runtime, Simulation};
use model::race::{self, Script};
use model::stage::{Stage, bound};
use model::{Act, Answer, Id, Message, Model, Reason};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use std::sync::Arc;

/// The processes that ever live in one sequence; more would be named too seldom.
const PROCESSES: usize = 12;

/// A step whose numbers are taken modulo what there is when its turn comes.
#[derive(Clone, Debug)]
struct Step {
    actor: usize,
    target: usize,
    by_pid: bool,
    verb: Verb,
}

#[derive(Clone, Debug)]
enum Verb {
    Link,
    Unlink,
    Monitor,
    Demonitor { flush: bool },
    SendExit(Reason),
    SendText,
    Trap(bool),
    Drain,
    TakeText,
    Spawn { link: bool, monitor: bool },
    ExitSelf(Reason),
    Return(Reason),
    Panic,
    ExitFromOutside(Reason),
}

/// What a step comes to.
enum Plan {
    Act(Id, Act),
    ExitFromOutside(Id, Reason),
    Nothing,
}

fn reasons() -> impl Strategy<Value = Reason> {
    proptest::sample::select(vec![Reason::Normal, Reason::Shutdown, Reason::A, Reason::B, Reason::Kill])
}

fn verbs() -> impl Strategy<Value = Verb> {
    prop_oneof![
        16 => Just(Verb::Link),
        6 => Just(Verb::Unlink),
        14 => Just(Verb::Monitor),
        8 => any::<bool>().prop_map(|flush| Verb::Demonitor { flush }),
        6 => reasons().prop_map(Verb::SendExit),
        6 => Just(Verb::SendText),
        14 => prop::bool::weighted(0.8).prop_map(Verb::Trap),
        6 => Just(Verb::Drain),
        4 => Just(Verb::TakeText),
        8 => any::<(bool, bool)>().prop_map(|(link, monitor)| Verb::Spawn { link, monitor }),
        2 => reasons().prop_map(Verb::ExitSelf),
        2 => reasons().prop_map(Verb::Return),
        1 => Just(Verb::Panic),
        4 => reasons().prop_map(Verb::ExitFromOutside),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..60usize, 0..300usize, any::<bool>(), verbs());
    prop::collection::vec(step.prop_map(|(actor, target, by_pid, verb)| Step { actor, target, by_pid, verb }), 1..80)
}

fn plan(step: &Step, model: &Model, text: u32) -> Plan {
    let living = model.living();
    if living.is_empty() {
        return Plan::Nothing;
    }
    // The dead act no more, but everything may be tried on them, once in a while.
    let me = living[step.actor % living.len()];
    let target =
        if step.target.is_multiple_of(5) { step.target / 5 % model.len() } else { living[step.target % living.len()] };
    Plan::Act(
        me,
        match step.verb {
            Verb::Link => Act::Link(target),
            Verb::Unlink => Act::Unlink(target),
            Verb::Monitor => Act::Monitor(target),
            Verb::Demonitor { .. } if model.monitors.is_empty() => return Plan::Nothing,
            Verb::Demonitor { flush } => return plan_demonitor(step, model, flush),
            Verb::SendExit(reason) => Act::SendExit(target, reason),
            Verb::SendText => Act::SendText(target, text),
            Verb::Trap(on) => Act::Trap(on),
            Verb::Drain => Act::Drain,
            Verb::TakeText => Act::TakeText,
            Verb::Spawn { .. } if model.len() == PROCESSES => return Plan::Nothing,
            Verb::Spawn { link, monitor } => Act::Spawn { link, monitor },
            Verb::ExitSelf(reason) => Act::ExitSelf(reason),
            Verb::Return(reason) => Act::Return(reason),
            Verb::Panic => Act::Panic,
            Verb::ExitFromOutside(reason) => return Plan::ExitFromOutside(target, reason),
        },
    )
}

/// Mostly by its owner; one time in six by whoever has the turn, to whom it means nothing.
fn plan_demonitor(step: &Step, model: &Model, flush: bool) -> Plan {
    let monitor = step.target % model.monitors.len();
    let (owner, living) = (model.monitors[monitor].owner, model.living());
    let me =
        if !step.actor.is_multiple_of(6) && model.is_alive(owner) { owner } else { living[step.actor % living.len()] };
    Plan::Act(me, Act::Demonitor { monitor, flush })
}

/// One step on both sides, and the answers compared.
fn take(step: &Step, text: u32, model: &mut Model, stage: &mut Stage) -> Result<(), String> {
    match plan(step, model, text) {
        Plan::Nothing => {}
        Plan::ExitFromOutside(to, reason) => {
            model.exit_from_outside(to, reason);
            stage.exit_from_outside(to, reason, step.by_pid);
        }
        Plan::Act(me, act) => {
            let expected = model.act(me, act);
            let answer = stage.perform(me, act, step.by_pid)?;
            let never_returns = matches!(act, Act::Return(_) | Act::Panic | Act::ExitSelf(_));
            match answer {
                // The end of a process takes effect at its next await, so that it answers what it did without one.
                None if model.is_alive(me) => return Err(format!("process {me} ended at {act:?}")),
                None => {}
                Some(_) if never_returns && !model.is_alive(me) => return Err(format!("code ran after {act:?}")),
                Some(answer) if !same(&answer, &expected) => {
                    return Err(format!("process {me} at {act:?}: {answer:?} and should {expected:?}"));
                }
                Some(_) => {}
            }
        }
    }
    stage.settle(model)
}

/// Messages of one step may come in any order, those of different steps in theirs.
fn same(answer: &Answer, expected: &Answer) -> bool {
    let (Answer::Received(received), Answer::Received(groups)) = (answer, expected) else { return answer == expected };
    let received = received.concat();
    let mut rest = received.as_slice();
    let sorted = |messages: &[Message]| {
        let mut messages = messages.to_vec();
        messages.sort_unstable();
        messages
    };
    let all_there = groups.iter().all(|group| {
        let Some((head, tail)) = rest.split_at_checked(group.len()) else { return false };
        rest = tail;
        sorted(head) == sorted(group)
    });
    all_there && rest.is_empty()
}

/// Everything that is still in a mailbox counts.
fn drain_all(model: &mut Model, stage: &mut Stage) -> Result<(), String> {
    for me in model.living() {
        let (expected, answer) = (model.act(me, Act::Drain), stage.perform(me, Act::Drain, false)?);
        if !answer.as_ref().is_some_and(|answer| same(answer, &expected)) {
            return Err(format!("process {me} had {answer:?} left and should {expected:?}"));
        }
    }
    stage.settle(model)
}

fn play(workers: usize, processes: usize, steps: &[Step]) -> Result<(), String> {
    let runtime = Runtime::builder().workers(workers).build().expect("a runtime");
    runtime.block_on(play_in(runtime.clone(), processes, steps))
}

async fn play_in(runtime: Runtime, processes: usize, steps: &[Step]) -> Result<(), String> {
    let (mut model, mut stage) = (Model::new(processes), Stage::new(runtime, processes));
    for (number, step) in (0..).zip(steps) {
        take(step, number, &mut model, &mut stage).map_err(|error| format!("at step {number}: {error}"))?;
    }
    drain_all(&mut model, &mut stage)?;
    race::shut_down(&stage.runtime).await
}

/// Simulated, by this seed.
fn simulate(seed: u64, body: impl AsyncFn(Runtime) -> Result<(), String>) -> Result<(), String> {
    Simulation::new(seed).run(body).map_err(|failure| failure.to_string())?.value
}

/// The same cases in every run, unless the environment asks for others.
fn config() -> Config {
    let config = Config::default();
    let rng_seed = if config.rng_seed == RngSeed::Random { RngSeed::Fixed(2) } else { config.rng_seed };
    Config { rng_seed, failure_persistence: None, max_shrink_time: 60_000, ..config }
}

fn check<S: Strategy>(strategy: &S, property: impl Fn(S::Value) -> Result<(), String>) {
    let outcome = TestRunner::new(config()).run(strategy, |case| property(case).map_err(TestCaseError::fail));
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn one_worker_does_what_the_model_does() {
    check(&(4..=6usize, steps()), |(processes, steps)| play(1, processes, &steps));
}

#[test]
fn two_workers_do_what_the_model_does() {
    check(&(4..=6usize, steps()), |(processes, steps)| play(2, processes, &steps));
}

#[test]
fn a_simulation_does_what_the_model_does() {
    let cases = (any::<u64>(), 4..=6usize, steps());
    check(&cases, |(seed, processes, steps)| simulate(seed, async |runtime| play_in(runtime, processes, &steps).await));
}

#[test]
fn links_and_monitors_of_processes_that_act_at_once_add_up_in_a_simulation() {
    check(&(any::<u64>(), race::scripts()), |(seed, scripts): (u64, Vec<Script>)| {
        simulate(seed, async |runtime| race::run_in(runtime, 0, &scripts).await)
    });
}

#[test]
fn links_and_monitors_of_processes_that_act_at_once_add_up_on_one_worker() {
    check(&race::scripts(), |scripts: Vec<Script>| race::run(1, &scripts));
}

#[test]
fn links_and_monitors_of_processes_that_act_at_once_add_up_on_two_workers() {
    check(&race::scripts(), |scripts: Vec<Script>| race::run(2, &scripts));
}

/// Nothing is set up, so that nothing may be kept either: it can be done any number of times.
#[test]
fn a_monitor_of_oneself_keeps_no_mapping() {
    let runtime = Runtime::builder().workers(1).build().expect("a runtime");
    let (result, wait) = std::sync::mpsc::channel();
    let process = runtime.spawn(async move |mut ctx: Context<Down>| {
        let token = Arc::new(());
        let (me, held) = (ctx.address(), Arc::clone(&token));
        let reference = ctx.monitor(&me, move |down| {
            let _ = &held;
            down
        });
        ctx.demonitor(reference);
        let _ = result.send(Arc::strong_count(&token) - 1);
    });
    process.expect("a process");
    assert_eq!(wait.recv_timeout(bound()).expect("the body goes to its end"), 0, "mappings kept");
}
