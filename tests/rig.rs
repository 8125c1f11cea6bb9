//! Unit tests of consumers: what a rig shows of them.
use colloquium::Reached;
use colloquium::prelude::*;
use colloquium::testing::{Rig, RigError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers its messages; its start notes how often there was one.
struct Numbering(u64);

impl Consumer for Numbering {
    type Message = &'static str;
    type Output = u64;

    async fn handle(&mut self, text: Delivery<&'static str>) -> Result<u64, Failure> {
        self.0 += 1;
        if *text == "never" { Err("it will not do").or_discard() } else { Ok(self.0) }
    }
}

fn numbering() -> Rig<&'static str, u64> {
    Rig::new(async || Ok::<_, std::io::Error>(Numbering(0)))
}

#[test]
fn a_rig_gives_back_the_outcome_of_each_delivery() {
    let rig = numbering();
    for n in 1..=3 {
        assert_eq!(rig.deliver("a").expect("it does").into_output(), n);
    }
    let error = rig.deliver("never").expect_err("it does not");
    assert_eq!((error.kind(), rig.group().dead_letters().len()), (Discarded, 1));
    assert_eq!((rig.deliveries(), rig.starts()), (4, 1));
}

#[test]
fn a_crash_shows_the_restart_and_the_message_coming_again() {
    let rig = numbering();
    rig.crash_on(2);
    assert_eq!(rig.deliver("a").expect("it does").into_output(), 1);
    let outcome = rig.deliver("b").expect("the second try does");
    assert_eq!((outcome.attempts(), outcome.rerouted_from().len(), *outcome.output()), (2, 1, 1));
    assert_eq!((rig.deliveries(), rig.starts()), (3, 2));
    rig.kill_on(4);
    let outcome = rig.deliver("c").expect("the second try does");
    assert_eq!((outcome.attempts(), *outcome.output(), rig.starts()), (2, 1, 3));
    let totals = rig.group().snapshot().totals;
    assert_eq!((totals.crashed, totals.lost), (1, 1), "the kill is nobody's fault");
}

#[test]
fn a_message_that_crashes_its_consumer_three_times_is_poisoned() {
    let rig = numbering();
    rig.crash_on(1).crash_on(2).crash_after(3);
    let error = rig.deliver("a").expect_err("nobody completes it");
    assert_eq!((error.kind(), error.attempts().len()), (Poisoned, 3));
    for attempt in error.attempts() {
        assert_eq!(attempt.reached, Reached::Started);
        let reason = attempt.reason.as_ref().expect("it was told").to_string();
        assert!(reason.contains("as the test wants it"), "{reason}");
    }
    assert_eq!(rig.deliver("b").expect("it goes on").into_output(), 1);
}

#[test]
fn a_rig_starts_its_consumer_anew_by_its_start() {
    let starts = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&starts);
    let rig = Rig::new(move || {
        let start = counted.fetch_add(1, Ordering::SeqCst);
        async move { Ok::<_, std::io::Error>(Numbering(100 * start)) }
    });
    rig.crash_on(1);
    assert_eq!(rig.deliver("a").expect("the second try does").into_output(), 101);
    assert_eq!(starts.load(Ordering::SeqCst), 2);
}

#[test]
fn a_consumer_that_does_not_start_is_an_error() {
    let failed = Rig::<&str, u64>::try_new(async || Err::<Numbering, _>("no database"));
    let Err(RigError::Start(error)) = failed else { panic!("it cannot have started") };
    assert!(error.to_string().contains("no database"), "{error}");
}

struct Together(AtomicU64);

impl SharedConsumer for Together {
    type Message = u64;
    type Output = u64;

    async fn handle(&self, n: Delivery<u64>) -> Result<u64, Failure> {
        Ok(self.0.fetch_add(*n, Ordering::SeqCst) + *n)
    }
}

#[test]
fn shared_consumers_have_rigs_too() {
    let rig = Rig::shared(4, async || Ok::<_, std::io::Error>(Together(AtomicU64::new(0))));
    assert_eq!(rig.deliver(5).expect("it does").into_output(), 5);
    rig.crash_on(2);
    assert_eq!(rig.deliver(6).expect("the second try does").into_output(), 6, "the sum was lost with the process");
    assert_eq!(rig.starts(), 2);
}
