//! A million timers for one instant, beside which a pair of processes goes on: nobody is stalled.

mod bounded;
mod workers;

use bounded::{until, within};
use colloquium::{Address, Context, ExitReason, Handle, Mailbox};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use workers::on_sizes;

struct Scene {
    timers: usize,
    /// How often the ball has been played.
    rounds: AtomicU64,
    fired: AtomicUsize,
    at_first: AtomicU64,
    at_last: AtomicU64,
}

/// A message that is dropped where its timer fires, since the mailbox has no room for it.
struct Mark(Arc<Scene>);

impl Drop for Mark {
    fn drop(&mut self) {
        let rounds = self.0.rounds.load(Ordering::SeqCst);
        match self.0.fired.fetch_add(1, Ordering::SeqCst) + 1 {
            1 => self.0.at_first.store(rounds, Ordering::SeqCst),
            fired if fired == self.0.timers => self.0.at_last.store(rounds, Ordering::SeqCst),
            _ => {}
        }
    }
}

struct Ball(Address<Ball>);

async fn play(mut ctx: Context<Ball>, scene: Arc<Scene>) {
    let own = ctx.address();
    loop {
        let Ball(from) = ctx.recv().await;
        scene.rounds.fetch_add(1, Ordering::SeqCst);
        drop(from.send(Ball(own.clone())));
    }
}

#[test]
fn a_million_timers_for_one_instant_stall_nobody() {
    on_sizes(&[1], async |runtime| storm(&runtime, 1_000_000).await);
}

#[test]
fn timers_for_one_instant_stall_nobody_among_several_workers() {
    on_sizes(&[2, 8], async |runtime| storm(&runtime, 200_000).await);
}

async fn storm(runtime: &Handle, timers: usize) {
    let [rounds, at_first, at_last] = [(); 3].map(|()| AtomicU64::new(0));
    let scene = Arc::new(Scene { timers, rounds, fired: AtomicUsize::new(0), at_first, at_last });
    let sink = runtime.build().mailbox(Mailbox::bounded(1).drop_newest());
    let sink = sink.spawn(async |ctx: Context<Option<Mark>>| ctx.sleep(Duration::MAX).await).expect("a process");
    sink.send(None).expect("room for one");
    let (of_one, of_other) = (Arc::clone(&scene), Arc::clone(&scene));
    let one = runtime.spawn(move |ctx| play(ctx, of_one)).expect("a process");
    let other = runtime.spawn(move |ctx| play(ctx, of_other)).expect("a process");
    one.send(Ball(other)).expect("room");
    // Armed within one poll, so that one worker fires none before all are armed.
    let (to, held) = (sink.clone(), Arc::clone(&scene));
    let armer = runtime.spawn(async move |_: Context<()>| {
        for _ in 0..timers {
            to.send_after(Duration::ZERO, Some(Mark(Arc::clone(&held))));
        }
    });
    assert_eq!(within(armer.expect("a process").ended()).await, ExitReason::Normal);
    until(|| scene.fired.load(Ordering::SeqCst) == timers).await;
    let rounds = scene.at_last.load(Ordering::SeqCst) - scene.at_first.load(Ordering::SeqCst);
    assert!(rounds > 100, "the pair made {rounds} rounds while {timers} timers fired");
    assert_eq!(runtime.info(sink.pid()).expect("alive").dropped, timers as u64);
    assert_eq!(runtime.info(sink.pid()).expect("alive").timers, 0);
}
