//! Driver: monitors, as OTP has them: scenarios S-020 to S-034, and more of their kind.
//!
//! Not here, since our types make them meaningless: S-032 and S-033 (aliases: an address cannot be taken back, and a late
//! reply has nowhere to go). In place of custom tags (S-034), every monitor has its own mapping.
mod workers;

use colloquium::{Context, Down, ExitReason, LookupError, Runtime};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use workers::{Msg, OnDrop, Probe, Seen, arrival, corpse, mortal, on_each_size, on_sizes, races, until, watcher};

#[test]
fn s_020_a_down_has_the_reason() {
    on_each_size(async |runtime| {
        let watcher = Probe::new(&runtime);
        let own = [
            ExitReason::Normal,
            ExitReason::Shutdown,
            ExitReason::shutdown_with("done"),
            ExitReason::Kill,
            ExitReason::Killed,
            ExitReason::error("custom"),
            ExitReason::NoProcess,
            ExitReason::NoConnection,
        ];
        for reason in own {
            let process = mortal(&runtime);
            let reference = watcher.monitor(process.clone());
            process.send(reason.clone()).expect("it lives");
            let Down { monitor, pid, name, reason: told, .. } = watcher.down();
            assert_eq!((monitor, pid, name, told), (reference, Some(process.pid()), None, reason));
        }
        for (sent, told) in [(ExitReason::Kill, ExitReason::Killed), (ExitReason::Shutdown, ExitReason::Shutdown)] {
            let process = mortal(&runtime);
            watcher.monitor(process.pid());
            process.exit(sent);
            assert_eq!(watcher.down().reason, told);
        }
        assert_eq!((watcher.info().monitor_count, watcher.info().monitors), (0, vec![]));
        watcher.is_quiet();
    });
}

#[test]
fn s_021_a_monitor_of_the_dead_or_unknown_fires_as_a_message() {
    on_each_size(async |runtime| {
        let (watcher, dead) = (Probe::new(&runtime), corpse(&runtime, ExitReason::error("its own")).await);
        let by_address = watcher.monitor(dead.clone());
        let by_pid = watcher.monitor(dead.pid());
        let by_name = watcher.monitor("nobody");
        for (reference, pid, name) in
            [(by_address, Some(dead.pid()), None), (by_pid, Some(dead.pid()), None), (by_name, None, Some("nobody"))]
        {
            let down = watcher.down();
            assert_eq!((down.monitor, down.pid, down.name.as_deref()), (reference, pid, name));
            assert_eq!(down.reason, ExitReason::NoProcess);
        }
        watcher.is_quiet();
    });
}

#[test]
fn s_023_after_demonitor_no_down_comes_and_demonitor_never_fails() {
    on_each_size(async |runtime| {
        let (watcher, other, process) = (Probe::new(&runtime), Probe::new(&runtime), mortal(&runtime));
        let reference = watcher.monitor(process.clone());
        let unknown = other.monitor("nobody");
        other.down();
        assert!(watcher.ask(move |ctx| ctx.demonitor(reference)), "it stood");
        assert!(!watcher.ask(move |ctx| ctx.demonitor(reference)), "it stood once");
        assert!(!watcher.ask(move |ctx| ctx.demonitor(unknown) || ctx.demonitor_flush(unknown)));
        assert!(!other.ask(move |ctx| ctx.demonitor(unknown)), "it has fired");
        assert_eq!(runtime.info(process.pid()).expect("it lives").monitored_by_count, 0);
        let fence = workers::watcher(&runtime, process.clone());
        process.kill();
        fence.down();
        watcher.is_quiet();
    });
}

#[test]
fn s_025_only_the_owner_can_demonitor() {
    on_each_size(async |runtime| {
        let (owner, other, process) = (Probe::new(&runtime), Probe::new(&runtime), mortal(&runtime));
        let reference = owner.monitor(process.clone());
        // The other's own first monitor is to be left alone as well.
        let others = other.monitor(process.clone());
        assert!(!other.ask(move |ctx| ctx.demonitor(reference)));
        assert!(!other.ask(move |ctx| ctx.demonitor_flush(reference)));
        process.kill();
        assert_eq!((owner.down().monitor, other.down().monitor), (reference, others));
    });
}

