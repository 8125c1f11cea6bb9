//! Processes that run without awaiting: what is told of them, and that nobody else has to wait for them.

mod bounded;
mod workers;

use bounded::{next, until, within};
use colloquium::{
    Address, Context, DynamicSupervisor, ExitReason, Handle, Pid, ReplyTo, Restart, Runtime, Stall, Whereabouts,
};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::Poll;
use std::time::Duration;
use tracing::field::{Field, Visit};
use workers::{SIZES, on_sizes, on_threads};

const LIMIT: Duration = Duration::from_millis(4);

/// A flag that is set at the latest when this is dropped, so that nothing runs on after a test that fails.
#[derive(Clone, Default)]
struct Flag(Arc<AtomicBool>);

impl Flag {
    fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// What no process should do.
    fn spin(&self) {
        while !self.is_set() {
            std::thread::yield_now();
        }
    }

    fn at_the_end(&self) -> impl Drop + use<> {
        let flag = self.clone();
        workers::OnDrop(move || flag.set())
    }
}

/// A process that receives one message and then runs until the flag is set.
fn hog(runtime: &Handle, flag: &Flag, running: &Arc<AtomicUsize>) -> Address<()> {
    let (flag, running) = (flag.clone(), Arc::clone(running));
    let body = async move |mut ctx: Context<()>| {
        ctx.recv().await;
        running.fetch_add(1, Ordering::SeqCst);
        flag.spin();
    };
    runtime.build().label("hog").spawn(body).expect("a process")
}

/// Hogs that all run.
async fn hogs(runtime: &Handle, flag: &Flag, number: usize) -> Vec<Address<()>> {
    let running = Arc::default();
    let hogs: Vec<Address<()>> = (0..number).map(|_| hog(runtime, flag, &running)).collect();
    for hog in &hogs {
        until(|| runtime.info(hog.pid()).is_some_and(|info| info.whereabouts == Whereabouts::Receive)).await;
    }
    hogs.iter().for_each(|hog| hog.send(()).expect("it waits"));
    until(|| running.load(Ordering::SeqCst) == number).await;
    hogs
}

/// Round trips of two processes, with a time-out and a timer in each.
async fn play(runtime: &Handle, rounds: u32) {
    let pong = runtime.spawn(async |mut ctx: Context<ReplyTo<u32>>| {
        loop {
            let _ = ctx.recv().await.send(7);
        }
    });
    let pong = pong.expect("a process");
    let ping = runtime.spawn(async move |mut ctx: Context<()>| {
        for _ in 0..rounds {
            ctx.sleep(Duration::from_micros(100)).await;
            assert_eq!(ctx.call(&pong, |reply_to| reply_to).await.expect("an answer"), 7);
        }
        pong.kill();
    });
    assert_eq!(within(ping.expect("a process").ended()).await, ExitReason::Normal);
}

fn stall_of(runtime: &Handle, pid: Pid) -> Option<Stall> {
    // One that was held up by the system may have stalled before.
    runtime.stalls().into_iter().rfind(|stall| stall.pid == Some(pid))
}

fn watched(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).stall_limit(LIMIT).build().expect("a runtime")
}

#[test]
fn a_pair_plays_on_while_a_process_loops_on_each_worker() {
    on_threads(async |model| {
        let workers = model.runtime_info().workers.len();
        let runtime = watched(workers);
        let flag = Flag::default();
        let _released = flag.at_the_end();
        let hogs = hogs(&runtime, &flag, workers).await;
        play(&runtime, 50).await;
        let stalls = |hog: &Address<()>| stall_of(&runtime, hog.pid()).is_some_and(|stall| !stall.over);
        until(|| hogs.iter().all(stalls)).await;
        for hog in &hogs {
            let stall = stall_of(&runtime, hog.pid()).expect("it was there");
            assert_eq!((stall.over, stall.wedged, stall.label.as_deref()), (false, false, Some("hog")));
            assert_eq!(stall.whereabouts, Some(Whereabouts::Receive));
            assert!(stall.spawned_at.expect("it is known").file().ends_with("stalls.rs"));
            assert!(stall.lasted >= LIMIT, "{stall:?}");
            assert!(runtime.info(hog.pid()).expect("it lives").stalled.is_some());
        }
        let info = runtime.runtime_info();
        assert!(info.stalled >= workers && info.stalls >= workers as u64 && info.spares >= workers, "{info:?}");
        play(&runtime, 50).await;
        flag.set();
        for hog in hogs {
            assert_eq!(within(hog.ended()).await, ExitReason::Normal);
            until(|| stall_of(&runtime, hog.pid()).is_some_and(|stall| stall.over)).await;
        }
        until(|| runtime.runtime_info().spares == 0 && runtime.runtime_info().stalled == 0).await;
        play(&runtime, 50).await;
        within(runtime.shutdown(workers::LONG)).await.into_result().expect("nobody is wedged");
    });
}

