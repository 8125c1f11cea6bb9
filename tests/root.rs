//! A program's root: how it is stopped, by whom, and the dumps that come by themselves, at a signal and over a socket.

mod tree;
mod workers;

use colloquium::tree::{EndCause, FinalReport, Look, Root, RootError, RunningRoot, State, Tree};
use colloquium::{
    ChildSpec, ConsumerGroup, ConsumerRegistration, Context, Delivery, ExitReason, Failure, Rooted, Runtime,
    Simulation, SupervisionTree, Supervisor,
};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use tree::{LONG, Log, SECOND, bad, mortal, three};
use workers::{SIZES, on_sizes, until};

/// A root whose own dumps are collected.
async fn start(runtime: &Runtime, root: Root) -> (RunningRoot, Receiver<SupervisionTree>) {
    let (give, dumps) = channel();
    let give = Mutex::new(give);
    let root = root.dumps_to(move |dump| {
        // The test may be over.
        let _ = give.lock().expect("no panic").send(dump.clone());
    });
    (root.start(runtime).await.expect("it starts"), dumps)
}

/// A place of its own for a socket.
fn socket_path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("colloquium-{}-{name}.sock", std::process::id()))
}

fn ask(path: &PathBuf, line: &str) -> String {
    let mut stream = UnixStream::connect(path).expect("somebody answers");
    stream.set_read_timeout(Some(LONG)).expect("a bound");
    stream.write_all(line.as_bytes()).expect("it is read");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    answer
}

/// A child whose poll does not return until it is released.
fn deaf_and_stuck(
    n: usize,
    entered: std::sync::mpsc::Sender<()>,
    release: Receiver<()>,
) -> colloquium::ChildBuilder<()> {
    let (entered, release) = (Mutex::new(entered), Arc::new(Mutex::new(release)));
    ChildSpec::worker(format!("stuck-{n}"), move |_: Context<()>| {
        let (entered, release) = (entered.lock().expect("no panic").clone(), Arc::clone(&release));
        async move {
            let _ = entered.send(());
            let _ = release.lock().expect("no panic").recv_timeout(LONG);
        }
    })
}

#[test]
fn a_root_is_stopped_in_order_and_the_runtime_with_it() {
    on_sizes(&SIZES, async |runtime| {
        let log = Log::default();
        let (root, dumps) = start(&runtime, Root::new(three(&log, Supervisor::new()).0)).await;
        let stranger = workers::mortal(&runtime);
        let dump = root.tree().look(&Default::default());
        assert_eq!((dump.trees[0].id.as_str(), dump.trees[0].children.len()), ("root", 3));
        let report = root.stop(LONG).await;
        assert!(report.is_clean() && report.cause == EndCause::Asked, "{report}");
        assert_eq!((log.take().as_str(), report.runtime.stopped), ("+a +b +c -c -b -a", 1), "{report}");
        assert_eq!(stranger.ended().await, ExitReason::Shutdown);
        assert!(runtime.spawn(async |_: Context<()>| ()).is_err(), "the runtime has ended, too");
        // Once more changes nothing.
        assert_eq!(root.stop(SECOND).await.took, report.took);
        assert!(dumps.try_recv().is_err(), "nothing was wrong");
    });
}

#[test]
fn a_root_that_leaves_somebody_to_be_killed_was_not_stopped_cleanly() {
    on_sizes(&SIZES, async |runtime| {
        let (root, _dumps) = start(&runtime, Root::new(three(&Log::default(), Supervisor::new()).0)).await;
        let stubborn = runtime.spawn(async |mut ctx: Context<()>| {
            ctx.trap_exits(drop);
            loop {
                ctx.recv().await;
            }
        });
        let stubborn = stubborn.expect("room");
        // It is told only when it has said that it traps.
        stubborn.send(()).expect("it lives");
        until(&runtime, || runtime.info(stubborn.pid()).is_some_and(|info| info.traps_exits)).await;
        let report = root.stop(SECOND).await;
        assert_eq!((report.runtime.killed, report.is_clean()), (1, false), "{report}");
        assert_eq!(stubborn.ended().await, ExitReason::Killed);
    });
}