#[test]
fn s_026_a_monitor_of_oneself_never_fires() {
    on_each_size(async |runtime| {
        let p = Probe::named(&runtime, "self");
        let references = p.ask(|ctx| {
            [
                ctx.monitor(ctx.pid(), Msg::down("pid")),
                ctx.monitor(ctx.address(), Msg::down("address")),
                ctx.monitor("self", Msg::down("name")),
            ]
        });
        assert!(references[0] != references[1] && references[1] != references[2], "fresh all the same");
        assert_eq!((p.info().monitor_count, p.info().monitored_by_count), (0, 0));
        assert!(!p.ask(move |ctx| references.into_iter().any(|reference| ctx.demonitor(reference))));
        p.is_quiet();
    });
}

/// The watcher takes the name on the down; the old monitor has nothing to do with who has the name later.
#[test]
fn s_027_a_monitor_by_name_stays_with_its_process_whose_name_is_free_at_the_down() {
    on_each_size(async |runtime| {
        for _ in 0..races() / 3 {
            let (process, watcher) = (Probe::named(&runtime, "name"), Probe::new(&runtime));
            let handle = runtime.clone();
            watcher.ask(move |ctx| {
                let own = ctx.address();
                ctx.monitor("name", move |down| {
                    handle.register("name", own).expect("the name is free at the down");
                    Msg::down("")(down)
                })
            });
            process.kill();
            let down = watcher.down();
            assert_eq!((down.name.as_deref(), down.pid), (Some("name"), Some(process.pid())));
            assert_eq!(runtime.whereis::<Msg>("name").as_ref(), Ok(&*watcher));
            watcher.is_quiet();
            assert!(runtime.unregister("name"));
        }
        let (first, second) = (Probe::named(&runtime, "passed on"), Probe::new(&runtime));
        let watcher = watcher(&runtime, "passed on");
        assert!(runtime.unregister("passed on"));
        runtime.register("passed on", second.pid()).expect("free");
        second.kill();
        second.ended().await;
        watcher.is_quiet();
        first.kill();
        let down = watcher.down();
        assert_eq!((down.name.as_deref(), down.pid), (Some("passed on"), Some(first.pid())));
    });
}

#[test]
fn s_028_a_dead_watcher_is_forgotten_by_the_watched() {
    on_each_size(async |runtime| {
        let process = mortal(&runtime);
        let info = || runtime.info(process.pid()).expect("it lives");
        for _ in 0..races() {
            let watcher = Probe::new(&runtime);
            watcher.monitor(process.clone());
            watcher.monitor(process.clone());
            assert_eq!((info().monitored_by_count, info().monitored_by), (2, vec![watcher.pid(); 2]));
            drop(watcher);
            until(&runtime, || info().monitored_by_count == 0).await;
        }
        assert!(process.is_alive());
    });
}

/// A reason that is kept by nobody shows that its processes are freed. (Abnormal ones are kept for reports.)
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("counted")
    }
}

impl std::error::Error for Counted {}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn s_030_two_that_monitor_each_other_die_and_are_freed() {
    on_each_size(async |runtime| {
        let freed = Arc::new(AtomicUsize::new(0));
        for round in 0..races() {
            let (a, b) = (Probe::new(&runtime), Probe::new(&runtime));
            a.monitor(b.clone());
            b.monitor(a.clone());
            if round % 3 == 0 {
                a.link(b.clone());
            }
            for probe in [&a, &b] {
                probe.exit(ExitReason::shutdown_with(Counted(Arc::clone(&freed))));
            }
            a.ended().await;
            b.ended().await;
        }
        until(&runtime, || freed.load(Ordering::SeqCst) == 2 * races()).await;
        assert_eq!(runtime.runtime_info().processes, 0);
    });
}

