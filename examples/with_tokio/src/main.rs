//! Driver: libraries made for tokio within processes, and addresses within tokio's tasks:
//! `cargo run -p with_tokio --features guest`
use colloquium::prelude::*;
use std::time::Duration;
use tokio::net::TcpListener;
use with_tokio::web::{Failure, connect, fetch};
use with_tokio::{store, web};

/// What the counter of pages is asked.
enum Msg {
    Fetched(String),
    HowMany(ReplyTo<usize>),
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    // Our processes run on workers of their own. Tokio's timers and sockets work in them: this runtime is their guest.
    let runtime = Runtime::builder().tokio().build()?;

    let (store_listener, web_listener) =
        (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
    let (store_at, web_at) = (store_listener.local_addr()?, web_listener.local_addr()?);
    store::start(&runtime, store_listener)?;
    let web = web::start(&runtime, web_listener, connect(store_at).await?)?;

    let counter = runtime.spawn(async |mut ctx: Context<Msg>| {
        let mut pages = Vec::new();
        loop {
            match ctx.recv().await {
                Msg::Fetched(page) => pages.push(page),
                Msg::HowMany(reply_to) => drop(reply_to.send(pages.len())),
            }
        }
    })?;

    // A process that uses hyper's client, and tokio's time.
    let to_counter = counter.clone();
    let visitor = runtime.spawn(async move |_: Context<()>| -> Result<(), Failure> {
        for _ in 0..3 {
            let (_, page) = tokio::time::timeout(Duration::from_secs(10), fetch(web_at, "/")).await??;
            println!("a process fetched: {page}");
            to_counter.send(Msg::Fetched(page))?;
        }
        Ok(())
    })?;
    let reason = visitor.ended().await; // an address is awaited on tokio as on anything else
    if reason != ExitReason::Normal {
        return Err(reason.into());
    }

    // And a task of tokio's that calls a process.
    let called = tokio::spawn(async move {
        let (_, page) = fetch(web_at, "/").await?;
        counter.send(Msg::Fetched(page))?;
        Ok::<usize, Failure>(counter.call(Msg::HowMany).await?)
    });
    println!("pages fetched: {}", called.await??);

    web.kill();
    web.ended().await;
    println!(
        "after the web server was killed: {}",
        if fetch(web_at, "/").await.is_err() { "nobody there" } else { "?" }
    );
    let report = runtime.shutdown(Duration::from_secs(5)).await.into_result()?;
    println!("processes stopped: {}, killed: {}", report.stopped, report.killed);
    Ok(())
}
