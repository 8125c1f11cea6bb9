//! What a guest costs a poll: `cargo bench -p with_tokio --features guest --bench poll`
//!
//! A process yields over and over, on a runtime without a guest and on one with: the difference of a poll's time. The two take
//! turns, so that what else the machine does falls on both; medians.
use colloquium::{Context, Runtime};
use std::time::Duration;

const POLLS: u32 = 2_000_000;
const TURNS: usize = 9;

fn poll_nanoseconds(runtime: &Runtime) -> f64 {
    let yields = async |mut ctx: Context<()>| {
        for _ in 0..POLLS {
            ctx.yield_now().await;
        }
    };
    let before = runtime.runtime_info().uptime;
    let process = runtime.spawn(yields).expect("room");
    runtime.block_on(process.ended());
    let took: Duration = runtime.runtime_info().uptime - before;
    took.as_nanos() as f64 / f64::from(POLLS)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn main() {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
    let alone = Runtime::builder().workers(1).build().expect("a runtime");
    let host = Runtime::builder().workers(1).tokio_handle(tokio.handle().clone()).build().expect("a runtime");
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        without.push(poll_nanoseconds(&alone));
        with.push(poll_nanoseconds(&host));
    }
    let (without, with) = (median(without), median(with));
    println!("a poll without a guest {without:.1} ns, with {with:.1} ns: {:+.1} ns", with - without);
}