#[test]
fn s_031_a_large_reason_comes_with_the_down() {
    on_each_size(async |runtime| {
        let large: Vec<u8> = (0..=u8::MAX).cycle().take(1 << 20).collect();
        let process = mortal(&runtime);
        let watcher = watcher(&runtime, process.clone());
        let text = String::from_utf8_lossy(&large).into_owned();
        process.send(ExitReason::error(text.clone())).expect("it lives");
        let ExitReason::Error(cause) = watcher.down().reason else { panic!("another reason") };
        assert_eq!(cause.to_string(), text);
    });
}

#[test]
fn s_034_each_monitor_of_a_process_has_its_own_mapping() {
    on_each_size(async |runtime| {
        let (watcher, process) = (Probe::new(&runtime), mortal(&runtime));
        let target = process.clone();
        let (red, blue) = watcher
            .ask(move |ctx| (ctx.monitor(&target, Msg::down("red")), ctx.monitor(target.pid(), Msg::down("blue"))));
        process.send(ExitReason::Normal).expect("it lives");
        let mut downs = [watcher.next(), watcher.next()].map(|seen| match seen {
            Seen::Down(tag, down) => (tag, down.monitor),
            other => panic!("{other:?}"),
        });
        downs.sort_unstable();
        assert_eq!(downs, [("blue", blue), ("red", red)]);
        watcher.is_quiet();
    });
}

#[test]
fn a_watcher_of_many_is_told_of_each_monitor_once() {
    on_each_size(async |runtime| {
        let (watcher, process) = (Probe::new(&runtime), mortal(&runtime));
        let mut references: Vec<_> = (0..40).map(|_| watcher.monitor(process.clone())).collect();
        let removed = references.split_off(30);
        let demonitored = removed.clone();
        assert!(watcher.ask(move |ctx| demonitored.into_iter().all(|reference| ctx.demonitor(reference))));
        process.kill();
        let mut fired: Vec<_> = (0..30).map(|_| watcher.down().monitor).collect();
        fired.sort_unstable();
        references.sort_unstable();
        assert_eq!(fired, references);
        watcher.is_quiet();
    });
}

/// How a process lets go of a monitor that has fired.
#[derive(Clone, Copy, Debug)]
struct LetGo {
    flush: bool,
    /// It has received the message before the down, with which the down was drawn.
    drawn: bool,
}

/// Monitors two processes and ends them, with notes before, between and after; then lets go of the first monitor and
/// returns what is left in the mailbox.
async fn let_go(ctx: &mut Context<Msg>, how: LetGo) -> Vec<Seen> {
    let handle = ctx.runtime();
    let own = ctx.address();
    let mut references = Vec::new();
    for (note, tag) in [(1, "one"), (2, "two")] {
        own.send(Msg::note(note)).expect("it lives");
        let process = mortal(&handle);
        references.push(ctx.monitor(process.clone(), Msg::down(tag)));
        process.kill();
        while handle.info(own.pid()).is_some_and(|info| info.monitor_count > 0) {
            ctx.yield_now().await;
        }
    }
    own.send(Msg::note(3)).expect("it lives");
    let mut seen = Vec::new();
    if how.drawn {
        seen.push(ctx.recv().await.into_seen());
    }
    let stood = if how.flush { ctx.demonitor_flush(references[0]) } else { ctx.demonitor(references[0]) };
    assert!(!stood, "it has fired");
    seen.extend(std::iter::from_fn(|| ctx.try_recv()).map(Msg::into_seen));
    seen
}

/// A down that is in the mailbox stays there after `demonitor` and goes with `demonitor_flush`, which leaves all else.
#[test]
fn demonitor_leaves_a_queued_down_and_flush_takes_it() {
    on_each_size(async |runtime| {
        for bits in 0..4 {
            let how = LetGo { flush: bits & 1 != 0, drawn: bits & 2 != 0 };
            let (show, shown) = channel();
            let body = async move |mut ctx: Context<Msg>| {
                let seen = let_go(&mut ctx, how).await;
                show.send(seen).expect("the test waits");
            };
            runtime.spawn(body).expect("room");
            let seen: Vec<String> = arrival(&shown)
                .into_iter()
                .map(|seen| match seen {
                    Seen::Note(note) => note.to_string(),
                    Seen::Down(tag, _) => tag.to_owned(),
                    Seen::Exit(exit) => panic!("{exit:?}"),
                })
                .collect();
            let all: &[&str] = if how.flush { &["1", "2", "two", "3"] } else { &["1", "one", "2", "two", "3"] };
            assert_eq!(seen, all, "{how:?}");
        }
    });
}