/// Each thing that a worker has in hand when it gets stuck: the LIFO slot, its queues, a time-out without a timer.
#[test]
fn what_a_stuck_worker_has_in_hand_is_taken_over() {
    on_sizes(&SIZES, async |model| {
        let runtime = watched(model.runtime_info().workers.len());
        let (sent, spawned, timed_out) = (Flag::default(), Flag::default(), Flag::default());
        let _released = [sent.at_the_end(), spawned.at_the_end(), timed_out.at_the_end()];
        let flags = (sent.clone(), spawned.clone(), timed_out.clone());
        let hog = runtime.spawn(async move |mut ctx: Context<()>| {
            let (sent, spawned, timed_out) = flags;
            let on_message = sent.clone();
            let receiver = ctx.spawn(async move |mut ctx: Context<()>| {
                ctx.recv().await;
                on_message.set();
            });
            let deaf = ctx.spawn(async |mut ctx: Context<ReplyTo<()>>| {
                let _kept = ctx.recv().await;
                std::future::pending::<()>().await;
            });
            let (receiver, deaf) = (receiver.expect("a process"), deaf.expect("a process"));
            let on_time_out = timed_out.clone();
            let caller = ctx.spawn(async move |mut ctx: Context<()>| {
                let call = ctx.call(&deaf, |reply_to| reply_to).timeout(Duration::from_millis(20));
                call.await.expect_err("nobody answers");
                on_time_out.set();
                deaf.kill();
            });
            caller.expect("a process");
            for _ in 0..3 {
                ctx.yield_now().await;
            }
            receiver.send(()).expect("it waits");
            ctx.spawn(async move |_: Context<()>| spawned.set()).expect("a process");
            sent.spin();
            timed_out.spin();
        });
        assert_eq!(within(hog.expect("a process").ended()).await, ExitReason::Normal);
        until(|| spawned.is_set()).await;
        within(runtime.shutdown(workers::LONG)).await.into_result().expect("nobody is wedged");
    });
}

/// Nobody is woken for what a worker alone has in hand; if it gets stuck, it is run all the same: one newborn, one supervisor.
#[test]
fn the_only_thing_that_a_stuck_worker_has_in_hand_is_taken_over() {
    on_sizes(&SIZES, async |model| {
        let runtime = watched(model.runtime_info().workers.len());
        let (born, supervised) = (Flag::default(), Flag::default());
        let _released = [born.at_the_end(), supervised.at_the_end()];
        let (alone, below) = (born.clone(), supervised.clone());
        let parent = runtime.spawn(async move |mut ctx: Context<()>| {
            let on_birth = alone.clone();
            ctx.spawn(async move |_: Context<()>| on_birth.set()).expect("a process");
            alone.spin();
        });
        assert_eq!(within(parent.expect("a process").ended()).await, ExitReason::Normal);
        let dynamic = DynamicSupervisor::new(|_: Context<()>, flag: Flag| async move { flag.set() });
        let dynamic = dynamic.restart(Restart::Temporary).start(&runtime).await.expect("it starts");
        let supervisor = dynamic.supervisor().clone();
        let starter = runtime.spawn(async move |_: Context<()>| {
            let mut start = pin!(dynamic.start_child(below.clone()));
            // It may be answered already, if this thread was held up.
            let answered = poll_fn(|cx| Poll::Ready(start.as_mut().poll(cx))).await;
            below.spin();
            let child = match answered {
                Poll::Ready(child) => child,
                Poll::Pending => start.await,
            };
            child.expect("it was started");
        });
        assert_eq!(within(starter.expect("a process").ended()).await, ExitReason::Normal);
        assert!(within(supervisor.stop(workers::LONG)).await.is_clean());
        within(runtime.shutdown(workers::LONG)).await.into_result().expect("nobody is wedged");
    });
}

#[test]
fn one_that_is_killed_and_does_not_await_is_reported_as_wedged() {
    on_threads(async |model| {
        let runtime = watched(model.runtime_info().workers.len());
        let flag = Flag::default();
        let _released = flag.at_the_end();
        let hog = hogs(&runtime, &flag, 1).await.remove(0);
        let wedged = within(hog.kill_within(Duration::from_millis(20))).await.expect_err("it runs");
        assert_eq!(wedged.0.iter().map(|info| info.pid).collect::<Vec<_>>(), [hog.pid()]);
        assert!(!hog.is_alive());
        until(|| stall_of(&runtime, hog.pid()).is_some_and(|stall| stall.wedged)).await;
        flag.set();
        assert_eq!(within(hog.kill_within(workers::LONG)).await.expect("it ends now"), ExitReason::Killed);
        within(runtime.shutdown(workers::LONG)).await.into_result().expect("nobody is wedged");
    });
}

