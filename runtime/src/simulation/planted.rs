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
    use crate::simulation::{Failure, FailureKind, Simulation};
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
