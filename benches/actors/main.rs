//! Driver: the workloads of the peers' benchmark program on this runtime, with that program's command line.
//!
//! `actors list` prints every case; `actors colloquium WORKLOAD [N]` runs one and prints one line of JSON. The environment
//! variable `PEERS_THREADS` sets the number of workers (2). So the peers' runner can take this program into its own
//! interleaved run. What each workload does is said at its function; where the peers have it, it goes by their rules.
#![forbid(unsafe_code)]

mod bookkeeping;
mod deaths;
mod dispatches;
mod dumps;
mod hogs;
mod lifetimes;
mod measure;
mod messages;
mod sockets;
mod timers;
mod trees;

use colloquium::{RoutingFunction, Runtime};
use measure::{Outcome, peak_megabytes, processor_seconds};

/// Pairs, clients and their servers of the workloads whose name ends in 64.
const PAIRS: u64 = 64;
/// Tokens of `ring100`.
const TOKENS: u64 = 100;

type Workload = (&'static str, u64, fn(&Runtime, u64) -> Outcome);

/// Name, default count, and what runs it. The counts make a case last about half a second.
const WORKLOADS: [Workload; 56] = [
    ("spawn_exit", 2_000_000, |runtime, n| lifetimes::spawn_exit(runtime, n, 64)),
    ("spawn_exit_burst", 1_000_000, |runtime, n| lifetimes::spawn_exit(runtime, n, u64::MAX)),
    ("spawn_hold", 1_000_000, lifetimes::spawn_hold),
    ("pingpong", 5_000_000, |runtime, n| messages::pingpong(runtime, n, 1)),
    ("pingpong64", 10_000_000, |runtime, n| messages::pingpong(runtime, n, PAIRS)),
    ("call", 3_000_000, |runtime, n| messages::call(runtime, n, 1, true)),
    ("call64", 5_000_000, |runtime, n| messages::call(runtime, n, PAIRS, true)),
    ("ring", 10_000_000, |runtime, n| messages::ring(runtime, n, 1)),
    ("ring100", 20_000_000, |runtime, n| messages::ring(runtime, n, TOKENS)),
    ("fan_in", 10_000_000, messages::fan_in),
    ("fan_in_bounded", 5_000_000, messages::fan_in_bounded),
    ("fan_out", 10_000_000, messages::fan_out),
    ("big", 6_000_000, messages::big),
    ("fork_join", 18, lifetimes::fork_join),
    ("dispatch", 1_000_000, |runtime, n| dispatches::dispatch(runtime, n, 1024)),
    ("dispatch64", 1_000_000, |runtime, n| dispatches::dispatch(runtime, n, 64)),
    ("dispatch1", 500_000, |runtime, n| dispatches::dispatch(runtime, n, 1)),
    ("dispatch_turn_8", 500_000, |runtime, n| dispatches::wide(runtime, n, 8, RoutingFunction::round_robin())),
    ("dispatch_turn_10000", 500_000, |runtime, n| dispatches::wide(runtime, n, 10_000, RoutingFunction::round_robin())),
    ("dispatch_two_8", 500_000, |runtime, n| dispatches::wide(runtime, n, 8, RoutingFunction::two_random_choices())),
    ("dispatch_two_10000", 500_000, |runtime, n| {
        dispatches::wide(runtime, n, 10_000, RoutingFunction::two_random_choices())
    }),
    ("dispatch_hash_8", 500_000, |runtime, n| {
        dispatches::wide(runtime, n, 8, RoutingFunction::consistent_hash(|number: &u64| *number))
    }),
    ("dispatch_hash_10000", 500_000, |runtime, n| {
        dispatches::wide(runtime, n, 10_000, RoutingFunction::consistent_hash(|number: &u64| *number))
    }),
    ("dispatch_mem", 200_000, dispatches::waiting),
    ("reroute", 2_000, |runtime, n| dispatches::reroute(runtime, n, dispatches::By::Panic)),
    ("reroute_kill", 2_000, |runtime, n| dispatches::reroute(runtime, n, dispatches::By::Kill)),
    ("mailbox_mem", 10_000_000, messages::mailbox_mem),
    ("link_storm_10000", 10_000, |runtime, n| deaths::storm(runtime, n, 21, deaths::linked)),
    ("link_storm_100000", 100_000, |runtime, n| deaths::storm(runtime, n, 7, deaths::linked)),
    ("monitor_storm_10000", 10_000, |runtime, n| deaths::storm(runtime, n, 21, deaths::watching)),
    ("monitor_storm_100000", 100_000, |runtime, n| deaths::storm(runtime, n, 7, deaths::watching)),
    ("monitor_many_10000", 10_000, |runtime, n| deaths::monitor_many(runtime, n, 21)),
    ("monitor_many_100000", 100_000, |runtime, n| deaths::monitor_many(runtime, n, 7)),
    ("restart_bursts_of_300", 60_000, trees::restart_bursts),
    ("restart_1_of_1", 20_000, |runtime, n| trees::restart_one(runtime, n, 1)),
    ("restart_1_of_1000", 20_000, |runtime, n| trees::restart_one(runtime, n, 1000)),
    ("restart_one_for_all_1000", 1000, |runtime, n| trees::restart_all(runtime, n, 50)),
    ("tree_simple_one_for_one_100k", 100_000, |runtime, n| trees::tree(runtime, n, trees::Shape::Dynamic)),
    ("tree_one_for_one_100k", 100_000, |runtime, n| trees::tree(runtime, n, trees::Shape::Static)),
    ("tree_100_sups_of_1000", 100_000, |runtime, n| trees::tree(runtime, n, trees::Shape::Nested)),
    ("timer_start", 500_000, |runtime, n| timers::start_and_cancel(runtime, n, timers::Timed::Start)),
    ("timer_cancel", 500_000, |runtime, n| timers::start_and_cancel(runtime, n, timers::Timed::Cancel)),
    ("timer_lateness_5ms", 400, timers::lateness),
    ("register_unregister", 4_000_000, bookkeeping::register_unregister),
    ("whereis", 20_000_000, bookkeeping::whereis),
    ("link_unlink", 4_000_000, bookkeeping::link_unlink),
    ("monitor_demonitor", 3_000_000, bookkeeping::monitor_demonitor),
    ("pair_beside_none", 200_000, |runtime, n| hogs::pair_beside(runtime, n, 0)),
    ("pair_beside_yielding", 20_000, |runtime, n| hogs::pair_beside(runtime, n, 4)),
    ("pair_beside_stuck", 4, hogs::pair_while_stuck),
    ("tcp_echo", 100_000, |runtime, n| sockets::echo(runtime, n, 1, false)),
    ("tcp_echo64", 200_000, |runtime, n| sockets::echo(runtime, n, PAIRS, false)),
    ("tcp_echo_busy", 2_000, |runtime, n| sockets::echo(runtime, n, 1, true)),
    ("call_untimed", 3_000_000, |runtime, n| messages::call(runtime, n, 1, false)),
    ("dump", 100_000, dumps::dump),
    ("call64_untimed", 5_000_000, |runtime, n| messages::call(runtime, n, PAIRS, false)),
];

fn run(&(name, default, workload): &Workload, n: Option<u64>) {
    let workers = std::env::var("PEERS_THREADS").map_or(2, |text| text.parse().expect("PEERS_THREADS is a number"));
    // The largest workloads hold a million processes and their driver.
    let runtime = Runtime::builder().workers(workers).max_processes(1 << 24).build().expect("a runtime");
    if let Ok(beside) = std::env::var("ACTORS_BESIDE") {
        measure::idle_beside(&runtime, beside.parse().expect("ACTORS_BESIDE is a number"));
    }
    let outcome = workload(&runtime, n.unwrap_or(default));
    let extras: String = outcome.extras.iter().map(|(key, value)| format!(",\"{key}\":{value:.3}")).collect();
    let (cpu, system) = processor_seconds();
    println!(
        "{{\"peer\":\"colloquium\",\"workload\":\"{name}\",\"value\":{:.3},\"unit\":\"{}\",\"n\":{},\"wall_s\":{:.3},\
         \"rss_mb\":{:.1},\"cpu_s\":{cpu:.2},\"sys_s\":{system:.2}{extras}}}",
        outcome.value,
        outcome.unit,
        outcome.n,
        outcome.wall_seconds,
        peak_megabytes(),
    );
    // Nobody waits for a million processes to be taken down.
    std::process::exit(0);
}

fn main() {
    // Cargo adds `--bench` to whatever a bench target is called with.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["list"] => {
            for (name, n, _) in &WORKLOADS {
                println!("colloquium {name} {n}");
            }
        }
        ["colloquium", wanted] | ["colloquium", wanted, _] => {
            let workload = WORKLOADS.iter().find(|(name, ..)| *name == wanted);
            let n = words.get(2).map(|text| text.parse().expect("the count is a number"));
            run(workload.unwrap_or_else(|| panic!("no workload {wanted}")), n);
        }
        _ => eprintln!(
            "actors list | actors colloquium WORKLOAD [N]\n\
             PEERS_THREADS: workers, 2 unless given; ACTORS_BESIDE: so many idle processes live meanwhile, none unless given"
        ),
    }
}