/// One spare thread for one worker: it is used again, and is a bound.
#[test]
fn spare_threads_are_bounded_and_used_again() {
    on_sizes(&[1], async |_| {
        let builder = Runtime::builder().workers(1).max_spares(1).stall_limit(LIMIT);
        let runtime = builder.build().expect("a runtime");
        for _ in 0..5 {
            let (first, second) = (Flag::default(), Flag::default());
            let _released = [first.at_the_end(), second.at_the_end()];
            hogs(&runtime, &first, 1).await;
            hogs(&runtime, &second, 1).await;
            let waits = runtime.spawn(async |_: Context<()>| ()).expect("a process");
            until(|| runtime.runtime_info().stalled == 2).await;
            assert_eq!((runtime.runtime_info().spares, waits.is_alive()), (1, true));
            first.set();
            assert_eq!(within(waits.ended()).await, ExitReason::Normal);
            second.set();
            until(|| runtime.runtime_info().spares == 0).await;
        }
        within(runtime.shutdown(workers::LONG)).await.into_result().expect("nobody is wedged");
    });
}

/// An armer may have woken the spare thread for a timer at the very moment at which it is dismissed.
#[test]
fn no_timer_is_forgotten_when_a_spare_thread_retires() {
    on_sizes(&[1], async |_| {
        let runtime = Runtime::builder().workers(1).stall_limit(Duration::from_millis(2)).build().expect("a runtime");
        for _ in 0..100 {
            let flag = Flag::default();
            let _released = flag.at_the_end();
            hogs(&runtime, &flag, 1).await;
            until(|| runtime.runtime_info().spares > 0).await;
            flag.set();
            while runtime.runtime_info().spares > 0 {
                within(runtime.sleep(Duration::from_micros(100))).await;
            }
        }
        within(runtime.shutdown(workers::LONG)).await.into_result().expect("nobody is wedged");
    });
}

#[test]
fn a_process_says_what_it_awaited_last_and_where_it_was_spawned() {
    on_threads(async |runtime| {
        let (tell, mut told) = channel();
        let line = line!() + 1;
        let process = runtime.spawn(async move |mut ctx: Context<Option<ReplyTo<()>>>| {
            let own = ctx.runtime().info(ctx.pid()).expect("it lives");
            tell.send(own).expect("the test waits");
            ctx.recv().await;
            ctx.sleep(Duration::MAX).await;
        });
        let process = process.expect("a process");
        let first = next(&mut told).await;
        let site = first.spawned_at.expect("it is known");
        assert_eq!((first.whereabouts, site.line()), (Whereabouts::Start, line));
        let whereabouts = || runtime.info(process.pid()).map(|info| info.whereabouts);
        until(|| whereabouts() == Some(Whereabouts::Receive)).await;
        process.send(None).expect("it waits");
        until(|| whereabouts() == Some(Whereabouts::Sleep)).await;
        let awaits = |body| runtime.spawn(body).expect("a process");
        let waits_for = process.clone();
        let waiting = awaits(Box::new(move |_: Context<()>| {
            Box::pin(async move { drop(waits_for.ended().await) }) as std::pin::Pin<Box<dyn Future<Output = ()> + Send>>
        }) as Box<dyn FnOnce(Context<()>) -> _>);
        until(|| runtime.info(waiting.pid()).is_some_and(|info| info.whereabouts == Whereabouts::End)).await;
        let callee = process.clone();
        let calling = runtime.spawn(async move |mut ctx: Context<()>| drop(ctx.call(&callee, Some).no_timeout().await));
        let calling = calling.expect("a process").pid();
        until(|| runtime.info(calling).is_some_and(|info| info.whereabouts == Whereabouts::Call)).await;
        let foreign = runtime.spawn(async |_: Context<()>| std::future::pending::<()>().await).expect("a process");
        until(|| runtime.info(foreign.pid()).is_some_and(|info| info.whereabouts == Whereabouts::Other)).await;
    });
}

/// What `tracing` is told, by all runtimes of this program: one field with the pid, and the message.
#[derive(Default)]
struct Seen(Mutex<Vec<Event>>);

#[derive(Clone, Debug, Default)]
struct Event {
    pid: String,
    label: String,
    spawned_at: String,
    whereabouts: String,
    lasted_ms: f64,
    message: String,
}

impl Visit for Event {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "pid" => self.pid = text,
            "label" => self.label = text,
            "spawned_at" => self.spawned_at = text,
            "whereabouts" => self.whereabouts = text,
            "message" => self.message = text,
            _ => {}
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "lasted_ms" {
            self.lasted_ms = value;
        }
    }
}

struct Listener;

impl tracing::Subscriber for Listener {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.is_event()
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut seen = Event::default();
        event.record(&mut seen);
        events().0.lock().expect("no listener fails").push(seen);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

fn events() -> &'static Seen {
    static SEEN: OnceLock<Seen> = OnceLock::new();
    SEEN.get_or_init(Seen::default)
}

