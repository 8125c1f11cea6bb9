//! Groups in dumps: golden files of situations, made in simulations, in which pids and times are the same each time.
//! `COLLOQUIUM_GOLDEN=write cargo test` writes them anew.
mod workers;

use colloquium::prelude::*;
use colloquium::tree::{Look, Node, State, Text, Tree};
use colloquium::{ChildSpec, GroupBuilder, Handle, Simulation, SupervisionTree, Supervisor, SupervisorRef};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use workers::{LONG, on_sizes, until};

/// What a message asks for.
enum Order {
    Nap(u64),
    Hang,
    Panic,
    Fail,
    /// Blocks its worker until somebody sends.
    Block(Mutex<Option<Receiver<()>>>, Sender<()>),
    Keyed(u64),
}

struct Worker(Handle);

impl Consumer for Worker {
    type Message = Order;
    type Output = ();

    async fn handle(&mut self, order: Delivery<Order>) -> Result<(), Failure> {
        match &*order {
            Order::Nap(ms) | Order::Keyed(ms) => self.0.sleep(Duration::from_millis(*ms)).await,
            Order::Hang => std::future::pending().await,
            Order::Panic => panic!("as told"),
            Order::Fail => Err("as told")?,
            Order::Block(release, entered) => {
                let release = release.lock().expect("nobody panics with it").take().expect("once");
                entered.send(()).expect("the test waits");
                let _ = release.recv_timeout(LONG);
            }
        }
        Ok(())
    }
}

type Workers = DispatchConversation<Order, ()>;

fn workers(runtime: &Runtime, consumers: usize) -> GroupBuilder<Order, ()> {
    let runtime = runtime.handle();
    let start = move || {
        let runtime = runtime.clone();
        async move { Ok::<_, std::io::Error>(Worker(runtime)) }
    };
    ConsumerGroup::of("workers", consumers, start)
}

/// With the groups that were started under the root, whoever made them.
async fn tree_of(runtime: &Runtime) -> Tree {
    runtime.root().tree().await.expect("it was started")
}

