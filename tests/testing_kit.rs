//! The kit for users' tests: one body on threads and on seeds, how a failure is told and repeated, probes, and what is left over.
use colloquium::simulation::{Faults, Order, Simulation, is_simulated};
use colloquium::testing::{self, Check, Probe, assert_quiet};
use colloquium::{Address, Context, Down, ExitReason, Runtime, sometimes};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn said(panic: Box<dyn std::any::Any + Send>) -> String {
    panic.downcast::<String>().map_or_else(|_| "no text".to_owned(), |text| *text)
}

fn failing(test: impl FnOnce()) -> String {
    said(catch_unwind(AssertUnwindSafe(test)).expect_err("it was to fail"))
}

#[test]
fn a_test_runs_on_one_worker_and_two_and_on_its_seeds() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let saw = Arc::clone(&seen);
    Check::new().seeds(7).run(async move |runtime| {
        let workers = runtime.runtime_info().workers.len();
        assert_eq!(is_simulated(), workers == 0);
        saw.lock().expect("no panic").push(workers);
    });
    let mut seen = seen.lock().expect("no panic").clone();
    seen.sort_unstable();
    // Each seed twice.
    assert_eq!(seen, [vec![0; 14], vec![1, 2]].concat());
}

async fn race(runtime: Runtime) {
    won_by_another_than("tortoise", runtime).await;
}

/// Two processes and one that minds who is first.
async fn won_by_another_than(loser: &str, runtime: Runtime) {
    let probe = Probe::<&str>::new(&runtime);
    for name in ["tortoise", "hare"] {
        let judge = probe.address();
        runtime.spawn(async move |_: Context<()>| drop(judge.send(name))).expect("room for a process");
    }
    assert_ne!(probe.expect(SECOND).await, loser);
}

#[test]
fn a_failure_tells_its_seed_and_how_to_repeat_it() {
    let told = failing(|| Check::new().workers(&[]).run(race));
    let after = told.split("COLLOQUIUM_SEED=").nth(1).expect("it says how to repeat it");
    let seed: u64 = after.split(' ').next().and_then(|seed| seed.parse().ok()).expect("a number");
    assert!(after.contains("cargo test a_failure_tells_its_seed_and_how_to_repeat_it"), "{told}");
    assert!(told.contains(&format!("simulation of seed {seed} failed")) && told.contains("(probe)"), "{told}");
    assert!((0..seed).all(|seed| Simulation::new(seed).run(race).is_ok()), "the first that fails");
    let again = Simulation::new(seed).run(race).expect_err("it is repeated");
    assert!(told.contains(&again.to_string()));
}

/// Run by the next test, in a process of its own; by itself it asks for nothing.
#[test]
fn planted_for_the_next_test() {
    if let Ok(loser) = std::env::var("COLLOQUIUM_PLANTED") {
        Check::new().run(async move |runtime| won_by_another_than(&loser, runtime).await);
    }
}

fn planted(variables: &[(&str, &str)]) -> (bool, String) {
    planted_for("tortoise", variables)
}

fn planted_for(loser: &str, variables: &[(&str, &str)]) -> (bool, String) {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command.args(["--exact", "planted_for_the_next_test"]).env("COLLOQUIUM_PLANTED", loser).env("RUST_BACKTRACE", "0");
    for name in ["COLLOQUIUM_SEED", "COLLOQUIUM_SEEDS", "COLLOQUIUM_TRACE", "COLLOQUIUM_CHOICES"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied());
    let output = command.output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

#[test]
fn the_environment_repeats_a_seed_and_shows_more_of_it() {
    let fails = |seed: &u64| Simulation::new(*seed).run(race).is_err();
    let bad = (0..100).find(fails).expect("a coin falls either way").to_string();
    let good = (0..100).find(|seed| !fails(seed)).expect("a coin falls either way").to_string();
    let (passed, told) = planted(&[("COLLOQUIUM_SEED", &bad)]);
    assert!(!passed && told.contains(&format!("simulation of seed {bad} failed")), "{told}");
    let (passed, told) = planted(&[("COLLOQUIUM_SEED", &good)]);
    assert!(passed, "that seed and nothing else: {told}");
    let (passed, told) = planted(&[("COLLOQUIUM_SEED", &bad), ("COLLOQUIUM_TRACE", "2")]);
    assert!(!passed && told.contains("events before)"), "{told}");
    let (passed, told) = planted(&[("COLLOQUIUM_SEED", "seven")]);
    assert!(!passed && told.contains("COLLOQUIUM_SEED is no number"), "{told}");
}

/// The value that a text says a variable should have.
fn value_of<'a>(variable: &str, told: &'a str) -> &'a str {
    let after = told.rsplit(variable).next().and_then(|after| after.strip_prefix('='));
    after.and_then(|after| after.split(' ').next()).unwrap_or_else(|| panic!("{variable} in {told}"))
}