/// Whatever a flush says, nothing of that monitor comes after it.
#[test]
fn after_a_flush_that_races_the_end_no_down_comes() {
    on_each_size(async |runtime| {
        let (watcher, fence) = (Probe::new(&runtime), Probe::new(&runtime));
        for _ in 0..races() {
            let process = mortal(&runtime);
            let reference = watcher.monitor(process.clone());
            fence.monitor(process.clone());
            process.kill();
            watcher.ask(move |ctx| ctx.demonitor_flush(reference));
            let before = watcher.shown();
            assert!(before.len() <= 1, "{before:?}");
            process.ended().await;
            fence.down();
            watcher.is_quiet();
        }
    });
}

/// A process that holds its worker up in one poll until told to go on, then awaits; what it holds tells when it is
/// dropped.
struct Busy {
    process: colloquium::Address<()>,
    go_on: std::sync::mpsc::Sender<()>,
    dropped: Arc<AtomicBool>,
}

fn busy(runtime: &Runtime) -> Busy {
    let ((go_on, goes_on), (at_work, works)) = (channel::<()>(), channel());
    let dropped = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&dropped);
    let body = async move |mut ctx: Context<()>| {
        let _state = OnDrop(move || flag.store(true, Ordering::SeqCst));
        at_work.send(()).expect("the test waits");
        goes_on.recv().expect("the test goes on");
        ctx.recv().await;
    };
    let process = runtime.spawn(body).expect("room");
    arrival(&works);
    Busy { process, go_on, dropped }
}

/// A watcher whose down, when it comes, carries whether the state had been dropped by then.
fn watch_state(watcher: &Probe, busy: &Busy, tag: &'static str) {
    let (target, dropped) = (busy.process.clone(), Arc::clone(&busy.dropped));
    watcher.ask(move |ctx| {
        ctx.monitor(target, move |down| {
            assert!(dropped.load(Ordering::SeqCst), "told before the state was dropped");
            Msg::down(tag)(down)
        });
    });
}

/// Killed in the middle of a poll it is dead at once and gone only when its state is; a monitor made in between says
/// that it found it dead, and that only then.
#[test]
fn a_monitor_of_the_doomed_fires_when_its_state_is_dropped() {
    on_sizes(&[2, 8], async |runtime| {
        for _ in 0..races() / 10 {
            let (watcher, busy) = (Probe::new(&runtime), busy(&runtime));
            watch_state(&watcher, &busy, "before");
            busy.process.kill();
            assert!(!busy.process.is_alive());
            watch_state(&watcher, &busy, "after");
            watcher.is_quiet();
            busy.go_on.send(()).expect("it waits");
            let mut downs = [watcher.next(), watcher.next()].map(|seen| match seen {
                Seen::Down(tag, down) => (tag, down.reason),
                other => panic!("{other:?}"),
            });
            downs.sort_by_key(|(tag, _)| *tag);
            assert_eq!(downs, [("after", ExitReason::NoProcess), ("before", ExitReason::Killed)]);
        }
    });
}

#[test]
fn whoever_has_the_down_sees_nothing_left_of_the_process() {
    on_each_size(async |runtime| {
        for _ in 0..races() {
            let process = Probe::named(&runtime, "short-lived");
            process.ask(|ctx| ctx.join("group").expect("it lives"));
            let (watcher, handle, pid) = (Probe::new(&runtime), runtime.handle(), process.pid());
            watcher.ask(move |ctx| {
                ctx.monitor(pid, move |down| {
                    assert!(!handle.is_alive(pid) && handle.info(pid).is_none());
                    assert!(!handle.processes().contains(&pid));
                    assert_eq!(handle.whereis::<Msg>("short-lived"), Err(LookupError::NoProcess));
                    assert_eq!((handle.names(), handle.member_pids("group")), (vec![], vec![]));
                    Msg::down("")(down)
                })
            });
            process.kill();
            watcher.down();
        }
    });
}