#[test]
fn a_root_that_gives_up_says_why_in_a_dump_and_ends_the_runtime() {
    on_sizes(&SIZES, async |runtime| {
        let (supervisor, places) = three(&Log::default(), Supervisor::new().intensity(0, SECOND));
        let (root, dumps) = start(&runtime, Root::new(supervisor).id("app")).await;
        places[1].address().expect("it is up").send(bad()).expect("it lives");
        let report = root.finished().await;
        assert_eq!(report.cause, EndCause::GaveUp("b".into()), "{report}");
        assert!(!report.is_clean() && report.runtime.wedged.is_empty(), "{report}");
        let dump = dumps.try_recv().expect("it was dumped before it was reported");
        assert_eq!(dump.occasion.as_deref(), Some("app gave up: b failed too often"));
        assert_eq!((dump.trees[0].state, dump.attention[0].path.as_str()), (Some(State::Stopped), "app"), "{dump}");
        assert_eq!(dump.exits.last[0].path, "app/b", "{dump}");
    });
}

#[test]
fn a_root_that_is_killed_or_ends_with_its_runtime_says_so() {
    on_sizes(&SIZES, async |runtime| {
        let (root, dumps) = start(&runtime, Root::new(three(&Log::default(), Supervisor::new()).0)).await;
        root.supervisor().address().kill();
        let report = root.finished().await;
        assert_eq!(report.cause, EndCause::Ended(ExitReason::Killed), "{report}");
        let dump = dumps.try_recv().expect("it was dumped");
        assert_eq!(dump.occasion.as_deref(), Some("root ended: killed"));
    });
    on_sizes(&SIZES, async |runtime| {
        let (root, dumps) = start(&runtime, Root::new(three(&Log::default(), Supervisor::new()).0)).await;
        assert!(runtime.shutdown(LONG).await.wedged.is_empty());
        let report = root.finished().await;
        assert_eq!(report.cause, EndCause::Ended(ExitReason::Shutdown), "{report}");
        assert!(dumps.try_recv().is_err(), "that was in order");
    });
}

/// Stops a root within two seconds, of which one child takes no notice.
fn overrun(workers: usize, stuck: usize, check: impl FnOnce(&SupervisionTree, &FinalReport)) {
    // Not one of the usual runtimes: those have to end without leaving anybody behind.
    let runtime = Runtime::builder().workers(workers).max_spares(1).build().expect("threads for the workers");
    let (entered, inside) = channel();
    let mut supervisor = Supervisor::new().child(mortal("before", &Log::default()));
    let mut releases = Vec::new();
    for n in 0..stuck {
        let (release, held) = channel();
        supervisor = supervisor.child(deaf_and_stuck(n, entered.clone(), held));
        releases.push(release);
    }
    let (root, dumps) = runtime.block_on(start(&runtime, Root::new(supervisor)));
    for _ in 0..stuck {
        inside.recv_timeout(LONG).expect("it is in its poll");
    }
    let report = runtime.block_on(root.stop(2 * SECOND));
    assert!(report.overran && !report.is_clean(), "{report}");
    let dump = dumps.try_recv().expect("it was dumped when the time was short");
    let occasion = dump.occasion.clone().unwrap_or_default();
    assert!(occasion.starts_with("the stop has taken 1.6s of 2.0s"), "{occasion}");
    check(&dump, &report);
    drop(releases);
    while !runtime.processes().is_empty() {
        std::thread::yield_now();
    }
}

#[test]
fn a_stop_that_overruns_dumps_who_holds_it_up_before_they_are_killed() {
    overrun(4, 1, |dump, report| {
        let stuck = dump.attention.iter().find(|attention| attention.path == "root/stuck-0").expect("it is told of");
        assert_eq!(stuck.state, State::Wedged, "it was told to end, and cannot\n{dump}");
        let wedged = report.tree.as_ref().expect("the supervisor can go on").wedged.iter();
        assert_eq!(wedged.map(|wedged| &*wedged.id).collect::<Vec<_>>(), ["stuck-0"]);
        assert!(report.to_string().contains("stuck-0 ("), "{report}");
    });
}