#[test]
fn a_failure_is_shrunk_to_few_choices_and_the_environment_repeats_them() {
    // The hare is spawned last: it has to run before its turn.
    let planted = |variables: &[(&str, &str)]| planted_for("hare", variables);
    let (passed, told) = planted(&[]);
    assert!(!passed && told.contains("repeat it: COLLOQUIUM_SEED="), "{told}");
    let shown = told.matches("panicked at").count();
    // The body's own in the two runs of the seed, the two that repeat what was found, and the test's.
    assert!(shown <= 5, "what is tried is not shown: {shown}\n{told}");
    let (seed, choices) = (value_of("COLLOQUIUM_SEED", &told), value_of("COLLOQUIUM_CHOICES", &told));
    assert_eq!(choices.split(',').count(), 1, "who runs first is all that matters: {told}");
    let (passed, again) = planted(&[("COLLOQUIUM_SEED", seed), ("COLLOQUIUM_CHOICES", choices)]);
    assert!(!passed && again.contains(&format!("COLLOQUIUM_CHOICES={choices} ")), "{again}");
    let (passed, calm) = planted(&[("COLLOQUIUM_SEED", seed), ("COLLOQUIUM_CHOICES", "")]);
    assert!(passed, "without that choice it holds: {calm}");
    let (passed, told) = planted(&[("COLLOQUIUM_CHOICES", "1r1,second")]);
    assert!(!passed && told.contains("COLLOQUIUM_CHOICES: \"second\" is no choice"), "{told}");
}

#[test]
fn who_does_not_want_a_failure_shrunk_has_it_as_it_is() {
    let runs = AtomicUsize::new(0);
    let told = failing(|| {
        Check::new().without_shrinking().run_seeds(&async |runtime| {
            runs.fetch_add(1, Ordering::Relaxed);
            race(runtime).await;
        });
    });
    assert!(told.contains("COLLOQUIUM_SEED=") && !told.contains("COLLOQUIUM_CHOICES"), "{told}");
    let seed: usize = value_of("COLLOQUIUM_SEED", &told).parse().expect("a number");
    assert_eq!(runs.into_inner(), 2 * (seed + 1));
}

#[test]
fn a_mark_that_no_seed_reaches_fails_the_test() {
    let test = |faults: Faults| {
        Check::new().seeds(50).faults(faults).run_seeds(&async |runtime| {
            let process = runtime.spawn(async |mut ctx: Context<()>| {
                for _ in 0..10 {
                    ctx.yield_now().await;
                }
            });
            let reason = process.expect("room for a process").ended().await;
            sometimes!("it was killed", reason == ExitReason::Killed);
        });
    };
    test(Faults::new().kills(10));
    let told = failing(|| test(Faults::new()));
    assert!(told.contains("in none of 50 seeds") && told.contains("it was killed"), "{told}");
    sometimes!("outside of a simulation, no condition is evaluated", unwanted());
}

fn unwanted() -> bool {
    panic!("it is evaluated")
}

#[test]
fn a_test_that_fails_or_hangs_on_threads_is_told_of() {
    let test = Check::new().seeds(0).workers(&[1]);
    let told = failing(|| test.run(async |_| panic!("{}", "on a thread".to_owned())));
    assert_eq!(told, "on a thread");
    let hangs = test.patience(Duration::from_millis(300));
    let told = failing(|| {
        hangs.run(async |runtime| {
            let stuck = runtime.build().label("stuck").spawn(async |mut ctx: Context<()>| ctx.recv().await);
            stuck.expect("room for a process").ended().await;
        });
    });
    assert!(told.contains("hangs with 1 workers") && told.contains("stuck"), "{told}");
}

#[test]
fn a_probe_shows_what_it_gets_and_does_what_it_is_asked() {
    testing::check(async |runtime| {
        let (probe, peer) = (Probe::<Result<u32, Down>>::new(&runtime), Probe::<()>::new(&runtime));
        let target = peer.pid();
        probe.ask(move |ctx| ctx.monitor(target, Err)).await;
        (0..3).for_each(|number| probe.send(Ok(number)).expect("it lives"));
        for number in 0..3 {
            assert_eq!(probe.expect(SECOND).await, Ok(number));
        }
        probe.expect_none(SECOND / 100).await;
        let asked = peer.pid();
        assert_eq!(peer.ask(|ctx| ctx.pid()).await, asked);
        let peer_address = peer.address();
        drop(peer);
        let down = probe.expect(SECOND).await.expect_err("its drop kills it");
        assert_eq!((down.pid, down.reason), (Some(target), ExitReason::Killed));
        assert!(!peer_address.is_alive() && probe.received().is_empty());
    });
}

