//! Driver: the conversation's process: it routes anew, links, forwards and waits, for one message.
use crate::limits::{KILL_PATIENCE, RETRY_CAP, RETRY_FIRST};
use crate::outcome::DispatchErrorKind;
use crate::record::{Assigned, Record, Todo};
use crate::retry::delay;
use crate::waiting_room::Wish;
use colloquium_runtime::{Context, Exit, ExitReason, Pid};
use colloquium_supervisor::{JoinError, Membership};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What the conversation waits for beside messages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Timer {
    Retry,
    Grace,
    Wedged,
}

/// The body of a conversation that has something to do, linked to `linked` if that is given.
pub(crate) fn converse<M: Send + Sync + 'static, R: Send + 'static>(
    ctx: Context<()>,
    record: Arc<Record<M, R>>,
    linked: Option<Assigned<M, R>>,
    membership: Membership,
) -> impl Future<Output = ExitReason> + Send + 'static {
    // Made here, so that a conversation that never runs leaves nothing undecided.
    let guard = Desert { record, pid: ctx.pid(), done: false, membership: Some(membership) };
    // In a box: it takes more than most processes, and few are ever made.
    Box::pin(run(ctx, guard, linked))
}

/// Whatever ends a conversation, the record learns of it.
struct Desert<M: Send + Sync + 'static, R: Send + 'static> {
    record: Arc<Record<M, R>>,
    pid: Pid,
    done: bool,
    membership: Option<Membership>,
}

impl<M: Send + Sync + 'static, R: Send + 'static> Drop for Desert<M, R> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let Some((place, at_work)) = self.record.desert(self.record.group.runtime.now()) else { return };
        place.occupant.orphaned(self.pid);
        self.record.wake_handler();
        if at_work {
            watch_over(&self.record, &place);
        }
    }
}

/// A handler has lost its conversation, or who saw to it afterwards: another does.
fn watch_over<M: Send + Sync + 'static, R: Send + 'static>(record: &Arc<Record<M, R>>, place: &Assigned<M, R>) {
    let (own, outside) = (Arc::clone(record), Arc::clone(record));
    let ward = match record.group.conversations.spawn(move |ctx: Context<()>| ward(ctx, own)) {
        Ok(ward) => Some(ward),
        // The conversations were stopped. Consumers may go on, all the same.
        Err(JoinError::Closed) => record.group.runtime.spawn(move |ctx: Context<()>| ward(ctx, outside)).ok(),
        Err(_) => None,
    };
    match ward {
        Some(ward) => record.adopt(ward.pid()),
        // Nobody can be had to give it time.
        None => place.occupant.address.kill(),
    }
}

/// Sees to a handler whose conversation has ended: when its time is over, as that would.
fn ward<M: Send + Sync + 'static, R: Send + 'static>(
    mut ctx: Context<()>,
    record: Arc<Record<M, R>>,
) -> impl Future<Output = ()> + Send + 'static {
    // Made here, so that one that never runs is followed by another, too.
    let ward = Ward { record, done: false };
    async move {
        let mut ward = ward;
        let (runtime, record) = (ctx.runtime(), &ward.record);
        let mut timer = Some((runtime.now().saturating_add(record.group.options.cancel_grace), Timer::Grace));
        while let Some((until, what)) = timer.filter(|_| !record.is_over()) {
            let left = until.saturating_sub(runtime.now());
            if ctx.recv_timeout(left).await.is_err() {
                timer = rung(record, what, runtime.now());
            }
        }
        ward.done = true;
    }
}

struct Ward<M: Send + Sync + 'static, R: Send + 'static> {
    record: Arc<Record<M, R>>,
    done: bool,
}

impl<M: Send + Sync + 'static, R: Send + 'static> Drop for Ward<M, R> {
    fn drop(&mut self) {
        if !self.done
            && let Some(place) = self.record.at_work()
        {
            watch_over(&self.record, &place);
        }
    }
}

async fn run<M: Send + Sync + 'static, R: Send + 'static>(
    ctx: Context<()>,
    mut guard: Desert<M, R>,
    linked: Option<Assigned<M, R>>,
) -> ExitReason {
    let reason = follow(ctx, &mut guard, linked).await;
    if let Some(membership) = guard.membership.take() {
        membership.leave();
    }
    reason
}

fn unlink<M: Send + Sync + 'static, R: Send + 'static>(ctx: &mut Context<()>, linked: Option<&Assigned<M, R>>) {
    if let Some(place) = linked {
        ctx.unlink(&place.occupant.address);
    }
}