fn golden(name: &str, dump: &mut SupervisionTree) {
    // What is not the simulation's: when, how fast and as what this was run.
    (dump.at_ms, dump.took_us, dump.os_pid) = (1_795_317_164_000, 3100, 4121);
    "0.1.0".clone_into(&mut dump.version);
    for exit in &mut dump.exits.last {
        exit.at_ms = 1_795_317_164_000;
        exit.reason.location = exit.reason.location.as_ref().map(|_| "src/worker.rs:8:1".to_owned());
    }
    let text = dump.text(&Text::new());
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/dispatch").join(name);
    if std::env::var_os("COLLOQUIUM_GOLDEN").is_some() {
        std::fs::write(&path, &text).expect("the golden file can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(text == expected, "{name} is not as it was:\n{text}");
    let back = SupervisionTree::from_json(&dump.json()).expect("its own form");
    assert!(back == *dump && back.text(&Text::new()) == text, "the JSON carries what the text shows");
}

/// Runs a situation in a simulation, and holds its dump against its golden file.
fn situation(name: &'static str, body: impl AsyncFn(&Runtime) -> Workers + Send + 'static) {
    let outcome = Simulation::new(5).run(async move |runtime: Runtime| {
        let group = body(&runtime).await;
        let tree = tree_of(&runtime).await;
        golden(name, &mut tree.look(&Look::new()));
        group.drain(Duration::from_millis(1)).await;
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn a_calm_group() {
    situation("calm.txt", async |runtime| {
        let group = workers(runtime, 3).start(&runtime.root()).await.expect("it starts");
        for _ in 0..20 {
            group.dispatch(Order::Nap(10)).await.expect("completed");
        }
        group.dispatch(Order::Nap(60_000)).id(8061).start().detach();
        runtime.sleep(Duration::from_millis(300)).await;
        group
    });
}

#[test]
fn an_overloaded_group() {
    situation("overloaded.txt", async |runtime| {
        let keys = |order: &Order| if let Order::Keyed(key) = order { 7 + key % 2 } else { 7 };
        let group = workers(runtime, 2).keyed_by(keys).waiting_room(12).max_wait(20 * SECOND).deadline(60 * SECOND);
        let group = group.start(&runtime.root()).await.expect("it starts");
        for n in 0..14 {
            group.dispatch(Order::Keyed(30_000 + n)).start().detach();
            runtime.sleep(Duration::from_millis(400)).await;
        }
        let refused = group.dispatch(Order::Nap(1)).await.expect_err("there is no room");
        assert_eq!(refused.kind(), Overloaded);
        group
    });
}

#[test]
fn a_group_with_a_consumer_that_is_stuck() {
    situation("stuck.txt", async |runtime| {
        let group = workers(runtime, 3).start(&runtime.root()).await.expect("it starts");
        let late = group.dispatch(Order::Hang).id(3041).key(&771).deadline(2 * SECOND).await.expect_err("it hangs");
        assert_eq!(late.kind(), DeadlineExceeded);
        runtime.sleep(4 * SECOND).await;
        group
    });
}

#[test]
fn a_group_with_a_consumer_that_does_not_start_again() {
    situation("back_off.txt", async |runtime| {
        let (handle, broken) = (runtime.handle(), Arc::new(AtomicBool::new(false)));
        let breaks = Arc::clone(&broken);
        let start = move || {
            let (runtime, broken) = (handle.clone(), broken.load(Ordering::SeqCst));
            async move { if broken { Err(std::io::Error::other("no database")) } else { Ok(Worker(runtime)) } }
        };
        let group = ConsumerGroup::of("workers", 2, start).start(&runtime.root()).await.expect("it starts");
        breaks.store(true, Ordering::SeqCst);
        let first = group.group().consumers()[0].pid.expect("it is up");
        runtime.exit(first, ExitReason::Kill);
        // The pauses double up to 800 ms and more: it is in one of them.
        runtime.sleep(Duration::from_millis(1500)).await;
        group
    });
}

#[test]
fn a_group_in_which_a_message_was_poison() {
    situation("poisoned.txt", async |runtime| {
        let group = workers(runtime, 3).start(&runtime.root()).await.expect("it starts");
        let poison = group.dispatch(Order::Panic).id(71_002).await.expect_err("it panics each time");
        assert_eq!(poison.kind(), Poisoned);
        runtime.sleep(2 * SECOND).await;
        group
    });
}

#[test]
fn a_group_in_which_everything_crashes() {
    situation("breaker.txt", async |runtime| {
        let group = workers(runtime, 4).poison_after(1).start(&runtime.root()).await.expect("it starts");
        for _ in 0..20 {
            group.dispatch(Order::Panic).await.expect_err("it panics each time");
        }
        group
    });
}

#[test]
fn a_group_whose_consumers_fail_often() {
    situation("ejected.txt", async |runtime| {
        let group = workers(runtime, 3).attempts(1).start(&runtime.root()).await.expect("it starts");
        for _ in 0..13 {
            group.dispatch(Order::Fail).await.expect_err("it fails");
        }
        group
    });
}

fn find<'a>(node: &'a Node, path: &[&str]) -> Option<&'a Node> {
    match path {
        [] => Some(node),
        [first, rest @ ..] => find(node.children.iter().find(|node| node.id == *first)?, rest),
    }
}

/// A handler that blocks its worker holds no lock that a dump needs: it comes, and says which message that is.
#[test]
fn a_dump_comes_while_a_handler_blocks_its_worker() {
    on_sizes(&[1, 2], async |runtime| {
        let group = workers(&runtime, 1).deadline(Duration::from_millis(1)).start(&runtime.root()).await.expect("up");
        let tree = tree_of(&runtime).await;
        let (entered, entry) = channel();
        let (release, released) = channel();
        let order = Order::Block(Mutex::new(Some(released)), entered);
        let conversation = group.dispatch(order).id(8061).deadline(LONG).start();
        entry.recv_timeout(LONG).expect("it is begun with");
        until(&runtime, || {
            let dump = tree.look(&Look::new());
            let consumer = find(&dump.trees[0], &["workers", "consumers", "0"]);
            let told = dump.attention.iter().filter(|told| told.path == "root/workers/consumers/0");
            let told: Vec<_> = told.map(|told| (told.state, told.text.contains("8061 try 1"))).collect();
            consumer.is_some_and(|consumer| consumer.state == Some(State::Stuck)) && told == [(State::Stuck, true)]
        })
        .await;
        release.send(()).expect("it waits");
        conversation.await.expect("completed");
    });
}

/// Of very many that wait, a dump shows a few and counts the others.
#[test]
fn very_many_conversations_are_summed_up() {
    const MANY: usize = 100_000;
    on_sizes(&[2], async |runtime| {
        let group = workers(&runtime, 2).waiting_room(MANY).max_wait(LONG).deadline(2 * LONG);
        let group = group.waiting_per_key(MANY).keyed_by(|_| 1).start(&runtime.root()).await.expect("up");
        group.group().pause();
        let all: Vec<_> = (0..MANY as u64).map(|n| group.dispatch(Order::Nap(0)).id(n).start()).collect();
        let tree = tree_of(&runtime).await;
        // A section that is late is left out, on a machine that has other things to do.
        let whole = |dump: &SupervisionTree| !dump.attention.iter().any(|told| told.state == State::Unread);
        let mut dump = tree.look(&Look::new());
        while !whole(&dump) {
            dump = tree.look(&Look::new());
        }
        let conversations = find(&dump.trees[0], &["workers", "conversations"]).expect("it is there");
        assert_eq!(conversations.kind.as_deref(), Some("100 000"));
        assert_eq!(conversations.note.as_deref(), Some("0 started, 100 000 waiting"));
        let shown: Vec<&str> = conversations.children.iter().map(|node| node.id.as_str()).collect();
        assert_eq!((shown.len(), conversations.children[0].state), (5, Some(State::Waiting)), "{shown:?}");
        let more = conversations.more.as_ref().expect("there are more");
        assert_eq!(more.count, MANY - 5);
        assert!(more.note.as_ref().is_some_and(|note| note.contains("1 keys, most waiting")), "{more:?}");
        assert!(dump.attention.iter().any(|told| told.path == "root/workers" && told.text.contains("paused")));
        drop(all);
        until(&runtime, || group.supervisor().is_empty()).await;
    });
}

/// How many nodes of that name there are, below this one.
fn count(node: &Node, id: &str) -> usize {
    usize::from(node.id == id) + node.children.iter().map(|child| count(child, id)).sum::<usize>()
}

/// Whoever started it and wherever it stands, a group is in the dumps that its parent is in, once, until it is gone.
#[test]
fn a_group_is_shown_without_being_asked_for() {
    on_sizes(&[2], async |runtime| {
        let tree = tree_of(&runtime).await;
        let below = ChildSpec::supervisor("below", Supervisor::new).build().expect("a supervisor");
        let root = runtime.root().supervisor().await.expect("it was started");
        let below = root.start_child(below).await.expect("it starts").address().expect("it is up");
        let below = SupervisorRef::of(&below).await.expect("it answers");
        let first = workers(&runtime, 1).start(&runtime.root()).await.expect("it starts");
        let second = workers(&runtime, 1).name("others").start(&below).await.expect("it starts");
        let alone = workers(&runtime, 1).name("alone").start(&runtime).await.expect("it starts");
        tree.add_section(first.group().section());
        tree.add_root("alone", alone.group().observe().expect("it was started"));
        let shown = |path: &[&str]| {
            let dump = tree.look(&Look::new());
            let letters: usize = dump.trees.iter().map(|tree| count(tree, "dead letters")).sum();
            let unread = dump.attention.iter().any(|told| told.state == State::Unread);
            let kind = dump.trees.iter().find(|tree| tree.id == path[0]).and_then(|tree| find(tree, &path[1..]));
            (!unread).then(|| (letters, kind.and_then(|node| node.kind.clone()).unwrap_or_default()))
        };
        // A section that is late is left out, on a machine that has other things to do.
        let paths: [&[&str]; 3] = [&["root", "workers"], &["root", "below", "others"], &["alone"]];
        for path in paths {
            until(&runtime, || shown(path) == Some((3, "consumer group".to_owned()))).await;
        }
        second.drain(LONG).await;
        until(&runtime, || shown(paths[0]) == Some((2, "consumer group".to_owned()))).await;
        assert!(first.group().observe().is_some() && alone.group().observe().is_some());
    });
}