#[test]
fn a_probe_fails_when_nothing_comes_or_something_does_and_when_it_is_dead() {
    let nothing = Simulation::new(1).run(async |runtime| Probe::<()>::new(&runtime).expect(SECOND).await);
    let told = nothing.expect_err("it was to fail").to_string();
    assert!(told.contains("received nothing within 1s"), "{told}");
    let something = Simulation::new(1).run(async |runtime| {
        let probe = Probe::<u32>::new(&runtime);
        probe.send_after(SECOND / 2, 7);
        probe.expect_none(SECOND).await;
    });
    let told = something.expect_err("it was to fail").to_string();
    assert!(told.contains("received 7 within 1s"), "{told}");
    let dead = Simulation::new(1).run(async |runtime| {
        let probe = Probe::<u32>::new(&runtime);
        probe.kill();
        probe.ask(|_| ()).await;
    });
    let told = dead.expect_err("it was to fail").to_string();
    assert!(told.contains("ended before it answered: killed"), "{told}");
}

#[test]
fn what_is_left_over_is_told() {
    let left = |test: fn(&Runtime)| {
        let result = Simulation::new(1).run(async move |runtime| {
            test(&runtime);
            assert_quiet(&runtime, SECOND).await;
        });
        result.map(drop).map_err(|failure| failure.to_string())
    };
    let process = left(|runtime| {
        let stays = runtime.build().label("stays").spawn(async |mut ctx: Context<()>| ctx.recv().await);
        drop(stays.expect("room for a process"));
    });
    let told = process.expect_err("a process is left");
    assert!(told.contains("1 processes, 0 timers") && told.contains("stays"), "{told}");
    let named = left(|runtime| {
        let stays = runtime.build().name("taken").spawn(async |mut ctx: Context<()>| ctx.recv().await);
        drop(stays.expect("room for a process"));
    });
    assert!(named.expect_err("a name is left").contains("taken"));
    let timer = left(|runtime| drop(runtime.send_after(10 * SECOND, "nobody", ())));
    assert!(timer.expect_err("a timer is left").contains("1 timers"));
    let ends = left(|runtime| {
        let ends = runtime.spawn(async |ctx: Context<()>| ctx.sleep(SECOND / 2).await);
        drop(ends.expect("room for a process"));
    });
    assert_eq!(ends, Ok(()));
}

/// A process comes so late that two others have had thirty turns each, with nobody holding it up.
#[test]
fn priorities_find_what_a_uniform_choice_hardly_ever_does() {
    let late = |order: Order| {
        let found = AtomicUsize::new(0);
        let simulation = Simulation::new(0).order(order).whole_polls();
        Check::new().seeds(100).simulation(simulation).run_seeds(&async |runtime| {
            let turns = Arc::new(AtomicUsize::new(0));
            let other = passing_on(&runtime, &turns, None);
            passing_on(&runtime, &turns, Some(other));
            let seen = Arc::clone(&turns);
            let late = runtime.spawn(async move |_: Context<()>| match seen.load(Ordering::Relaxed) {
                60.. => Err(ExitReason::error("late")),
                _ => Ok(()),
            });
            let reason = late.expect("room for a process").ended().await;
            found.fetch_add(usize::from(reason != ExitReason::Normal), Ordering::Relaxed);
        });
        found.into_inner()
    };
    let (uniform, priorities) = (late(Order::Uniform), late(Order::Priorities));
    assert!(uniform == 0 && priorities >= 3, "{priorities} by priorities, {uniform} by a uniform choice");
}

/// One of two that send to each other, thirty times each: what they send is themselves.
fn passing_on(runtime: &Runtime, turns: &Arc<AtomicUsize>, first: Option<Address<Me>>) -> Address<Me> {
    let turns = Arc::clone(turns);
    let body = async move |mut ctx: Context<Me>| {
        let mut peer = first;
        for _ in 0..30 {
            if peer.is_none() {
                peer = Some(ctx.recv().await.0);
            }
            turns.fetch_add(1, Ordering::Relaxed);
            let _ = peer.take().map(|peer| peer.send(Me(ctx.address())));
        }
    };
    runtime.spawn(body).expect("room for a process")
}

struct Me(Address<Me>);
