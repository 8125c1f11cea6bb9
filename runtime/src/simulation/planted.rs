//! Shared: bugs that tests plant in the runtime, to see the simulator find them. Built into unit tests only.
//!
//! One cell of each thread says which bug its simulations have.
use std::cell::Cell;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A signal that is to become a message does not wake a receiver that waits.
    LostWake,
    /// A message overtakes the others when a few wait.
    Reordered,
    /// A link to a process that is about to end is answered at once, and told of again when that has ended.
    ToldTwice,
}

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

pub(crate) fn is_planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

mod tests {
    use super::*;
    use crate::simulation::choices::How;
    use crate::simulation::{Choices, Failure, FailureKind, Faults, Simulation};
    use crate::{Context, Down, ExitReason, Runtime};
    use std::time::Duration;

    /// The seeds within which each bug is found.
    const SEEDS: u64 = 100;

    /// Every process waits for something, the body for all: what is not told is missed.
    async fn watchers(runtime: Runtime) {
        let mortal = runtime.spawn(async |ctx: Context<()>| ctx.sleep(Duration::from_micros(5)).await);
        let mortal = mortal.expect("room for a process");
        let watchers: Vec<_> = (0..3)
            .map(|_| {
                let target = mortal.pid();
                let body = async move |mut ctx: Context<Down>| {
                    ctx.sleep(ctx.rng().duration(Duration::ZERO..Duration::from_micros(200))).await;
                    ctx.monitor(target, |down| down);
                    ctx.recv().await;
                };
                runtime.spawn(body).expect("room for a process")
            })
            .collect();
        for watcher in watchers {
            watcher.ended().await;
        }
    }

    async fn ordered(runtime: Runtime) {
        let receiver = runtime.spawn(async |mut ctx: Context<u32>| -> Result<(), ExitReason> {
            for expected in 0..6 {
                let came = ctx.recv().await;
                if came != expected {
                    return Err(ExitReason::error(format!("{came} in place of {expected}")));
                }
            }
            Ok(())
        });
        let receiver = receiver.expect("room for a process");
        let to = receiver.clone();
        let sender = async move |mut ctx: Context<()>| {
            for number in 0..6 {
                let _ = to.send(number);
                ctx.yield_now().await;
            }
        };
        runtime.spawn(sender).expect("room for a process");
        assert_eq!(receiver.ended().await, ExitReason::Normal);
    }

    /// A process is killed and linked to, in whatever order; it is told of once.
    async fn told_once(runtime: Runtime) {
        const SOON: Duration = Duration::from_micros(10);
        let target = runtime.spawn(async |_: Context<()>| std::future::pending::<()>().await);
        let target = target.expect("room for a process");
        let linker = runtime.spawn({
            let target = target.clone();
            async move |mut ctx: Context<()>| {
                ctx.trap_exits(|_| ());
                ctx.sleep(SOON).await;
                ctx.link(&target);
                ctx.recv().await;
                let more = ctx.recv_timeout(Duration::from_secs(1)).await;
                more.map_or(Ok(()), |()| Err(ExitReason::error("one too many")))
            }
        });
        let killer = async move |ctx: Context<()>| {
            ctx.sleep(SOON).await;
            target.kill();
        };
        runtime.spawn(killer).expect("room for a process");
        assert_eq!(linker.expect("room for a process").ended().await, ExitReason::Normal);
    }

    fn run(bug: Option<Bug>, body: impl AsyncFn(Runtime), seed: u64) -> Result<(), Failure> {
        PLANTED.set(bug);
        let result = Simulation::new(seed).run(body).map(drop);
        PLANTED.set(None);
        result
    }

