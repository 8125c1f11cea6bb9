//! Dispatch simulated: random groups under random failures, thousands of seeds. Invariants 1 to 5 hold all along (safety); then
//! the failures stop, and every dispatch has its outcome, the group works again, and a drain leaves nothing (liveness).
//!
//! `COLLOQUIUM_SEEDS=100000 cargo test --release --test dispatch_model` looks at more of them.
mod world;

use colloquium::prelude::*;
use colloquium::simulation::{Faults, Simulation};
use colloquium::testing::Check;
use std::time::Duration;
use world::Ledger;
use world::plan::Plan;
use world::run::World;

/// Of the seeds so many run twice, to be compared.
const TWICE: u64 = 40;

async fn model(runtime: Runtime, stalls: bool) {
    let ledger = Ledger::new(Plan::draw(&mut runtime.rng()), stalls, &runtime);
    let group = ledger.plan.start(&ledger).await;
    let mut world = World::new(ledger, group);
    world.go_wrong().await;
    if world.ledger.plan.shuts_down {
        return world.shut_down().await;
    }
    if !world.ledger.plan.drains_early {
        world.ledger.calm_down();
        world.recover().await;
    }
    world.drain().await;
}

fn explore(seeds: u64, simulation: &Simulation, body: &impl AsyncFn(Runtime)) {
    if std::env::var_os("COLLOQUIUM_SEED").is_none() {
        for seed in 0..TWICE {
            let run = simulation.clone().seed(seed).run(body);
            assert!(run.is_ok(), "{}", run.expect_err("it is none"));
        }
    }
    Check::new().seeds(seeds).simulation(simulation.clone().once()).run_seeds(body);
}

#[test]
fn invariants_one_to_five_hold_whatever_goes_wrong() {
    explore(5000, &Simulation::new(0), &async |runtime: Runtime| model(runtime, false).await);
}

/// Consumers stand still for seconds, as in a loop that never awaits: those that are killed meanwhile are wedged. What one process
/// sends another is late, and overtaken by what others send.
#[test]
fn the_invariants_hold_while_processes_stand_still_and_signals_are_late() {
    let is_consumer =
        |process: &colloquium::ProcessInfo| process.label.as_deref().is_some_and(|label| label.contains('/'));
    let faults = Faults::new().stalls(100, Duration::from_secs(4)).delays(10).only(is_consumer).until_step(3000);
    explore(1500, &Simulation::new(0).faults(faults), &async |runtime: Runtime| model(runtime, true).await);
}