#[test]
fn a_stop_ends_in_time_and_dumps_also_when_every_worker_is_stuck() {
    overrun(1, 2, |dump, report| {
        assert_eq!(dump.runtime.stalled, 1, "{dump}");
        assert!(report.tree.is_none(), "the supervisor could not run: {report}");
        assert_eq!(dump.attention[0].path, "runtime", "{dump}");
        assert_eq!(report.runtime.wedged.len(), 2, "{report}");
    });
}

#[test]
fn the_socket_gives_dumps_in_every_form_and_goes_with_the_root() {
    on_sizes(&SIZES, async |runtime| {
        let path = socket_path("forms");
        let root = Root::new(three(&Log::default(), Supervisor::new()).0).dump_socket(&path);
        let (root, dumps) = start(&runtime, root).await;
        assert!(ask(&path, "\n").contains("\nTREE ") && ask(&path, "ascii width=60\n").is_ascii());
        let json: SupervisionTree = serde_json(&ask(&path, "json subtree=root/b\n"));
        assert_eq!((json.trees.len(), json.trees[0].id.as_str()), (1, "b"));
        assert!(ask(&path, "dot\n").starts_with("digraph"));
        assert!(ask(&path, "payloads\n").starts_with("payloads: unknown"));
        // One who says nothing is given up after a second, and the next is served.
        let silent = UnixStream::connect(&path).expect("somebody answers");
        assert!(ask(&path, "\n").contains("\nTREE "));
        drop(silent);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert!(root.stop(LONG).await.is_clean());
        drop(root);
        assert!(!path.exists() && dumps.try_recv().is_err());
    });
}

fn serde_json(text: &str) -> SupervisionTree {
    SupervisionTree::from_json(text).expect("what was written is read")
}

#[test]
fn a_socket_left_behind_is_taken_and_one_that_is_in_use_is_not() {
    on_sizes(&[2], async |runtime| {
        let path = socket_path("taken");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("a new path"));
        assert!(path.exists(), "left behind");
        let (root, _dumps) = start(&runtime, Root::new(Supervisor::new()).dump_socket(&path)).await;
        let second = Root::new(Supervisor::new()).dump_socket(&path).start(&runtime).await;
        assert!(second.is_err_and(|error| error.to_string().starts_with("the root cannot be reached from outside")));
        assert!(ask(&path, "\n").contains("\nTREE "), "the first still answers");
        until(&runtime, || runtime.processes().len() == 1).await;
        assert!(root.stop(LONG).await.is_clean());
    });
}

/// This program anew, as one that waits for signals: what a test of the first process does to the second.
const SIGNALLED: &str = "COLLOQUIUM_TEST_SIGNALLED";

/// The second process: a root that listens, and says what it is about on its standard output.
fn be_signalled() {
    let runtime = Runtime::builder().workers(1).max_spares(1).build().expect("a runtime");
    let stubborn = std::env::var(SIGNALLED).is_ok_and(|kind| kind == "stubborn");
    let supervisor = if stubborn {
        // More than the worker and its spare thread.
        (0..2).fold(Supervisor::new(), |supervisor, n| {
            let ((keep, never), (entered, _)) = (channel(), channel());
            std::mem::forget(keep);
            supervisor.child(deaf_and_stuck(n, entered, never))
        })
    } else {
        three(&Log::default(), Supervisor::new()).0
    };
    let root = Root::new(supervisor).dump_on_signal().stop_on_signals(20 * SECOND).dumps_to(|dump| {
        println!("DUMP {}", dump.occasion.as_deref().unwrap_or("-"));
    });
    let root = runtime.block_on(root.start(&runtime)).expect("it starts");
    println!("READY");
    if std::env::var(SIGNALLED).is_ok_and(|kind| kind == "deaf") {
        drop(root);
        println!("DEAF");
        // Until it is ended.
        let (_keep, never) = channel::<()>();
        let _ = never.recv_timeout(LONG);
        return;
    }
    println!("REPORT {}", runtime.block_on(root.finished()));
}

