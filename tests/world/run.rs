//! Driver: one run of the model: what is done to a group while all goes wrong, and what has to hold when nothing does any more.
use super::plan::Plan;
use super::{Group, Job, Ledger, Success, consumers};
use colloquium::prelude::*;
use colloquium::{ConsumerId, Dispatch, Leave, Pid, sometimes};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as Polling, Poll, Waker};
use std::time::Duration;

/// The latest outcome after its deadline: the time that the keeper needs, restarted meanwhile perhaps.
const SLACK: Duration = Duration::from_secs(1);
/// Longer than any back-off, ejection or patience of a group's.
const RECOVERED: Duration = Duration::from_secs(300);

type Outcome = Pin<Box<dyn Future<Output = Result<Success, DispatchError<Job>>> + Send>>;

/// A dispatch that somebody waits for.
struct UnderWay {
    job: Arc<Job>,
    until: Duration,
    outcome: Outcome,
}

pub(crate) struct World {
    pub(crate) ledger: Arc<Ledger>,
    group: Group,
    under_way: Vec<UnderWay>,
    /// Processes that add and remove consumers, or dispatch.
    others: Vec<Address<()>>,
}

fn options<'a>(group: &'a Group, job: &Arc<Job>, time: Duration) -> Dispatch<'a, Job, u64> {
    let mut dispatch = group.dispatch(Arc::clone(job)).deadline(time);
    if let Some(key) = &job.key {
        dispatch = dispatch.key(key);
    }
    if job.once { dispatch.at_most_once() } else { dispatch }
}

/// Begun when it is first polled, or now.
fn dispatched(group: &Group, job: &Arc<Job>, time: Duration, now: bool) -> Outcome {
    let (group, own) = (group.clone(), Arc::clone(job));
    if job.accepted {
        return Box::pin(async move {
            options(&group, &own, time).accepted().await.map(|outcome| Success::new(&outcome, None))
        });
    }
    let success = |outcome: DispatchOutcome<u64>| Success::new(&outcome, Some(*outcome.output()));
    if now {
        let conversation = options(&group, job, time).start();
        return Box::pin(async move { conversation.await.map(success) });
    }
    Box::pin(async move { options(&group, &own, time).await.map(success) })
}

fn poll(outcome: &mut Outcome) -> Poll<Result<Success, DispatchError<Job>>> {
    outcome.as_mut().poll(&mut Polling::from_waker(Waker::noop()))
}

impl World {
    pub(crate) fn new(ledger: Arc<Ledger>, group: Group) -> Self {
        Self { ledger, group, under_way: Vec::new(), others: Vec::new() }
    }

    fn plan(&self) -> &Plan {
        &self.ledger.plan
    }

    fn now(&self) -> Duration {
        self.ledger.runtime.now()
    }

    async fn pause(&self, within: Duration) {
        if !within.is_zero() {
            let time = self.ledger.draw(|rng| rng.duration(Duration::ZERO..within));
            self.ledger.runtime.sleep(time).await;
        }
    }

    pub(crate) async fn go_wrong(&mut self) {
        for _ in 0..self.plan().acts {
            self.act().await;
            self.observe();
            self.pause(self.plan().pause).await;
            self.settle();
            self.ledger.hold();
        }
    }

    async fn act(&mut self) {
        let (kills, changes) = (self.plan().kills, self.plan().changes);
        let drawn = self.ledger.draw(|rng| rng.below(100));
        match drawn {
            0..60 => self.dispatch(),
            60..64 => self.briefly().await,
            64..68 => self.cancel(),
            68..72 => self.detach(),
            72..76 => self.by_process(),
            76..88 if self.ledger.draw(|rng| rng.chance(kills, 5)) => self.kill(),
            88..91 if changes => self.change(),
            91..93 => self.group.group().pause(),
            93..96 => self.group.group().resume(),
            96..98 => self.release_keys(),
            98 => drop(self.group.group().routing().swap(self.plan().function(&self.ledger))),
            _ => {}
        }
    }

