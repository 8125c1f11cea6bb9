//! A tree that crashes, backs off and escalates, shown as it goes: `cargo run --example supervised_tree`
use colloquium::prelude::*;
use colloquium::tree::{Look, Tree};
use colloquium::{Backoff, GenServer, Next, Server, ServerContext, ServerRef, ServerResult};
use std::time::Duration;

type Error = Box<dyn std::error::Error + Send + Sync>;

const SECOND: Duration = Duration::from_secs(1);

enum Ask {
    Count(ReplyTo<u32>),
    Crash,
}

/// Callbacks rather than a loop: the supervisor starts it anew with a fresh state.
#[derive(Default)]
struct Counter {
    asked: u32,
}

impl GenServer for Counter {
    type Message = Ask;

    async fn handle(&mut self, ask: Ask, _: &mut ServerContext<Ask>) -> ServerResult<Ask> {
        match ask {
            Ask::Count(reply_to) => {
                self.asked += 1;
                // Who asks may have given up: its business.
                let _ = reply_to.send(self.asked);
                Ok(Next::Wait)
            }
            Ask::Crash => Err("told to".into()),
        }
    }

    async fn terminate(&mut self, reason: &ExitReason) {
        println!("   the counter ends, asked {} times: {reason}", self.asked);
    }
}

/// Ends as soon as it is told to, with what it is told.
async fn worker(mut ctx: Context<ExitReason>) -> ExitReason {
    ctx.recv().await
}

/// What can be seen of a tree, at any moment, without asking any of its processes.
fn show(tree: &Tree) {
    println!("{}", tree.look(&Look::new()));
}

/// Lets a child end, and waits until its supervisor has put another in its place.
async fn crash(runtime: &Runtime, child: &ChildRef<ExitReason>, reason: &'static str) -> Result<(), Error> {
    let process = child.address()?;
    process.send(ExitReason::error(reason))?;
    process.ended().await;
    child.up(runtime, 5 * SECOND).await?;
    Ok(())
}

async fn run(runtime: &Runtime) -> Result<(), Error> {
    // References that stay good across restarts, and across those of the supervisor above.
    let (reader, parser) = (ChildRef::vacant(), ChildRef::vacant());
    let flaky = ChildSpec::worker("flaky", worker)
        .backoff(Backoff::default().first(Duration::from_millis(50)).give_up_after(4).leave_failed())
        .build()?;
    let counter = ChildSpec::gen_server("counter", Counter::default).build()?;
    let (flaky_ref, counter_ref): (_, ServerRef<Ask>) = (flaky.reference(), counter.server());
    let (reader_at, parser_at) = (reader.clone(), parser.clone());
    let pipeline = ChildSpec::supervisor("pipeline", move || {
        // The parser is no use without what the reader had sent it: they are restarted together.
        Supervisor::new()
            .strategy(Strategy::RestForOne)
            .intensity(1, 60 * SECOND)
            .child(ChildSpec::worker("reader", worker).at(&reader_at))
            .child(ChildSpec::worker("parser", worker).at(&parser_at))
    });
    let tree = Supervisor::new().child(counter).child(flaky).child(pipeline).start(runtime).await?;
    let dumps = Tree::new(runtime);
    dumps.add_root("root", tree.observe());

    println!("1. all are up");
    show(&dumps);

    println!("2. a server crashes, and is asked again by the same reference");
    println!("   it was asked {} times", counter_ref.call(Ask::Count).await?);
    let first = counter_ref.address()?;
    counter_ref.send(Ask::Crash)?;
    first.ended().await;
    counter_ref.place().up(runtime, 5 * SECOND).await?;
    println!("   it was asked {} times", counter_ref.call(Ask::Count).await?);

    println!("3. the reader crashes: the parser is restarted with it");
    crash(runtime, &reader, "the disk is full").await?;
    parser.up(runtime, 5 * SECOND).await?;
    show(&dumps);

    println!("4. once more is once too often for the pipeline: it ends, and the supervisor above starts it anew");
    crash(runtime, &reader, "the disk is full").await?;
    parser.up(runtime, 5 * SECOND).await?;
    show(&dumps);

    println!("5. a child that keeps failing waits longer and longer, and is left failed");
    for attempt in 1..=4 {
        let process = flaky_ref.up(runtime, 5 * SECOND).await?;
        process.send(ExitReason::error("no route to host"))?;
        process.ended().await;
        println!("   failed {attempt} times: {flaky_ref:?}");
    }
    while flaky_ref.address() != Err(colloquium::Unavailable::Stopped) {
        runtime.sleep(Duration::from_millis(1)).await;
    }
    show(&dumps);

    println!("6. started by hand, and all stopped, right to left");
    tree.restart_child("flaky").await?;
    let report = tree.stop(5 * SECOND).await;
    println!("   ended: {}; left behind: {}", report.reason, report.wedged.len());

    // A server need not have a supervisor.
    let alone = Server::new(Counter::default()).start(runtime).await?;
    alone.stop(ExitReason::Normal, SECOND).await?;
    Ok(())
}

fn main() -> Result<(), Error> {
    let runtime = Runtime::new()?;
    runtime.block_on(run(&runtime))
}
