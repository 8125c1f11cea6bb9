//! Everything at once, at random, with all cores loaded, round after round; after each round nothing may be left.
//!
//! `COLLOQUIUM_SOAK_SECONDS` says for how long (3 unless given). Which process meets which is up to the scheduler, so that
//! a run cannot be repeated: what it finds must be plain from the assertion alone.
#[path = "soak/citizen.rs"]
mod citizen;
#[path = "soak/world.rs"]
mod world;

use citizen::{Msg, spawn_citizen};
use colloquium::{CallError, CallErrorKind, Context, ExitReason, RegisterError, Runtime, SpawnError};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use world::{Chance, Deed, LIVE_AT_MOST, NAMES, PLACES, Parcel, World, group, name};

const THREADS: u64 = 4;
const ROUNDS_PER_SECOND: u64 = 2;
/// What the resident memory may grow over that of the first round. The allocator keeps what was freed, in arenas of each
/// thread and with holes in it, and there is no portable way to have it give that back: a megabyte comes and goes from
/// round to round. One control block leaked for each process is 9 MB in each second; the tokens (see `World::token`) find
/// what a leak of a few messages or mappings would be.
const GROWTH_KB: u64 = 16 * 1024;

#[test]
fn after_each_round_of_everything_at_once_nothing_is_left() {
    let seconds = std::env::var("COLLOQUIUM_SOAK_SECONDS").ok();
    let seconds: u64 = seconds.map_or(3, |text| text.parse().expect("COLLOQUIUM_SOAK_SECONDS is a number of seconds"));
    let rounds = (seconds * ROUNDS_PER_SECOND).max(3);
    let length = Duration::from_secs(seconds.max(1)) / u32::try_from(rounds).expect("some years at most");
    let runtime = Runtime::builder().max_names(NAMES).max_processes(2 * LIVE_AT_MOST).build().expect("a runtime");
    let world = Arc::new(World::new(runtime.handle()));
    // The first panic may load the program's debug information, to print a backtrace: that is no leak.
    let panics = runtime.spawn(async |_: Context<()>| -> () { panic!("on purpose") }).expect("a process");
    runtime.block_on(panics.ended());
    let mut base = None;
    for round in 0..rounds {
        play_round(&runtime, &world, round, length);
        stop_everything(&runtime, &world);
        world.check_messages();
        world.assert_no_complaints();
        // The first round fills the caches: the allocator's, the tables', the wheels'.
        base = base.or_else(resident_kb);
        println!("round {round}: {:?} kB, {}", resident_kb(), world.summary());
    }
    if let (Some(base), Some(now)) = (base, resident_kb()) {
        assert!(now < base + GROWTH_KB, "{base} kB after the first round, {now} kB after round {rounds}");
    }
    world.assert_all_happened();
    names_are_whole_again(&runtime);
    let report = runtime.block_on(runtime.shutdown(Duration::from_secs(60)));
    assert!(report.wedged.is_empty(), "{report:?}");
    assert_eq!(left(&runtime, &world), None);
}

/// Plain threads and processes do what they like to each other, for so long.
fn play_round(runtime: &Runtime, world: &Arc<World>, round: u64, length: Duration) {
    world.is_over.store(false, Ordering::Relaxed);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let mut chance = Chance::new(round * THREADS + thread);
                while !world.is_over.load(Ordering::Relaxed) {
                    act_from_outside(runtime, world, &mut chance);
                }
            });
        }
        runtime.block_on(runtime.sleep(length));
        world.is_over.store(true, Ordering::Relaxed);
    });
}

