//! Driver: round trips over TCP on the loopback, client and server in one runtime.
//!
//! `benches/compare-tokio` has the same program on tokio.
use crate::hogs::{Kind, hogs};
use crate::measure::{Latch, Outcome, now, percentiles, processor_seconds};
use colloquium::net::{TcpListener, TcpStream};
use colloquium::{Context, Runtime};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// Bytes of a message.
const MESSAGE: usize = 64;

async fn echo_back(stream: TcpStream) {
    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
}

/// `n` round trips in all over so many connections, one at a time on each; with `busy`, beside four processes that take
/// all processors and give way.
pub(crate) fn echo(runtime: &Runtime, n: u64, connections: u64, busy: bool) -> Outcome {
    let listener = TcpListener::bind(runtime, "127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let at = listener.local_addr().expect("it has one");
    let server = runtime.spawn(async move |mut ctx: Context<()>| {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            stream.set_nodelay(true).expect("TCP has it");
            ctx.spawn(async move |_: Context<()>| echo_back(stream).await).expect("a process");
        }
    });
    server.expect("a process");
    let over = hogs(runtime, if busy { 4 } else { 0 }, Kind::Yields);
    let (all, (latch, done)) = (Arc::new(Mutex::new(Vec::new())), Latch::new(connections));
    let (start, (processor, _)) = (now(), processor_seconds());
    for _ in 0..connections {
        let (all, latch, handle) = (Arc::clone(&all), Arc::clone(&latch), runtime.handle());
        let client = runtime.spawn(async move |_: Context<()>| {
            let stream = TcpStream::connect(&handle, at).await.expect("it listens");
            stream.set_nodelay(true).expect("TCP has it");
            let (mut times, mut buffer) = (Vec::with_capacity((n / connections) as usize), [0; MESSAGE]);
            for _ in 0..n / connections {
                let start = now();
                stream.write_all(&[7; MESSAGE]).await.expect("it reads");
                stream.read_exact(&mut buffer).await.expect("it answers");
                times.push(start.elapsed());
            }
            all.lock().expect("no client fails").append(&mut times);
            latch.hit();
        });
        client.expect("a process");
    }
    done.wait();
    let wall_seconds = start.elapsed().as_secs_f64();
    let processor = processor_seconds().0 - processor;
    over.store(true, Ordering::Relaxed);
    let percentile = percentiles(std::mem::take(&mut *all.lock().expect("no client fails")));
    let extras = vec![
        ("p99_us", percentile(99)),
        ("cpu_us_each", processor * 1e6 / n as f64),
        ("each_second", n as f64 / wall_seconds),
    ];
    Outcome { value: percentile(50), unit: "us p50", n, wall_seconds, extras }
}