/// The program's only test that listens. Pids of several runtimes print alike, so that the label tells whose they are.
#[test]
fn a_stall_is_told_once_through_tracing_and_so_is_its_end() {
    tracing::subscriber::set_global_default(Listener).expect("nobody else listens");
    let runtime = watched(2);
    let flag = Flag::default();
    let _released = flag.at_the_end();
    let told = |text: &str| -> Vec<Event> {
        let seen = events().0.lock().expect("no listener fails");
        seen.iter().filter(|event| event.label.contains("told") && event.message.contains(text)).cloned().collect()
    };
    runtime.block_on(async {
        let until_set = flag.clone();
        let hog = runtime.build().label("told").spawn(async move |ctx: Context<()>| {
            ctx.sleep(Duration::from_millis(1)).await;
            until_set.spin();
        });
        let hog = hog.expect("a process");
        until(|| !told("stalls its worker").is_empty()).await;
        hog.kill();
        until(|| !told("wedged").is_empty()).await;
        flag.set();
        until(|| !told("awaits again").is_empty()).await;
        for text in ["stalls its worker", "wedged", "awaits again"] {
            let events = told(text);
            assert_eq!(events.len(), 1, "{events:?}");
            let Event { pid, spawned_at, whereabouts, lasted_ms, .. } = &events[0];
            assert_eq!((pid.as_str(), whereabouts.as_str()), (hog.pid().to_string().as_str(), "sleep"));
            assert!(spawned_at.contains("stalls.rs:") && *lasted_ms >= 4.0, "{events:?}");
        }
    });
}

/// All threads of a runtime sleep for good: none has been woken between two looks.
#[cfg(target_os = "linux")]
#[test]
fn an_idle_runtime_uses_no_processor() {
    fn switches(runtime: &str) -> Vec<(String, String)> {
        let tasks = std::fs::read_dir("/proc/self/task").expect("Linux tells it");
        let mut all: Vec<(String, String)> = tasks
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("status")).ok())
            .filter(|status| status.starts_with(&format!("Name:\t{runtime}-")))
            .map(|status| {
                let switched = status.lines().filter(|line| line.contains("ctxt_switches")).collect();
                (status.lines().next().unwrap_or_default().to_owned(), switched)
            })
            .collect();
        all.sort();
        all
    }
    let clock = Runtime::builder().workers(1).build().expect("a runtime");
    let runtime = Runtime::builder().workers(2).name("quiet").stall_limit(LIMIT).build().expect("a runtime");
    clock.block_on(async {
        let waiting = runtime.spawn(async |mut ctx: Context<()>| ctx.recv().await).expect("a process");
        play(&runtime, 10).await;
        let flag = Flag::default();
        let _released = flag.at_the_end();
        hogs(&runtime, &flag, 2).await;
        until(|| runtime.runtime_info().spares >= 2).await;
        flag.set();
        within(async {
            loop {
                let before = switches("quiet");
                // Some fifty times what one look of the overseer's takes.
                clock.sleep(Duration::from_millis(100)).await;
                if before == switches("quiet") {
                    assert!(before.len() >= 5, "two workers, two spares, the overseer: {before:?}");
                    break;
                }
            }
        })
        .await;
        assert!(waiting.is_alive());
        // It looks again when there is something to see.
        let flag = Flag::default();
        let _released = flag.at_the_end();
        let hogs = hogs(&runtime, &flag, 2).await;
        until(|| stall_of(&runtime, hogs[0].pid()).is_some()).await;
        play(&runtime, 10).await;
    });
}

/// A stuck process has polled a future once: its wake-up still comes.
#[test]
fn a_looping_process_that_awaits_again_is_well() {
    on_threads(async |model| {
        let runtime = watched(model.runtime_info().workers.len());
        let flag = Flag::default();
        let _released = flag.at_the_end();
        let until_set = flag.clone();
        let process = runtime.spawn(async move |mut ctx: Context<u32>| {
            // A thread that is held up for so long in the first poll finds it over.
            let alarm = loop {
                let mut alarm = Box::pin(ctx.sleep(Duration::from_millis(1)));
                if bounded::poll_once(&mut alarm).await.is_pending() {
                    break alarm;
                }
            };
            until_set.spin();
            alarm.await;
            assert_eq!(ctx.recv().await, 5);
        });
        let process = process.expect("a process");
        until(|| stall_of(&runtime, process.pid()).is_some_and(|stall| !stall.over)).await;
        process.send(5).expect("it lives");
        flag.set();
        assert_eq!(within(process.ended()).await, ExitReason::Normal);
        within(runtime.shutdown(workers::LONG)).await.into_result().expect("nobody is wedged");
    });
}