    fn time(&self) -> Duration {
        let longest = self.plan().deadline;
        self.ledger.draw(|rng| rng.duration(Duration::ZERO..longest))
    }

    fn dispatch(&mut self) {
        let (job, time) = (Arc::new(self.ledger.message()), self.time());
        let now = self.ledger.draw(|rng| rng.chance(1, 2));
        let mut outcome = dispatched(&self.group, &job, time, now);
        let until = self.now() + time;
        match poll(&mut outcome) {
            Poll::Ready(result) => self.judge(&job, until, &result),
            Poll::Pending => self.under_way.push(UnderWay { job, until, outcome }),
        }
    }

    /// One that is given up soon.
    async fn briefly(&mut self) {
        let (job, time) = (Arc::new(self.ledger.message()), self.time());
        let until = self.now() + time;
        let patience = self.ledger.draw(|rng| rng.duration(Duration::ZERO..Duration::from_millis(5)));
        match self.within(patience, dispatched(&self.group, &job, time, false)).await {
            Some(result) => self.judge(&job, until, &result),
            None => self.ledger.cancelled(job.number),
        }
    }

    async fn within<T>(&self, time: Duration, future: impl Future<Output = T>) -> Option<T> {
        let (mut future, mut over) = (pin!(future), pin!(self.ledger.runtime.sleep(time)));
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => over.as_mut().poll(cx).map(|()| None),
        })
        .await
    }

    fn cancel(&mut self) {
        let at = self.ledger.draw(|rng| rng.below(self.under_way.len() as u64));
        let at = usize::try_from(at).expect("small");
        if at < self.under_way.len() {
            let cancelled = self.under_way.swap_remove(at);
            let begun = self.ledger.begun(cancelled.job.number);
            drop(cancelled.outcome);
            sometimes!("cancelled while a handler is at work", begun > 0);
            self.ledger.cancelled(cancelled.job.number);
        }
    }

    fn detach(&mut self) {
        let mut job = self.ledger.message();
        job.accepted = false;
        let job = Arc::new(job);
        options(&self.group, &job, self.time()).start().detach();
    }

    /// A process that dispatches, and may be killed while it waits.
    fn by_process(&mut self) {
        let (group, ledger, time) = (self.group.clone(), Arc::clone(&self.ledger), self.time());
        let client = self.ledger.runtime.spawn(async move |_: Context<()>| {
            let job = Arc::new(ledger.message());
            let until = ledger.runtime.now() + time;
            let result = dispatched(&group, &job, time, false).await;
            judge(&ledger, &job, until, &result);
        });
        let client = client.expect("room for a process");
        if self.ledger.draw(|rng| rng.chance(1, 4)) {
            client.exit_after(self.time() / 2, ExitReason::Kill);
        }
        self.others.push(client);
    }

    fn pids(&self) -> Vec<Pid> {
        self.group.group().consumers().into_iter().filter_map(|view| view.pid).collect()
    }

    fn kill(&self) {
        let conversations = self.ledger.draw(|rng| rng.chance(1, 4)) && self.plan().kills_conversations;
        let mut victims = if conversations { self.group.supervisor().conversations() } else { self.pids() };
        if self.plan().kills_tree && self.ledger.draw(|rng| rng.chance(1, 4)) {
            victims = self.ledger.runtime.processes();
        }
        let Some(victim) = self.ledger.draw(|rng| rng.pick(&victims).copied()) else { return };
        let how = self.ledger.draw(|rng| rng.below(5));
        let reason = match how {
            0 => ExitReason::error("told from outside"),
            1 => ExitReason::Shutdown,
            2 => ExitReason::Normal,
            _ => ExitReason::Kill,
        };
        self.ledger.runtime.exit(victim, reason);
    }

    /// A consumer joins or leaves.
    fn change(&mut self) {
        let (group, ledger) = (self.group.group(), Arc::clone(&self.ledger));
        let ids: Vec<ConsumerId> = group.consumers().iter().map(|view| view.id).collect();
        let drawn = self.ledger.draw(|rng| rng.below(4));
        let leaving = self.ledger.draw(|rng| rng.pick(&ids).copied());
        let admin = self.ledger.runtime.spawn(async move |_: Context<()>| {
            // What it cannot do, since the group ends or it is too late, it says.
            match (drawn, leaving) {
                (0, _) => drop(group.add_consumer(consumers::registration(&ledger)).await),
                (1, _) => drop(group.resize(2).await),
                (2, Some(leaving)) => drop(group.remove_consumer(leaving, Leave::Drain).await),
                (_, Some(leaving)) => drop(group.remove_consumer(leaving, Leave::Reroute).await),
                (_, None) => {}
            }
        });
        self.others.push(admin.expect("room for a process"));
    }

    fn release_keys(&self) {
        for key in 0..self.plan().keys {
            let held = self.group.group().release_key(&key);
            sometimes!("key held", held);
        }
    }

    /// Looks at the group: what is seen there has to make sense at any moment.
    fn observe(&self) {
        let snapshot = self.group.group().snapshot();
        for view in &snapshot.consumers {
            assert!(view.queued + view.started <= view.room, "invariant 5: {view:?}");
            sometimes!("ejected", view.ejected);
            sometimes!("half open", view.half_open && view.pid.is_some());
            sometimes!("stuck", view.stuck);
            sometimes!("given up", view.failed);
            sometimes!("leaving", view.leaving);
        }
        assert!(snapshot.waiting <= snapshot.in_flight, "{snapshot:?}");
        sometimes!("blamed", snapshot.totals.crashed > 0);
        sometimes!("lost without blame", snapshot.totals.lost > 0);
        sometimes!("breaker open", snapshot.breaker_open);
        sometimes!("keys are waited for", snapshot.keys > 0 && snapshot.waiting > 0);
        if self.ledger.stalls {
            // The place of one that does not go is filled anew, while its handler stands where it stood.
            sometimes!("wedged", self.ledger.has_wedged(&self.pids()));
        }
    }

    /// Sees to those who have their outcome; nobody waits for long after his deadline.
    fn settle(&mut self) {
        for mut under_way in std::mem::take(&mut self.under_way) {
            match poll(&mut under_way.outcome) {
                Poll::Ready(result) => self.judge(&under_way.job, under_way.until, &result),
                Poll::Pending => {
                    let late = self.now().saturating_sub(under_way.until);
                    assert!(late < SLACK, "invariant 1: {:?} late by {late:?}\n{:#?}", under_way.job, self.plan());
                    self.under_way.push(under_way);
                }
            }
        }
    }

    fn judge(&self, job: &Arc<Job>, until: Duration, result: &Result<Success, DispatchError<Job>>) {
        judge(&self.ledger, job, until, result);
    }

    /// Nothing goes wrong any more: everybody has his outcome in time, and then the group works.
    pub(crate) async fn recover(&mut self) {
        self.group.group().resume();
        drop(self.group.group().routing().swap(RoutingFunction::round_robin()));
        for under_way in std::mem::take(&mut self.under_way) {
            let patience = under_way.until.saturating_sub(self.now()) + SLACK;
            let result = self.within(patience, under_way.outcome).await;
            let result = result.unwrap_or_else(|| panic!("invariant 1: {:?}\n{:#?}", under_way.job, self.ledger.plan));
            self.judge(&under_way.job, under_way.until, &result);
            self.ledger.hold();
        }
        for other in std::mem::take(&mut self.others) {
            let ended = self.within(RECOVERED, other.ended()).await;
            assert!(ended.is_some(), "a change of the group, or a client, hangs: {:#?}", self.ledger.plan);
        }
        self.works_again().await;
    }

    async fn works_again(&mut self) {
        let until = self.now() + RECOVERED;
        let mut left = 2 * self.plan().consumers;
        while left > 0 {
            self.release_keys();
            let usable = self.group.group().consumers().iter().any(|view| !view.failed && !view.leaving);
            let job = Arc::new(Job { accepted: false, ..self.ledger.message() });
            let outcome = dispatched(&self.group, &job, RECOVERED, true);
            let result = self.within(RECOVERED + SLACK, outcome).await.expect("invariant 1");
            judge(&self.ledger, &job, Duration::ZERO, &result);
            self.ledger.hold();
            match result {
                Ok(_) => left -= 1,
                Err(error) => match error.kind() {
                    NoConsumerAvailable | Closed | Conversation if self.plan().kills_tree => return,
                    NoConsumerAvailable | Closed => {
                        sometimes!("no consumer is left");
                        assert!(!usable, "{error:?} while there is one: {:#?}", self.plan());
                        return;
                    }
                    Overloaded => {
                        assert!(
                            self.now() < until,
                            "it does not recover: {error:?} {:#?}",
                            self.group.group().snapshot()
                        );
                        self.pause(Duration::from_secs(2)).await;
                    }
                    other => panic!("{other:?} when all is well: {:#?}", self.plan()),
                },
            }
        }
    }

    /// Stops in order. After that nothing is left.
    pub(crate) async fn drain(mut self) {
        self.group.group().resume();
        let report = self.group.drain(RECOVERED).await;
        assert!(report.wedged.is_empty(), "{report:?}");
        self.release_keys();
        self.ledger.calm_down();
        drop(self.group.group().routing().swap(RoutingFunction::round_robin()));
        for mut under_way in std::mem::take(&mut self.under_way) {
            let Poll::Ready(result) = poll(&mut under_way.outcome) else {
                panic!("invariant 1: {:?} after the drain\n{:#?}", under_way.job, self.plan());
            };
            self.judge(&under_way.job, under_way.until, &result);
        }
        let late = dispatched(&self.group, &Arc::new(self.ledger.message()), RECOVERED, true).await;
        assert_eq!(late.expect_err("it takes nothing more").kind(), Closed);
        let snapshot = self.group.group().snapshot();
        let rest = (report.left, snapshot.in_flight, snapshot.waiting, snapshot.keys);
        assert_eq!(rest, (0, 0, 0, 0), "{snapshot:?}\n{:#?}", self.plan());
        // Where their node was killed, nobody has waited for them.
        let conversations = self.group.supervisor().conversations();
        assert!(self.plan().kills_tree || conversations.is_empty(), "{conversations:?}");
        assert_eq!(snapshot.totals.completed, self.ledger.completed(), "{snapshot:?}");
        // Of messages whose outcome nobody waited for, too.
        assert!(snapshot.dead_letters_total >= self.ledger.deadly(), "invariant 4: {snapshot:?}");
        self.quiet().await;
    }

    /// The runtime goes, in the midst of all: invariant 1 holds.
    pub(crate) async fn shut_down(mut self) {
        self.quiet().await;
        for mut under_way in std::mem::take(&mut self.under_way) {
            let Poll::Ready(result) = poll(&mut under_way.outcome) else {
                panic!("invariant 1: {:?} after the shutdown\n{:#?}", under_way.job, self.plan());
            };
            self.judge(&under_way.job, Duration::ZERO, &result);
        }
        self.ledger.hold();
    }

    async fn quiet(&self) {
        let report = self.ledger.runtime.shutdown(RECOVERED).await;
        assert!(report.wedged.is_empty(), "{:?}", report.wedged);
        assert_eq!(self.ledger.runtime.processes(), Vec::new());
        self.ledger.hold();
    }
}

fn judge(ledger: &Ledger, job: &Arc<Job>, until: Duration, result: &Result<Success, DispatchError<Job>>) {
    match result {
        Ok(outcome) => ledger.delivered(job, outcome),
        Err(error) => ledger.failed(job, error, until <= ledger.runtime.now()),
    }
}