/// A disturbed conversation.
async fn follow<M: Send + Sync + 'static, R: Send + 'static>(
    mut ctx: Context<()>,
    guard: &mut Desert<M, R>,
    mut linked: Option<Assigned<M, R>>,
) -> ExitReason {
    let record = Arc::clone(&guard.record);
    let stopped = Arc::new(AtomicBool::new(false));
    trap(&mut ctx, &record, &stopped);
    let runtime = ctx.runtime();
    let mut timer: Option<(Duration, Timer)> = None;
    loop {
        if stopped.load(Ordering::Relaxed) && !record.is_over() {
            return ExitReason::Shutdown;
        }
        let (todo, place, attempt) = record.next();
        match todo {
            Todo::End => {
                guard.done = record.finish().is_some();
                unlink(&mut ctx, linked.as_ref());
                return ExitReason::Normal;
            }
            Todo::Forward => {
                timer = None;
                let Some(place) = place else { continue };
                // The link to one that has ended is gone, or goes with the signal that tells so.
                unlink(&mut ctx, linked.as_ref().filter(|before| before.occupant.address.is_alive()));
                ctx.link(&place.occupant.address);
                place.occupant.deliver(Arc::clone(&record), attempt);
                linked = Some(place);
            }
            Todo::Route { alone } => {
                timer = None;
                record.reroute(Wish { avoid: linked.as_ref().map(|place| place.consumer), alone, only: None }, true);
            }
            Todo::Pause { delayed, exactly } => {
                let chance = record.group.chance();
                let pause = exactly.unwrap_or_else(|| delay(RETRY_FIRST, RETRY_CAP, delayed, chance));
                timer = Some((runtime.now().saturating_add(pause), Timer::Retry));
            }
            Todo::Grace => {
                let until = runtime.now().saturating_add(record.group.options.cancel_grace);
                record.set_limit(until);
                timer = Some((until, Timer::Grace));
            }
            Todo::Rest => {
                let Some((until, what)) = timer else {
                    ctx.recv().await;
                    continue;
                };
                let left = until.saturating_sub(runtime.now());
                if ctx.recv_timeout(left).await.is_ok() {
                    continue;
                }
                timer = match what {
                    Timer::Retry => {
                        let avoid = linked.as_ref().map(|place| place.consumer);
                        record.reroute(Wish { avoid, ..Wish::default() }, true);
                        None
                    }
                    Timer::Grace | Timer::Wedged => rung(&record, what, runtime.now()),
                };
            }
        }
    }
}

/// A handler's time is over; what to wait for next.
fn rung<M: Send + Sync + 'static, R: Send + 'static>(
    record: &Record<M, R>,
    what: Timer,
    now: Duration,
) -> Option<(Duration, Timer)> {
    let place = record.overdue()?;
    if what == Timer::Wedged {
        record.group.wedged(&place);
        return None;
    }
    record.group.stuck(&place);
    place.occupant.address.kill();
    let until = now.saturating_add(KILL_PATIENCE);
    record.set_limit(until);
    Some((until, Timer::Wedged))
}

/// Exit signals come here: its consumer's re-routes, its parent's and others' stop it.
fn trap<M: Send + Sync + 'static, R: Send + 'static>(
    ctx: &mut Context<()>,
    record: &Arc<Record<M, R>>,
    stopped: &Arc<AtomicBool>,
) {
    let (record, stopped, parent) = (Arc::clone(record), Arc::clone(stopped), ctx.parent());
    ctx.trap_exits(move |exit: Exit| {
        let now = record.group.runtime.now();
        if exit.by_link && exit.from.is_some_and(|from| record.lost(from, exit.reason.clone(), now)) {
            return;
        }
        let from_parent = exit.from.is_some() && exit.from == parent;
        // A consumer that the message has left before tells of its end, too.
        if exit.by_link && !from_parent || exit.reason == ExitReason::Normal {
            return;
        }
        record.decide(if from_parent { DispatchErrorKind::Closed } else { DispatchErrorKind::Conversation });
        stopped.store(true, Ordering::Relaxed);
    });
}

#[cfg(test)]
mod tests {
    use crate::testing::Rig;
    use crate::{Delivery, Failure, SharedConsumer};
    use colloquium_runtime::ExitReason;
    use std::convert::Infallible;
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Poll;

    /// Completes each message when the gate is open.
    struct Echo(Arc<AtomicBool>);

    impl SharedConsumer for Echo {
        type Message = u32;
        type Output = u32;

        async fn handle(&self, number: Delivery<u32>) -> Result<u32, Failure> {
            poll_fn(|cx| {
                if self.0.load(Ordering::Acquire) {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
            Ok(*number)
        }
    }

    fn until(condition: impl Fn() -> bool) {
        for _ in 0..1 << 24 {
            if condition() {
                return;
            }
            std::thread::yield_now();
        }
        panic!("never");
    }

    /// Whoever looks at a conversation, and kills it, does so before its message is over or afterwards, when the link has gone with that.
    #[test]
    fn no_consumer_waits_for_the_end_of_a_conversation_that_is_not_linked_to_it() {
        const ALL: u32 = 200;
        for looks_before in [true, false] {
            let open = Arc::new(AtomicBool::new(false));
            let gate = Arc::clone(&open);
            let rig = Rig::shared(ALL, move || {
                let gate = Arc::clone(&gate);
                async { Ok::<_, Infallible>(Echo(gate)) }
            });
            let dispatcher = rig.dispatcher();
            let group = dispatcher.shared();
            let outcomes: Vec<_> = (0..ALL).map(|number| dispatcher.dispatch(number).start()).collect();
            let before = dispatcher.supervisor().conversations();
            if looks_before {
                assert!(before.iter().all(|pid| group.runtime.info(*pid).is_some()));
            }
            open.store(true, Ordering::Release);
            until(|| rig.group().snapshot().totals.completed == u64::from(ALL));
            let over = dispatcher.supervisor().conversations();
            assert!(!over.is_empty(), "those that did not begin in berths are there until their outcomes are taken");
            for pid in over {
                let linked = group.runtime.info(pid).map(|info| info.link_count);
                assert_eq!(linked, Some(usize::from(looks_before)));
                group.runtime.exit(pid, ExitReason::Kill);
            }
            until(|| dispatcher.supervisor().is_empty());
            let process = group.yard().seats.at(0).occupant.clone().expect("it is up");
            until(|| process.orphans() == 0);
            assert_eq!(rig.starts(), 1, "nobody has ended the consumer");
            drop(outcomes);
        }
    }
}