struct Other {
    process: std::process::Child,
    lines: Receiver<String>,
}

impl Other {
    fn start(kind: &str) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut command = Command::new(program);
        command.args(["the_other_process", "--exact", "--nocapture", "--test-threads=1"]);
        let mut process = command.env(SIGNALLED, kind).stdout(Stdio::piped()).spawn().expect("a process");
        let (give, lines) = channel();
        let out = std::io::BufReader::new(process.stdout.take().expect("a pipe"));
        workers::in_thread(move || {
            for line in std::io::BufRead::lines(out).map_while(Result::ok) {
                if give.send(line).is_err() {
                    break;
                }
            }
        });
        Self { process, lines }
    }

    /// Waits for a line that has this in it.
    fn says(&self, what: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(LONG).unwrap_or_else(|_| panic!("it never said {what}"));
            if line.contains(what) {
                return line;
            }
        }
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.process.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()));
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_other_process() {
    if std::env::var_os(SIGNALLED).is_some() {
        be_signalled();
    }
}

#[test]
fn sigusr1_has_a_dump_written_and_sigterm_stops_the_program_in_order() {
    let mut other = Other::start("obedient");
    other.says("READY");
    for _ in 0..2 {
        other.signal("USR1");
        other.says("DUMP SIGUSR1 came");
    }
    other.signal("TERM");
    let report = other.says("REPORT");
    assert!(report.contains("stopped by signal 15 in "), "{report}");
    assert!(other.process.wait().is_ok_and(|status| status.success()));
}

#[test]
fn sigusr1_is_answered_by_a_program_that_is_stuck_and_a_second_ctrl_c_ends_it() {
    use std::os::unix::process::ExitStatusExt;
    let mut other = Other::start("stubborn");
    other.says("READY");
    other.signal("USR1");
    other.says("DUMP SIGUSR1 came");
    other.signal("INT");
    // The stop has begun when the one worker cannot be had: the second is the program's end.
    let status = loop {
        other.signal("INT");
        if let Some(status) = other.process.try_wait().expect("it is ours") {
            break status;
        }
        std::thread::yield_now();
    };
    assert_eq!(status.signal(), Some(2));
}

#[test]
fn who_listens_no_more_leaves_the_signals_their_own_effect() {
    use std::os::unix::process::ExitStatusExt;
    let mut other = Other::start("deaf");
    other.says("DEAF");
    other.signal("TERM");
    let status = other.process.wait().expect("it is ours");
    assert_eq!(status.signal(), Some(15));
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    on_sizes(&[2], async |runtime| {
        let path = socket_path("file");
        std::fs::write(&path, "precious").expect("a new path");
        let root = Root::new(Supervisor::new()).dump_socket(&path).start(&runtime).await;
        assert!(matches!(root, Err(RootError::Ears(_))), "{root:?}");
        assert_eq!(std::fs::read_to_string(&path).ok().as_deref(), Some("precious"));
        std::fs::remove_file(&path).expect("it is there");
        until(&runtime, || runtime.processes().is_empty()).await;
    });
}

#[test]
fn a_root_cannot_be_simulated_and_says_so_but_dumps_can_be_taken_there() {
    let outcome = Simulation::new(1).run(async |runtime| {
        let refused = Root::new(three(&Log::default(), Supervisor::new()).0).start(&runtime).await;
        assert!(matches!(refused, Err(RootError::Simulated)), "{refused:?}");
        let root = three(&Log::default(), Supervisor::new()).0.start(&runtime).await.expect("it starts");
        let tree = Tree::new(&runtime);
        tree.add_root("root", root.observe());
        let dump = tree.look(&Look::new());
        assert_eq!((dump.trees[0].children.len(), dump.attention.len()), (3, 0), "{dump}");
        root.stop(LONG).await;
    });
    outcome.expect("it ends");
}

