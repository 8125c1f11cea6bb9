//! Driver: the clock, what the system tells of this program, how a workload says that it is done, and its result.
use colloquium::{Context, Runtime};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// A workload that takes longer hangs; the peers' runner gives up after this time as well.
const PATIENCE: Duration = Duration::from_secs(120);

/// Loops of sends and the like, which never wait, yield after so many, or one process would hold its worker to the end
/// of the workload. The bare prototype does so too. The sender of `fan_out` does not, as the peers' do not (theirs of
/// `fan_in` do not either).
pub(crate) const YIELD_EVERY: u64 = 64;

#[expect(clippy::disallowed_methods, reason = "a benchmark is about real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// What a workload found.
pub(crate) struct Outcome {
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    pub(crate) n: u64,
    pub(crate) wall_seconds: f64,
    pub(crate) extras: Vec<(&'static str, f64)>,
}

/// So many operations since `start`.
pub(crate) fn rate(n: u64, unit: &'static str, start: Instant) -> Outcome {
    rate_of(n, unit, start.elapsed())
}

pub(crate) fn rate_of(n: u64, unit: &'static str, took: Duration) -> Outcome {
    let wall_seconds = took.as_secs_f64();
    Outcome { value: n as f64 / wall_seconds, unit, n, wall_seconds, extras: Vec::new() }
}

/// The percentiles of these times, in microseconds.
pub(crate) fn percentiles(mut times: Vec<Duration>) -> impl Fn(usize) -> f64 {
    times.sort_unstable();
    move |percent| {
        let rank = (times.len() * percent).div_ceil(100).max(1);
        times[rank - 1].as_secs_f64() * 1e6
    }
}

/// Counts down to zero, then tells the one who waits.
pub(crate) struct Latch {
    left: AtomicU64,
    done: Sender<()>,
}

impl Latch {
    pub(crate) fn new(n: u64) -> (Arc<Self>, Wait<()>) {
        let (done, wait) = channel();
        (Arc::new(Self { left: AtomicU64::new(n), done }), Wait(wait))
    }

    #[inline]
    pub(crate) fn hit(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Whoever waited may have given up.
            let _ = self.done.send(());
        }
    }
}

/// What a thread outside the runtime waits for.
pub(crate) struct Wait<T>(Receiver<T>);

impl<T> Wait<T> {
    pub(crate) fn wait(self) -> T {
        self.0.recv_timeout(PATIENCE).expect("the workload hangs, or a process of it has failed")
    }
}

/// Runs `body` in a process, and returns here what it returns there.
pub(crate) fn begin<M, T, F, Fut>(runtime: &Runtime, body: F) -> Wait<T>
where
    M: Send + 'static,
    T: Send + 'static,
    F: FnOnce(Context<M>) -> Fut,
    Fut: Future<Output = T> + Send + 'static,
{
    let (give, get) = channel();
    let spawned = runtime.spawn(|ctx| {
        let body = body(ctx);
        async move {
            let _ = give.send(body.await);
        }
    });
    spawned.expect("a process");
    Wait(get)
}

/// Spawns `n` processes that wait for ever, and returns when all wait.
pub(crate) fn idle_beside(runtime: &Runtime, n: u64) {
    let (latch, waiting) = Latch::new(n);
    let spawned = begin(runtime, async move |mut ctx: Context<()>| {
        for i in 0..n {
            let latch = Arc::clone(&latch);
            let idle = ctx.spawn(async move |mut ctx: Context<()>| {
                latch.hit();
                ctx.recv().await;
            });
            idle.expect("a process");
            if i % YIELD_EVERY == 0 {
                ctx.yield_now().await;
            }
        }
    });
    spawned.wait();
    waiting.wait();
}

/// Bytes of this program in memory.
pub(crate) fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux tells it");
    let pages: u64 = text.split(' ').nth(1).expect("the second number").parse().expect("a number");
    pages * 4096
}

/// The most memory this program has had.
pub(crate) fn peak_megabytes() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux tells it");
    let kilobytes = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line of that name");
    kilobytes.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1024.0
}

/// Processor time of all threads so far, in all and in the kernel.
pub(crate) fn processor_seconds() -> (f64, f64) {
    let text = std::fs::read_to_string("/proc/self/stat").expect("Linux tells it");
    // The name of the program, which may hold spaces, ends at the last bracket.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let [user, system] = [11, 12].map(|at| fields[at].parse::<f64>().expect("ticks of 10 ms") / 100.0);
    (user + system, system)
}

/// The peers' generator (xorshift), so that the same choices are made.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed + 1) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `n` other than `me`.
    #[inline]
    pub(crate) fn other(&mut self, n: u64, me: u64) -> usize {
        let other = self.next() % (n - 1);
        (if other >= me { other + 1 } else { other }) as usize
    }
}
