//! Driver: how long a dump of very many processes takes, and what it costs those who work meanwhile.
use crate::measure::{Outcome, begin, now};
use colloquium::tree::{Look, Text, Tree};
use colloquium::{Context, DynamicSupervisor, ReplyTo, Runtime};
use std::time::Duration;

/// Dumps of which the median is taken.
const DUMPS: usize = 15;

/// Dumps of `n` idle children of one dynamic supervisor, taken one after the other from a thread outside: first of a runtime that
/// is idle, then beside a client that calls a server all the time. With two workers on two cores, what those lose is the core that
/// the dumper takes.
pub(crate) fn dump(runtime: &Runtime, n: u64) -> Outcome {
    let root = runtime.block_on(async {
        let children = DynamicSupervisor::new(async |mut ctx: Context<()>, (): ()| ctx.recv().await);
        let children = children.start(runtime).await.expect("it starts");
        for _ in 0..n {
            children.start_child(()).await.expect("room for a process");
        }
        children.supervisor().clone()
    });
    let tree = Tree::new(runtime);
    tree.add_root("children", root.observe());
    let start = now();
    let (quiet, texts) = dumps(&tree, n);
    let wall_seconds = start.elapsed().as_secs_f64();
    let alone = calls(runtime, || std::thread::park_timeout(Duration::from_millis(500)));
    let mut busy = Vec::new();
    let beside = calls(runtime, || busy = dumps(&tree, n).0);
    let extras = vec![
        ("worst_ms", quiet.iter().copied().fold(0.0, f64::max)),
        ("text_and_json_ms", median(texts)),
        ("busy_ms", median(busy)),
        ("calls_per_s_alone", alone),
        ("calls_per_s_beside", beside),
    ];
    Outcome { value: median(quiet), unit: "ms", n, wall_seconds, extras }
}

/// How long each took, and the writing of it.
fn dumps(tree: &Tree, n: u64) -> (Vec<f64>, Vec<f64>) {
    let one = |_| {
        let began = now();
        let dump = tree.look(&Look::new());
        let look = began.elapsed().as_secs_f64() * 1000.0;
        let counted = dump.trees[0].more.as_ref().map_or(0, |more| more.count) + dump.trees[0].children.len();
        assert_eq!(counted as u64, n);
        let began = now();
        assert!(dump.text(&Text::new()).len() + dump.json().len() > 1000);
        (look, began.elapsed().as_secs_f64() * 1000.0)
    };
    (0..DUMPS).map(one).unzip()
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// Calls a second of one client to one server while this thread does something.
fn calls(runtime: &Runtime, meanwhile: impl FnOnce()) -> f64 {
    let server = runtime.spawn(async |mut ctx: Context<Option<ReplyTo<()>>>| {
        while let Some(reply_to) = ctx.recv().await {
            // Who asked may have been told to stop.
            let _ = reply_to.send(());
        }
    });
    let server = server.expect("room for a process");
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let client = begin(runtime, async move |_: Context<()>| {
        let (start, mut calls) = (now(), 0_u64);
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            server.call(Some).await.expect("it answers");
            calls += 1;
        }
        server.send(None).expect("it lives");
        calls as f64 / start.elapsed().as_secs_f64()
    });
    meanwhile();
    drop(stop);
    client.wait()
}