#[test]
fn a_root_that_does_not_start_leaves_nothing() {
    on_sizes(&SIZES, async |runtime| {
        let twice = Supervisor::new().child(mortal("a", &Log::default())).child(mortal("a", &Log::default()));
        assert!(Root::new(twice).start(&runtime).await.is_err());
        assert!(runtime.processes().is_empty());
        let nowhere = std::env::temp_dir().join("no-such-folder-of-colloquium").join("x.sock");
        let root = Root::new(three(&Log::default(), Supervisor::new()).0).dump_socket(nowhere).start(&runtime).await;
        assert!(root.is_err());
        until(&runtime, || runtime.processes().is_empty()).await;
    });
}

#[test]
fn a_runtime_has_one_root_and_finds_it_by_its_name() {
    on_sizes(&SIZES, async |runtime| {
        let supervisor = three(&Log::default(), Supervisor::new()).0;
        let (root, dumps) = start(&runtime, Root::new(supervisor).id("app")).await;
        let found = runtime.root().supervisor().await.expect("it is there");
        assert_eq!(found.pid(), root.supervisor().pid());
        let tree = runtime.root().tree().await.expect("it is there");
        tree.add_root("another", found.observe());
        let dump = root.tree().look(&Look::new());
        let ids: Vec<_> = dump.trees.iter().map(|tree| (tree.id.as_str(), tree.children.len())).collect();
        assert_eq!(ids, [("app", 3), ("another", 3)], "there is one tree");
        assert!(root.stop(LONG).await.is_clean() && dumps.try_recv().is_err());
    });
}

#[test]
fn a_root_that_nobody_started_is_started_once_and_its_end_is_the_runtimes() {
    on_sizes(&SIZES, async |runtime| {
        let (tell, told) = channel();
        let asking: Vec<_> = (0..8)
            .map(|_| {
                let (handle, tell) = (runtime.handle(), tell.clone());
                runtime.spawn(async move |_: Context<()>| {
                    let root = handle.root().supervisor().await.expect("it starts");
                    tell.send(root.pid()).expect("the test waits");
                })
            })
            .collect();
        for process in asking {
            process.expect("room for a process").ended().await;
        }
        let root = runtime.root().supervisor().await.expect("it is there");
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [root.pid(); 8]);
        let child = mortal("child", &Log::default()).build().expect("it will do");
        root.start_child(child).await.expect("it starts");
        let tree = runtime.root().tree().await.expect("it is there");
        let dump = tree.look(&Look::new());
        assert_eq!((dump.trees.len(), dump.trees[0].id.as_str(), dump.trees[0].children.len()), (1, "root", 1));
        root.address().kill();
        until(&runtime, || runtime.is_shutting_down()).await;
    });
}

#[test]
fn groups_stand_under_whatever_supervisor_they_are_started_under() {
    on_sizes(&SIZES, async |runtime| {
        let (root, _dumps) = start(&runtime, Root::new(Supervisor::new())).await;
        let group = |name| {
            let same = ConsumerRegistration::function(async |n: Delivery<u64>| Ok::<_, Failure>(*n));
            ConsumerGroup::alike(name, 1, &same)
        };
        let first = group("first").start(&root).await.expect("it starts");
        let second = group("second").start(root.supervisor()).await.expect("it starts");
        let third = group("third").start(&runtime.root()).await.expect("it starts");
        for (n, group) in [&first, &second, &third].into_iter().enumerate() {
            let n = u64::try_from(n).expect("small");
            assert_eq!(group.dispatch(n).await.expect("completed").into_output(), n);
        }
        let dump = runtime.root().tree().await.expect("it is there").look(&Look::new());
        let ids: Vec<_> = dump.trees[0].children.iter().map(|child| child.id.as_str()).collect();
        assert_eq!((dump.trees.len(), ids), (1, vec!["first", "second", "third"]));
        second.drain(LONG).await;
        let dump = root.tree().look(&Look::new());
        assert_eq!(dump.trees[0].children.len(), 2, "a group that was drained leaves nothing behind");
        assert!(root.stop(LONG).await.is_clean());
        assert!(first.dispatch(1).await.is_err());
    });
}
