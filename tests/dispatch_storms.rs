//! Dispatch under storms of failures, on threads: every dispatch has one outcome, and the counts add up to the last message.
mod workers;

use colloquium::prelude::*;
use colloquium::{ConsumerStateView, Conversation, Gap};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use workers::{Dice, LONG, on_sizes};

/// Messages of each storm; longer by environment.
fn messages() -> u64 {
    std::env::var("COLLOQUIUM_STORM_MESSAGES").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000)
}

/// What the consumers of a storm have seen.
#[derive(Default)]
struct Seen {
    begun: Vec<u32>,
    completed: Vec<u32>,
    /// Keys that are with a handler.
    busy: Vec<bool>,
    overlaps: u64,
}

struct Job {
    number: usize,
    key: usize,
    at_most_once: bool,
}

const KEYS: usize = 64;

struct Stormy {
    dice: Dice,
    seen: Arc<Mutex<Seen>>,
}

/// A key is with one handler at a time.
struct Busy(Arc<Mutex<Seen>>, usize);

impl Busy {
    fn new(seen: &Arc<Mutex<Seen>>, job: &Job) -> Self {
        let mut all = seen.lock().expect("no panic with it");
        all.begun[job.number] += 1;
        all.overlaps += u64::from(std::mem::replace(&mut all.busy[job.key], true));
        Self(Arc::clone(seen), job.key)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.lock().expect("no panic with it").busy[self.1] = false;
    }
}

impl Consumer for Stormy {
    type Message = Job;
    type Output = usize;

    async fn handle(&mut self, job: Delivery<Job>) -> Result<usize, Failure> {
        let busy = Busy::new(&self.seen, &job);
        let drawn = self.dice.below(1000);
        match drawn {
            0..10 => panic!("storm"),
            10..14 => job.cancelled().await,
            14..18 => std::future::pending().await,
            18..60 => Err("storm")?,
            60..65 => Err::<(), _>("storm").or_discard()?,
            _ => {}
        }
        if drawn.is_multiple_of(7) {
            job.run_blocking(|_| ()).await?;
        }
        self.seen.lock().expect("no panic with it").completed[job.number] += 1;
        drop(busy);
        Ok(job.number)
    }
}

/// Consumers panic, hang, fail and are killed; messages have keys, deadlines, at most once, and are cancelled. Invariants 1, 2,
/// 3 and 5 hold to the last message.
#[test]
fn a_storm_leaves_no_message_without_its_one_outcome() {
    on_sizes(&[2, 8], async |runtime| {
        let total = messages();
        let size = usize::try_from(total).expect("they fit");
        let seen = Seen { begun: vec![0; size], completed: vec![0; size], busy: vec![false; KEYS], overlaps: 0 };
        let seen = Arc::new(Mutex::new(seen));
        let (for_consumers, seeds) = (Arc::clone(&seen), AtomicU64::new(7));
        let start = move || {
            let dice = Dice::new(seeds.fetch_add(1, Ordering::Relaxed));
            let stormy = Stormy { dice, seen: Arc::clone(&for_consumers) };
            async move { Ok::<_, Infallible>(stormy) }
        };
        let group = ConsumerGroup::of("stormy", 8, start).room(2).keyed_by(|job: &Job| job.key);
        let group =
            group.max_wait(LONG).cancel_grace(Duration::from_millis(1)).gap(Gap::Continue).waiting_per_key(4096);
        let group = group.waiting_room(4096).start(&*runtime).await.expect("they start");
        let killer = kill(&runtime, &group);
        let (mut outcomes, mut under_way) = (Tally::default(), VecDeque::new());
        let mut dice = Dice::new(total);
        for number in 0..size {
            let key = usize::try_from(dice.below(KEYS as u64)).expect("small");
            let at_most_once = dice.below(4) == 0;
            let mut dispatch =
                group.dispatch(Job { number, key, at_most_once }).deadline(Duration::from_millis(1 + dice.below(400)));
            if at_most_once {
                dispatch = dispatch.at_most_once();
            }
            let conversation = dispatch.start();
            if dice.below(50) == 0 {
                drop(conversation);
                outcomes.cancelled += 1;
            } else {
                under_way.push_back((number, conversation));
            }
            if under_way.len() >= 128 {
                settle(&mut under_way, &mut outcomes, &seen).await;
            }
        }
        while !under_way.is_empty() {
            settle(&mut under_way, &mut outcomes, &seen).await;
        }
        killer.store(true, Ordering::SeqCst);
        let report = group.drain(LONG).await;
        let snapshot = group.group().snapshot();
        assert_eq!((report.left, snapshot.in_flight, snapshot.waiting, snapshot.keys), (0, 0, 0, 0), "{snapshot:?}");
        assert_eq!(outcomes.completed + outcomes.failed + outcomes.cancelled, total, "invariant 1");
        assert!(group.supervisor().is_empty());
        let seen = seen.lock().expect("no panic with it");
        assert_eq!(seen.overlaps, 0, "invariant 5");
        let totals = snapshot.totals;
        assert!(totals.crashed > 0 && totals.failed > 0 && totals.lost > 0 && totals.restarts > 0, "{totals:?}");
        assert!(totals.completed >= outcomes.completed, "{totals:?}");
    });
}