/// One thing that a thread does which is no process.
fn act_from_outside(runtime: &Runtime, world: &Arc<World>, chance: &mut Chance) {
    let Some(citizen) = world.pick(chance) else { return spawn_from_outside(runtime, world, chance) };
    match chance.below(24) {
        0..4 => spawn_from_outside(runtime, world, chance),
        4..12 => world.send(&citizen, Parcel::new(world)),
        12 => {
            citizen.kill();
            world.note(Deed::Kill);
            if chance.one_in(8) {
                runtime.block_on(citizen.ended());
            }
        }
        13 => citizen.exit(chance.reason()),
        14..16 => {
            let answer = runtime.block_on(citizen.call(Msg::Ask).timeout(Duration::from_millis(2)));
            match answer.as_ref().map_err(CallError::kind) {
                Ok(_) => world.note(Deed::Answered),
                Err(CallErrorKind::Ended(_) | CallErrorKind::NoReply) => world.note(Deed::Unanswered),
                Err(_) => {}
            }
        }
        16 => drop(runtime.register(name(chance), &citizen)),
        17 => drop(runtime.unregister(&name(chance))),
        18 => runtime.exit(&*name(chance), chance.reason()),
        19 => drop(runtime.send_after(chance.moment(), name(chance), Msg::Ping(world.token()))),
        20 => drop(citizen.exit_after(chance.moment_or_hour(), chance.reason())),
        21 => world.start_timer(&citizen, chance),
        22 => drop(runtime.members::<Msg>(&group(chance)).first().map(|member| member.send(Msg::Ping(world.token())))),
        _ => drop(runtime.info(citizen.pid())),
    }
}

fn spawn_from_outside(runtime: &Runtime, world: &Arc<World>, chance: &mut Chance) {
    if world.live.load(Ordering::Relaxed) < LIVE_AT_MOST {
        let builder = runtime.build();
        let builder = if chance.one_in(8) { builder.name(name(chance)) } else { builder };
        spawn_citizen(world, chance, builder);
    } else if let Some(citizen) = world.pick(chance) {
        citizen.kill();
    }
}

/// Ends every process, and waits until nothing is left of the round.
#[expect(clippy::disallowed_methods, reason = "a bound against hanging, for which any clock will do")]
fn stop_everything(runtime: &Runtime, world: &Arc<World>) {
    let until = Instant::now() + Duration::from_secs(60);
    world.places.lock().expect("no thread panics").fill(None);
    while let Some(left) = left(runtime, world) {
        assert!(Instant::now() < until, "left after a minute: {left}");
        runtime.processes().into_iter().for_each(|pid| runtime.exit(pid, ExitReason::Kill));
        std::thread::yield_now();
    }
    assert_eq!(world.places.lock().expect("no thread panics").len(), PLACES);
}

/// What is left; timers to names belong to no process and end when they fire, within milliseconds.
fn left(runtime: &Runtime, world: &Arc<World>) -> Option<String> {
    let info = runtime.runtime_info();
    let (names, groups, tokens) = (runtime.names().len(), runtime.groups().len(), world.tokens());
    let counts = [info.processes, runtime.processes().len(), info.timers, info.names, names, groups, tokens];
    (counts != [0; 7]).then(|| format!("[table, live, timers, names, names, groups, tokens] {counts:?}"))
}

/// As many names can be taken as at the beginning, and not one more: none was lost or given back twice.
fn names_are_whole_again(runtime: &Runtime) {
    let spawn = |number: usize| {
        runtime.build().name(format!("whole {number}")).spawn(async |mut ctx: Context<()>| ctx.recv().await)
    };
    for number in 0..NAMES {
        spawn(number).expect("no more names are taken than processes live that have them");
    }
    let one_too_many = spawn(NAMES).expect_err("the limit holds");
    assert_eq!(one_too_many, SpawnError::Name(RegisterError::NameLimit(NAMES)));
    runtime.processes().into_iter().for_each(|pid| runtime.exit(pid, ExitReason::Kill));
}

/// The resident memory of this OS process in kB, where the system tells.
fn resident_kb() -> Option<u64> {
    // `status` and not `statm`, which counts in pages: their size cannot be asked for without unsafe code.
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}
