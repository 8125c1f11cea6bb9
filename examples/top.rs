//! A live view of a program in a terminal, once a second: `cargo run --example top`. With `--once`, or where there is no terminal,
//! it shows the program once and ends.
//!
//! The program has what there is to see: connections that come and go, a worker that keeps failing, one that computes for too
//! long, and a queue that fills.
use colloquium::prelude::*;
use colloquium::tree::{Look, Root, RunningRoot, Text};
use colloquium::{Backoff, ChildrenSet};
use std::io::{IsTerminal, Write};
use std::time::Duration;

type Error = Box<dyn std::error::Error + Send + Sync>;

const SECOND: Duration = Duration::from_secs(1);

/// Serves connections that last for a while.
async fn accept(mut ctx: Context<()>, connections: ChildrenSet) -> Result<(), Error> {
    for n in 0_u64.. {
        let lasts = Duration::from_millis(200 + n * 37 % 3000);
        let served = connections.spawn_with(
            |build| build.label("connection"),
            async move |mut ctx: Context<()>| {
                // Nobody says anything to it.
                let _ = ctx.recv_timeout(lasts).await;
            },
        );
        // While the set is being restarted, nobody is let in.
        drop(served);
        // The time between two of them; a message would end the wait.
        let _ = ctx.recv_timeout(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Cannot reach what it wants to reach.
async fn uplink(mut ctx: Context<()>) -> Result<(), Error> {
    let _ = ctx.recv_timeout(Duration::from_millis(300)).await;
    Err("no route to host".into())
}

/// Computes without letting others run, as it should not: half a second, now and then.
async fn report(mut ctx: Context<()>) {
    loop {
        let _ = ctx.recv_timeout(3 * SECOND).await;
        let began = ctx.runtime().now();
        let mut sum = 0_u64;
        while ctx.runtime().now().saturating_sub(began) < SECOND / 2 {
            sum = sum.wrapping_mul(31).wrapping_add(1);
        }
        std::hint::black_box(sum);
    }
}

/// Takes out more slowly than others put in.
async fn archive(mut ctx: Context<u64>) {
    loop {
        ctx.recv().await;
        let _ = ctx.recv_matching_timeout(Duration::from_millis(20), |n| *n == u64::MAX).await;
    }
}

async fn source(mut ctx: Context<()>, archive: ChildRef<u64>) {
    for n in 0.. {
        // A full archive refuses: that is what is to be seen.
        drop(archive.send(n));
        let _ = ctx.recv_timeout(Duration::from_millis(4)).await;
    }
}

async fn start(runtime: &Runtime) -> Result<RunningRoot, Error> {
    let connections = ChildrenSet::new();
    let archive_spec = ChildSpec::worker("archive", archive).mailbox(Mailbox::bounded(400)).build()?;
    let archive_place = archive_spec.reference();
    let backoff = Backoff::default().first(Duration::from_millis(500)).give_up_after(8).leave_failed();
    let web = {
        let connections = connections.clone();
        move || {
            let inside = connections.clone();
            Supervisor::new()
                .strategy(Strategy::RestForOne)
                .child(ChildSpec::set("connections", &connections))
                .child(ChildSpec::worker("acceptor", move |ctx| accept(ctx, inside.clone())))
        }
    };
    let supervisor = Supervisor::new()
        .child(archive_spec)
        .child(ChildSpec::worker("source", move |ctx| source(ctx, archive_place.clone())))
        .child(ChildSpec::supervisor("web", web))
        .child(ChildSpec::worker("uplink", uplink).backoff(backoff))
        .child(ChildSpec::worker("report", report));
    let root = Root::new(supervisor);
    #[cfg(unix)]
    let root = root.stop_on_signals(5 * SECOND).dump_on_signal();
    Ok(root.start(runtime).await?)
}

/// The size of the terminal, as far as the shell has told.
fn columns() -> usize {
    std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(100)
}

fn main() -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    let once = std::env::args().any(|word| word == "--once") || !out.is_terminal();
    let runtime = Runtime::builder().name("top").build()?;
    let root = runtime.block_on(start(&runtime))?;
    let plain = Text::new().width(columns());
    let text = if out.is_terminal() { plain.colours() } else { plain };
    loop {
        let over = runtime.block_on(async {
            let mut finished = std::pin::pin!(root.finished());
            let mut tick = std::pin::pin!(runtime.sleep(SECOND));
            std::future::poll_fn(|cx| match finished.as_mut().poll(cx) {
                std::task::Poll::Ready(report) => std::task::Poll::Ready(Some(report)),
                std::task::Poll::Pending => tick.as_mut().poll(cx).map(|()| None),
            })
            .await
        });
        if let Some(report) = over {
            writeln!(out, "{report}")?;
            return Ok(());
        }
        let dump = root.tree().look(&Look::new().children(8));
        if !once {
            // The cursor home, and what is below it away: without a flicker.
            write!(out, "\x1b[H\x1b[2J")?;
        }
        out.write_all(dump.text(&text).as_bytes())?;
        out.flush()?;
        if once {
            let report = runtime.block_on(root.stop(5 * SECOND));
            writeln!(out, "{report}")?;
            return Ok(());
        }
    }
}