#[derive(Default)]
struct Tally {
    completed: u64,
    failed: u64,
    cancelled: u64,
}

async fn settle(under_way: &mut VecDeque<(usize, Conversation<Job, usize>)>, tally: &mut Tally, seen: &Mutex<Seen>) {
    let Some((number, conversation)) = under_way.pop_front() else { return };
    match conversation.await {
        Ok(outcome) => {
            tally.completed += 1;
            assert_eq!(*outcome.output(), number);
            assert!(seen.lock().expect("no panic with it").completed[number] > 0, "invariant 2");
        }
        Err(error) => {
            tally.failed += 1;
            let begun = seen.lock().expect("no panic with it").begun[number];
            assert!(!error.message().at_most_once || begun <= 1, "invariant 3");
            assert!(!error.is_safe_to_retry() || begun == 0, "it says that nobody began with it");
            assert_eq!(error.into_message().number, number, "invariant 4");
        }
    }
}

/// Kills a consumer or a conversation now and then, until told to stop.
fn kill(runtime: &Runtime, group: &DispatchConversation<Job, usize>) -> Arc<AtomicBool> {
    let (enough, group) = (Arc::new(AtomicBool::new(false)), group.clone());
    let stop = Arc::clone(&enough);
    let killer = async move |ctx: Context<()>| {
        let mut dice = Dice::new(99);
        while !stop.load(Ordering::SeqCst) {
            ctx.sleep(Duration::from_micros(100 + dice.below(2000))).await;
            let consumers = group.group().consumers().into_iter().filter_map(|view| view.pid);
            let victims: Vec<_> =
                if dice.below(3) == 0 { group.supervisor().conversations() } else { consumers.collect() };
            let victim = usize::try_from(dice.below(victims.len().max(1) as u64)).expect("small");
            if let Some(victim) = victims.get(victim) {
                ctx.runtime().exit(*victim, ExitReason::Kill);
            }
        }
    };
    runtime.spawn(killer).expect("a process");
    enough
}

/// One consumer of eight is stuck: the others go on, and it is replaced.
#[test]
fn one_stuck_consumer_of_eight_does_not_hold_the_others_up() {
    on_sizes(&[2, 8], async |runtime| {
        let function = async |job: Delivery<u64>| {
            if *job == 0 {
                std::future::pending::<()>().await;
            }
            Ok(*job)
        };
        let group = ConsumerGroup::alike("eight", 8, &ConsumerRegistration::function(function));
        let group = group.room(4).cancel_grace(Duration::from_millis(5)).start(&*runtime).await.expect("they start");
        let stuck = group.dispatch(0).deadline(Duration::from_millis(20)).start();
        for number in 1..2000 {
            assert_eq!(group.dispatch(number).await.expect("another has room").into_output(), number);
        }
        assert_eq!(stuck.await.expect_err("it hangs").kind(), DeadlineExceeded);
        workers::until(&runtime, || group.group().consumers().iter().all(ConsumerStateView::is_eligible)).await;
        assert_eq!(group.group().snapshot().totals.crashed, 1);
    });
}

/// An outage fails everything for a while: what has time left is completed after it.
#[test]
fn an_outage_is_outlived() {
    on_sizes(&[2, 8], async |runtime| {
        let outage = Arc::new(AtomicBool::new(true));
        let down = Arc::clone(&outage);
        let function = move |job: Delivery<u64>| {
            let down = Arc::clone(&down);
            async move {
                if down.load(Ordering::SeqCst) {
                    Err("no database").or_retry_after(Duration::from_millis(1))?;
                }
                Ok(*job)
            }
        };
        let group = ConsumerGroup::alike("outage", 4, &ConsumerRegistration::function(function)).attempts(u32::MAX);
        let group = group.max_wait(LONG).start(&*runtime).await.expect("they start");
        let all: Vec<_> = (0..200).map(|number| group.dispatch(number).deadline(LONG).start()).collect();
        workers::until(&runtime, || group.group().snapshot().totals.ejections > 0).await;
        assert!(group.group().consumers().iter().filter(|view| view.ejected).count() <= 2, "never more than half");
        outage.store(false, Ordering::SeqCst);
        for (number, conversation) in (0..).zip(all) {
            assert_eq!(conversation.await.expect("the outage is over").into_output(), number);
        }
    });
}