    /// Without the bug no seed fails; with it one does, soon, and does it again.
    fn is_found(bug: Bug, body: impl AsyncFn(Runtime), as_kind: fn(&FailureKind) -> bool) {
        (0..SEEDS).for_each(|seed| run(None, &body, seed).expect("nothing is planted"));
        let failures: Vec<Failure> = (0..SEEDS).filter_map(|seed| run(Some(bug), &body, seed).err()).collect();
        assert!(!failures.is_empty(), "{bug:?} is not found by {SEEDS} seeds");
        assert!(failures.len() < usize::try_from(SEEDS).expect("a hundred"), "{bug:?} needs no simulator to be found");
        for failure in &failures {
            assert!(as_kind(failure.kind()), "{failure}");
            let again = run(Some(bug), &body, failure.seed()).expect_err("its seed repeats it");
            assert_eq!((again.hash(), again.steps()), (failure.hash(), failure.steps()));
        }
        failures.iter().take(10).for_each(|failure| is_shrunk(bug, &body, failure, as_kind));
    }

    /// The same failure comes of strictly fewer choices, which repeat it, read from their text. Without the bug they are harmless.
    fn is_shrunk(bug: Bug, body: impl AsyncFn(Runtime), failure: &Failure, as_kind: fn(&FailureKind) -> bool) {
        let simulation = Simulation::new(failure.seed());
        PLANTED.set(Some(bug));
        let made = simulation.run_once(&body, None, How::Noted).choices;
        let shorter = simulation.shrink(failure, &body).expect("it is determined by its seed");
        let choices = shorter.choices().expect("it was given them").to_string();
        let repeats = simulation.choices(choices.parse().expect("its own text"));
        let again = repeats.run(&body).expect_err("they repeat it");
        PLANTED.set(None);
        assert!(as_kind(again.kind()), "{again}");
        assert_eq!((again.hash(), again.steps(), again.time()), (shorter.hash(), shorter.steps(), shorter.time()));
        let left = shorter.choices().map_or(0, Choices::len);
        assert!(left < made.len() && left <= 8, "{bug:?}: {left} of {} are left: {choices}", made.len());
        repeats.run(&body).expect("nothing is planted");
    }

    /// What a seed chooses, given as choices, is the same run: by priorities or not, with faults of all kinds.
    #[test]
    fn choices_that_were_noted_repeat_their_run() {
        let faults = Faults::new().kills(100).stalls(40, Duration::from_micros(300)).delays(3);
        let mut all = String::new();
        for seed in 0..SEEDS {
            let simulation = Simulation::new(seed).faults(faults.clone());
            let body = async |runtime: Runtime| {
                let others = runtime.clone();
                let body = async move |_: Context<()>| {
                    ordered(others.clone()).await;
                    watchers(others).await;
                };
                let bodies = [runtime.spawn(body.clone()), runtime.spawn(body)];
                for process in bodies {
                    // Whatever the faults do to it.
                    drop(process.expect("room for a process").ended().await);
                }
            };
            let drawn = simulation.run_once(&body, None, How::Drawn);
            let noted = simulation.run_once(&body, None, How::Noted);
            let text = noted.choices.to_string();
            let given = simulation.run_once(&body, None, How::Given(text.parse().expect("its own text")));
            assert_eq!((noted.hash, noted.steps), (drawn.hash, drawn.steps), "seed {seed}");
            assert_eq!((given.hash, given.steps), (drawn.hash, drawn.steps), "seed {seed}: {text}");
            assert_eq!(given.choices, noted.choices, "seed {seed}");
            all += &text;
        }
        let missing: Vec<char> = "rbtfohaqkslw".chars().filter(|kind| !all.contains(*kind)).collect();
        assert!(missing.is_empty(), "kinds that were never chosen: {missing:?}");
    }

    #[test]
    fn a_lost_wake_up_is_found_as_a_deadlock_and_repeated() {
        is_found(Bug::LostWake, watchers, |kind| matches!(kind, FailureKind::Deadlock(left) if !left.is_empty()));
    }

    #[test]
    fn a_reordered_signal_is_found_and_repeated() {
        is_found(
            Bug::Reordered,
            ordered,
            |kind| matches!(kind, FailureKind::Panicked(said) if said.contains("in place of")),
        );
    }

    #[test]
    fn a_death_that_is_told_twice_is_found_and_repeated() {
        is_found(
            Bug::ToldTwice,
            told_once,
            |kind| matches!(kind, FailureKind::Panicked(said) if said.contains("one too many")),
        );
    }
}
