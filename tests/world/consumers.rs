//! Driver: the model's consumers, in each of their forms; what a handler does is drawn when it begins.
use super::plan::Form;
use super::{AtWork, Job, Ledger};
use colloquium::Work;
use colloquium::prelude::*;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// What a handler does.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Complete,
    Panic,
    Fail,
    FailAfter,
    Discard,
    Hang,
    UntilCancelled,
    Blocking,
    /// Ends by an exit signal along a link.
    Link,
    /// Dispatches into its own group.
    Own,
    /// Ends by itself (as a process).
    Return,
}

pub(crate) fn registration(ledger: &Arc<Ledger>) -> ConsumerRegistration<Job, u64> {
    // The ledger knows the group, which knows this.
    let weak = Arc::downgrade(ledger);
    let registration = match ledger.plan.form {
        Form::Trait => ConsumerRegistration::of(move || {
            let weak = Weak::clone(&weak);
            async move {
                let ledger = weak.upgrade().ok_or("the model has ended")?;
                let fails = ledger.plan.faulty.starts;
                let begun = ledger.group.get().is_some() && !ledger.is_calm();
                if begun && ledger.draw(|rng| rng.chance(fails, 1000)) {
                    return Err("as drawn");
                }
                Ok(Worker(weak))
            }
        }),
        Form::Function => ConsumerRegistration::function(move |job| {
            let weak = Weak::clone(&weak);
            async move { handle(&weak, job).await }
        }),
        Form::Process | Form::Batches => ConsumerRegistration::process(move |inbox| serve(Weak::clone(&weak), inbox)),
    };
    let tags: &[&str] = ledger.draw(|rng| if rng.chance(1, 2) { &["even", "odd"][..] } else { &["even"] });
    registration.tags(tags.iter().copied())
}

struct Worker(Weak<Ledger>);

impl Consumer for Worker {
    type Message = Job;
    type Output = u64;

    async fn handle(&mut self, job: Delivery<Job>) -> Result<u64, Failure> {
        handle(&self.0, job).await
    }
}

fn draw(ledger: &Ledger) -> Fate {
    let faulty = ledger.plan.faulty;
    if ledger.is_calm() {
        return Fate::Complete;
    }
    let mut drawn = ledger.draw(|rng| rng.below(1000));
    let half = |fate: [Fate; 2]| fate[usize::from(ledger.draw(|rng| rng.chance(1, 2)))];
    for (share, fate) in [
        (faulty.panics, [Fate::Panic, Fate::Panic]),
        (faulty.fails, [Fate::Fail, Fate::FailAfter]),
        (faulty.discards, [Fate::Discard, Fate::Discard]),
        (faulty.hangs, [Fate::Hang, Fate::UntilCancelled]),
        (faulty.links, [Fate::Link, Fate::Return]),
        (faulty.own, [Fate::Own, Fate::Blocking]),
    ] {
        if drawn < share {
            return half(fate);
        }
        drawn -= share;
    }
    Fate::Complete
}

async fn nap(ledger: &Ledger) {
    let time = ledger.plan.work;
    if !time.is_zero() {
        let time = ledger.draw(|rng| rng.duration(Duration::ZERO..time));
        ledger.runtime.sleep(time).await;
    }
}

/// This process ends by a signal along a link.
async fn end_by_link(ledger: &Ledger, at_work: &AtWork) {
    let Some(own) = ledger.runtime.current() else { return };
    let linked = ledger.runtime.spawn(async move |mut ctx: Context<()>| {
        ctx.link(own);
        Err::<(), _>("a bad link")
    });
    at_work.suspected();
    drop(linked);
    std::future::pending::<()>().await;
}

async fn handle(weak: &Weak<Ledger>, job: Delivery<Job>) -> Result<u64, Failure> {
    let ledger = weak.upgrade().ok_or("the model has ended")?;
    let at_work = ledger.begin(&job);
    nap(&ledger).await;
    match draw(&ledger) {
        Fate::Complete => {}
        Fate::Panic | Fate::Return => std::panic::resume_unwind(Box::new("as drawn")),
        Fate::Fail => {
            at_work.fail(false);
            return Err(Failure::retry("as drawn"));
        }
        Fate::FailAfter => {
            at_work.fail(false);
            return Err(Failure::retry_after(Duration::from_millis(5), "as drawn"));
        }
        Fate::Discard => {
            at_work.fail(true);
            return Err(Failure::discard("as drawn"));
        }
        Fate::Hang => std::future::pending().await,
        Fate::UntilCancelled => job.cancelled().await,
        Fate::Blocking => {
            if job.run_blocking(|_| ()).await.is_err() {
                at_work.fail(false);
                return Err(Failure::retry("no thread"));
            }
        }
        Fate::Link => end_by_link(&ledger, &at_work).await,
        Fate::Own => into_own(&ledger).await,
    }
    Ok(at_work.complete())
}

async fn into_own(ledger: &Ledger) {
    let Some(group) = ledger.group.get() else { return };
    let job = Job { number: 0, key: None, once: false, accepted: false };
    match group.dispatch(job).await {
        Err(error) if matches!(error.kind(), WouldDeadlock | Closed | UnknownConsumerSelected | Evaluation) => {}
        Err(error) if error.kind() == NoConsumerAvailable => {}
        other => ledger.violated(format!("R12: {other:?}")),
    }
}

/// A consumer as a process: takes some, does something with each.
async fn serve(weak: Weak<Ledger>, mut inbox: Deliveries<Job, u64>) -> ExitReason {
    let Some(form) = weak.upgrade().map(|ledger| ledger.plan.form) else { return ExitReason::Shutdown };
    loop {
        let works = match form {
            Form::Batches => inbox.next_batch(3, Duration::from_millis(2)).await,
            _ => inbox.next().await.into_iter().collect(),
        };
        let Some(ledger) = weak.upgrade().filter(|_| !works.is_empty()) else { return ExitReason::Shutdown };
        let held: Vec<_> = works.into_iter().map(|work| (ledger.begin(&work), work)).collect();
        nap(&ledger).await;
        let mut held = held.into_iter();
        while let Some((at_work, work)) = held.next() {
            if !answer(&ledger, at_work, work).await {
                // Dropped while the process lives, these have failed.
                held.for_each(|(at_work, _)| at_work.fail(false));
                return ExitReason::Normal;
            }
        }
    }
}

/// False if the process is to end.
async fn answer(ledger: &Ledger, at_work: AtWork, work: Work<Job, u64>) -> bool {
    match draw(ledger) {
        Fate::Panic => std::panic::resume_unwind(Box::new("as drawn")),
        Fate::Return => {
            at_work.fail(false);
            return false;
        }
        Fate::Link => end_by_link(ledger, &at_work).await,
        Fate::Hang => std::future::pending().await,
        Fate::UntilCancelled => work.delivery().cancelled().await,
        Fate::Fail => {
            at_work.fail(false);
            work.fail("as drawn");
            return true;
        }
        Fate::FailAfter => {
            // Dropped, unanswered.
            at_work.fail(false);
            drop(work);
            return true;
        }
        Fate::Discard => {
            at_work.fail(true);
            work.fail(Failure::discard("as drawn"));
            return true;
        }
        Fate::Complete | Fate::Blocking | Fate::Own => {}
    }
    let run = at_work.complete();
    work.complete(run);
    true
}
