//! Driver: the socket workloads of `benches/actors` on tokio, with that program's command line and output.
//!
//! `compare-tokio list`, `compare-tokio tokio WORKLOAD [N]`; `PEERS_THREADS` sets the number of workers (2).
#![forbid(unsafe_code)]
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const MESSAGE: usize = 64;
const TURN: Duration = Duration::from_micros(5);
/// Name, default count, connections, and whether others take all processors.
const WORKLOADS: [(&str, u64, u64, bool); 3] =
    [("tcp_echo", 100_000, 1, false), ("tcp_echo64", 200_000, 64, false), ("tcp_echo_busy", 2_000, 1, true)];

fn processor_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").expect("Linux tells it");
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    [11, 12].map(|at: usize| fields[at].parse::<f64>().expect("ticks of 10 ms") / 100.0).iter().sum()
}

async fn echo_back(mut stream: TcpStream) {
    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
}

async fn hog(over: Arc<AtomicBool>, begun: Arc<AtomicU64>) {
    begun.fetch_add(1, Ordering::SeqCst);
    while !over.load(Ordering::Relaxed) {
        let turn = Instant::now();
        while turn.elapsed() < TURN {
            std::hint::spin_loop();
        }
        tokio::task::yield_now().await;
    }
}

async fn client(at: std::net::SocketAddr, n: u64) -> Vec<Duration> {
    let mut stream = TcpStream::connect(at).await.expect("it listens");
    stream.set_nodelay(true).expect("TCP has it");
    let (mut times, mut buffer) = (Vec::with_capacity(n as usize), [0; MESSAGE]);
    for _ in 0..n {
        let start = Instant::now();
        stream.write_all(&[7; MESSAGE]).await.expect("it reads");
        stream.read_exact(&mut buffer).await.expect("it answers");
        times.push(start.elapsed());
    }
    times
}

fn run(name: &str, n: u64, connections: u64, busy: bool) {
    let workers = std::env::var("PEERS_THREADS").map_or(2, |text| text.parse().expect("PEERS_THREADS is a number"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_io().build();
    let runtime = runtime.expect("a runtime");
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
    let at = listener.local_addr().expect("it has one");
    runtime.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            stream.set_nodelay(true).expect("TCP has it");
            tokio::spawn(echo_back(stream));
        }
    });
    let (over, begun, hogs) = (Arc::default(), Arc::default(), if busy { 4 } else { 0 });
    for _ in 0..hogs {
        runtime.spawn(hog(Arc::clone(&over), Arc::clone(&begun)));
    }
    while begun.load(Ordering::SeqCst) < hogs {
        std::thread::yield_now();
    }
    let all = Arc::new(Mutex::new(Vec::new()));
    let (start, processor) = (Instant::now(), processor_seconds());
    let (done, wait) = std::sync::mpsc::channel();
    for _ in 0..connections {
        let (all, done) = (Arc::clone(&all), done.clone());
        runtime.spawn(async move {
            let mut times = client(at, n / connections).await;
            all.lock().expect("no client fails").append(&mut times);
            done.send(()).expect("the bench waits");
        });
    }
    (0..connections).for_each(|_| wait.recv_timeout(Duration::from_secs(120)).expect("it hangs"));
    let (wall, processor) = (start.elapsed().as_secs_f64(), processor_seconds() - processor);
    over.store(true, Ordering::Relaxed);
    let mut times = std::mem::take(&mut *all.lock().expect("no client fails"));
    times.sort_unstable();
    let percentile = |percent: usize| times[(times.len() * percent).div_ceil(100).max(1) - 1].as_secs_f64() * 1e6;
    println!(
        "{{\"peer\":\"tokio\",\"workload\":\"{name}\",\"value\":{:.3},\"unit\":\"us p50\",\"n\":{n},\"wall_s\":{wall:.3},\
         \"cpu_s\":{processor:.2},\"p99_us\":{:.3},\"cpu_us_each\":{:.3},\"each_second\":{:.3}}}",
        percentile(50),
        percentile(99),
        processor * 1e6 / n as f64,
        n as f64 / wall,
    );
    std::process::exit(0);
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["list"] => WORKLOADS.iter().for_each(|(name, n, ..)| println!("tokio {name} {n}")),
        ["tokio", wanted] | ["tokio", wanted, _] => {
            let workload = WORKLOADS.iter().find(|(name, ..)| *name == wanted);
            let (name, default, connections, busy) = workload.unwrap_or_else(|| panic!("no workload {wanted}"));
            let n = words.get(2).map_or(*default, |text| text.parse().expect("the count is a number"));
            run(name, n, *connections, *busy);
        }
        _ => eprintln!("compare-tokio list | compare-tokio tokio WORKLOAD [N]"),
    }
}
