//! S-080 to S-083 of `conformance/otp.md`, and more of their kind: names of processes.
//!
//! S-084 and S-085 are about gen servers, whose issue comes later. The part of S-084 that spawning can show is here: a
//! taken name is refused with its holder, and the body is not called.

mod bounded;
mod workers;

use bounded::{PATIENCE, as_process, next, now, within};
use colloquium::{
    Address, BuildError, Context, Down, Exit, ExitReason, Handle, LookupError, RegisterError, Runtime, SpawnError,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;
use workers::{on_each_size, on_threads};

const ROUNDS: usize = 200;

async fn wait(mut ctx: Context<()>) {
    ctx.recv().await;
}

fn waiting(runtime: &Handle) -> Address<()> {
    runtime.spawn(wait).expect("a process")
}

fn taken(name: &str, holder: &Address<()>) -> RegisterError {
    RegisterError::Taken { name: name.into(), holder: holder.pid() }
}

#[test]
fn s_080_a_taken_name_a_named_process_and_a_dead_one_are_refused_and_the_first_stays() {
    on_each_size(async |runtime| {
        let (first, second) = (waiting(&runtime), waiting(&runtime));
        assert_eq!(runtime.register("name", &first), Ok(()));
        assert_eq!(runtime.register("name", &second), Err(taken("name", &first)));
        assert_eq!(runtime.register("name", &first), Err(taken("name", &first)));
        assert_eq!(runtime.register("other", &first), Err(RegisterError::Named("name".into())));
        assert_eq!(runtime.register("other", first.pid()), Err(RegisterError::Named("name".into())));
        assert_eq!(runtime.register("", &second), Err(RegisterError::Empty));
        second.kill();
        assert_eq!(runtime.register("other", &second), Err(RegisterError::Dead), "while it is doomed");
        within(second.ended()).await;
        assert_eq!(runtime.register("other", &second), Err(RegisterError::Dead), "once it is gone");
        assert_eq!(runtime.register("other", second.pid()), Err(RegisterError::Dead));
        assert_eq!(runtime.register("other", "nobody"), Err(RegisterError::Dead));
        assert_eq!(runtime.whereis("name"), Ok(first.clone()));
        assert_eq!(runtime.names(), [("name".into(), first.pid())]);
        assert_eq!(runtime.runtime_info().names, 1);
        let theirs = first.clone();
        as_process(&runtime, async move |mut ctx: Context<()>| {
            assert_eq!(ctx.register("name"), Err(taken("name", &theirs)));
            assert_eq!((ctx.register("mine"), ctx.unregister(), ctx.unregister()), (Ok(()), true, false));
            assert_eq!(ctx.register("mine again"), Ok(()));
        })
        .await;
        assert_eq!(runtime.runtime_info().names, 1, "freed with its process");
    });
}

#[test]
fn s_080_a_freed_name_is_for_anyone_and_an_unknown_one_nobodys() {
    on_each_size(async |runtime| {
        let (first, second) = (waiting(&runtime), waiting(&runtime));
        assert_eq!(runtime.whereis::<()>("name"), Err(LookupError::NoProcess));
        assert!(!runtime.unregister("name"));
        for holder in [&first, &second, &first] {
            assert_eq!(runtime.register("name", holder), Ok(()));
            assert_eq!(runtime.whereis("name").as_ref(), Ok(holder));
            assert_eq!(runtime.whereis::<u32>("name"), Err(LookupError::OtherType(holder.pid())));
            assert!(runtime.unregister("name") && !runtime.unregister("name"));
            assert!(holder.is_alive(), "it lives on without");
        }
        assert!(runtime.names().is_empty());
    });
}

/// Takes the name again and again on a message that says that its holder has ended.
async fn takes_at_once<M: Send + 'static>(
    mut ctx: Context<M>,
    mut spawn: impl FnMut(&mut Context<M>) -> Address<()>,
    is_of: impl Fn(&M, &Address<()>) -> bool,
) {
    for round in 0..ROUNDS {
        let holder = spawn(&mut ctx);
        assert_eq!(ctx.runtime().whereis("name"), Ok(holder.clone()));
        if round % 2 == 0 {
            holder.kill();
        } else {
            holder.send(()).expect("it lives");
        }
        let message = within(ctx.recv()).await;
        assert!(is_of(&message, &holder));
        let runtime = ctx.runtime();
        assert_eq!(runtime.whereis::<()>("name"), Err(LookupError::NoProcess));
        assert!(runtime.names().is_empty() && runtime.info(holder.pid()).is_none() && !holder.is_alive());
        assert_eq!(ctx.register("name"), Ok(()));
        assert!(ctx.unregister());
    }
}

#[test]
fn s_081_on_a_down_the_name_is_free() {
    on_each_size(async |runtime| {
        let spawn =
            |ctx: &mut Context<Down>| ctx.build().name("name").spawn_monitor(wait, |down| down).expect("a free name").0;
        as_process(&runtime, move |ctx| takes_at_once(ctx, spawn, |down, holder| down.pid == Some(holder.pid()))).await;
    });
}

#[test]
fn s_081_on_an_exit_the_name_is_free() {
    on_each_size(async |runtime| {
        let spawn = |ctx: &mut Context<Exit>| {
            ctx.trap_exits(|exit| exit);
            ctx.build().name("name").link().spawn(wait).expect("a free name")
        };
        as_process(&runtime, move |ctx| takes_at_once(ctx, spawn, |exit, holder| exit.from == Some(holder.pid())))
            .await;
    });
}

#[test]
fn s_081_a_doomed_holder_counts_as_none_and_takes_nothing_from_its_successor() {
    on_each_size(async |runtime| {
        let mut holders = Vec::new();
        for _ in 0..ROUNDS {
            let holder = runtime.build().name("name").spawn(wait).expect("its holder is doomed");
            holder.kill();
            assert_eq!(runtime.whereis::<()>("name"), Err(LookupError::NoProcess));
            assert!(!runtime.unregister("name"));
            holders.push(holder);
        }
        let last = runtime.build().name("name").spawn(wait).expect("its holder is doomed");
        for holder in holders {
            within(holder.ended()).await;
        }
        assert_eq!(runtime.whereis("name"), Ok(last));
        assert_eq!((runtime.runtime_info().names, runtime.names().len()), (1, 1));
    });
}

#[test]
fn s_083_of_racing_registrations_one_wins() {
    const RACERS: usize = 4;
    on_threads(async |runtime| {
        let barrier = Arc::new(std::sync::Barrier::new(RACERS));
        let threads: Vec<_> = (0..RACERS)
            .map(|racer| {
                let (runtime, barrier) = (runtime.handle(), Arc::clone(&barrier));
                workers::in_thread(move || {
                    let mut won = Vec::new();
                    for round in 0..ROUNDS {
                        let name = format!("name {round}");
                        barrier.wait();
                        // By spawning or by registering: the same race.
                        let result = if racer % 2 == 0 {
                            runtime.build().name(name.as_str()).spawn(wait).map_err(|error| match error {
                                SpawnError::Name(error) => error,
                                other => panic!("{other}"),
                            })
                        } else {
                            let process = waiting(&runtime);
                            runtime.register(name.as_str(), &process).map(|()| process)
                        };
                        match result {
                            Ok(winner) => won.push((round, winner)),
                            Err(RegisterError::Taken { .. }) => {}
                            Err(other) => panic!("{other}"),
                        }
                    }
                    won
                })
            })
            .collect();
        let mut won: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect();
        won.sort_unstable();
        assert_eq!(won.iter().map(|(round, _)| *round).collect::<Vec<_>>(), (0..ROUNDS).collect::<Vec<_>>());
        for (round, winner) in won {
            assert_eq!(runtime.whereis(&format!("name {round}")), Ok(winner));
        }
    });
}

#[test]
fn s_083_of_two_names_for_one_process_one_wins() {
    on_threads(async |runtime| {
        let barrier = Arc::new(std::sync::Barrier::new(2));
        for _ in 0..ROUNDS {
            let process = waiting(&runtime);
            let (other, theirs, starts) = (runtime.handle(), process.clone(), Arc::clone(&barrier));
            let thread = workers::in_thread(move || {
                starts.wait();
                other.register("one", &theirs)
            });
            barrier.wait();
            let results = [runtime.register("two", &process), thread.join().expect("no panic")];
            assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
            assert_eq!(runtime.names().len(), 1);
            process.kill();
            within(process.ended()).await;
        }
        assert_eq!(runtime.runtime_info().names, 0);
    });
}

#[test]
fn s_084_a_spawn_under_a_taken_name_names_the_holder_and_does_not_call_the_body() {
    on_each_size(async |runtime| {
        let holder = runtime.build().name("name").spawn(wait).expect("a free name");
        let calls = Arc::new(AtomicUsize::new(0));
        let refused = SpawnError::Name(taken("name", &holder));
        let body = || {
            let seen = Arc::clone(&calls);
            move |_: Context<()>| {
                seen.fetch_add(1, Ordering::SeqCst);
                async {}
            }
        };
        assert_eq!(runtime.build().name("name").spawn(body()), Err(refused.clone()));
        let (first, second) = (body(), body());
        as_process(&runtime, async move |mut ctx: Context<Down>| {
            ctx.trap_exits(|exit| panic!("a process that never was has ended: {exit:?}"));
            assert_eq!(ctx.build().name("name").link().spawn(first), Err(refused.clone()));
            let monitored = ctx.build().name("name").spawn_monitor(second, |down| down);
            assert_eq!(monitored.map(|(address, _)| address), Err(refused));
            let info = ctx.runtime().info(ctx.pid()).expect("alive");
            assert_eq!((info.link_count, info.monitor_count), (0, 0));
            assert!(ctx.try_recv().is_none());
        })
        .await;
        assert_eq!(runtime.build().name("").spawn(body()), Err(SpawnError::Name(RegisterError::Empty)));
        assert_eq!((calls.load(Ordering::SeqCst), runtime.processes()), (0, vec![holder.pid()]));
        assert_eq!(runtime.whereis("name"), Ok(holder));
    });
}

#[test]
fn the_limit_of_names_is_an_error_that_passes() {
    const LIMIT: usize = 3;
    for workers in workers::SIZES {
        let runtime = Runtime::builder().workers(workers).max_names(LIMIT).build().expect("a runtime");
        let named = |name: usize| runtime.build().name(name.to_string()).spawn(wait);
        let mut holders: Vec<_> = (0..LIMIT).map(|name| named(name).expect("below the limit")).collect();
        let nameless = waiting(&runtime);
        for round in 0..ROUNDS {
            assert_eq!(runtime.register("one more", &nameless), Err(RegisterError::NameLimit(LIMIT)));
            assert_eq!(named(LIMIT + round), Err(SpawnError::Name(RegisterError::NameLimit(LIMIT))));
            assert_eq!(runtime.processes().len(), LIMIT + 1, "nothing is left of the refused");
            let ended = holders.swap_remove(round % LIMIT);
            ended.kill();
            runtime.block_on(within(ended.ended()));
            holders.push(named(LIMIT + round).expect("the place of the one that has ended"));
            assert_eq!(runtime.runtime_info().names, LIMIT);
        }
        let (name, _) = runtime.names().remove(0);
        assert!(runtime.unregister(&name));
        assert_eq!(runtime.register("one more", &nameless), Ok(()));
    }
    let built = Runtime::builder().max_names(0).build();
    assert!(matches!(built, Err(BuildError::OutOfRange { setting: "max_names", .. })));
}

#[test]
fn who_waits_for_a_name_gets_the_first_that_takes_it() {
    on_each_size(async |runtime| {
        let (tell, mut told) = channel();
        let spawn = |round: usize| {
            let tell = tell.clone();
            let seeker = runtime.spawn(async move |ctx: Context<()>| {
                let found = ctx.runtime().whereis_or_wait::<()>(&format!("name {round}"), PATIENCE).await;
                tell.send(found).expect("the test waits");
            });
            seeker.expect("a seeker")
        };
        for round in 0..ROUNDS {
            let seekers = [spawn(round), spawn(round)];
            let name = format!("name {round}");
            let holder = if round % 2 == 0 {
                runtime.build().name(name.as_str()).spawn(wait).expect("a free name")
            } else {
                let process = waiting(&runtime);
                runtime.register(name.as_str(), &process).expect("a free name");
                process
            };
            for seeker in seekers {
                assert_eq!(next(&mut told).await, Ok(holder.clone()));
                within(seeker.ended()).await;
            }
            assert_eq!(runtime.whereis_or_wait(&name, Duration::ZERO).await, Ok(holder), "there already");
        }
        assert_eq!(runtime.runtime_info().timers, 0);
    });
}

#[test]
fn who_waits_for_a_name_in_vain_is_told_and_not_early() {
    on_each_size(async |runtime| {
        for millis in [0, 1, 5, 30] {
            let start = now();
            let found = within(runtime.whereis_or_wait::<()>("nobody", Duration::from_millis(millis))).await;
            assert_eq!(found, Err(LookupError::TimedOut));
            assert!(start.elapsed() >= Duration::from_millis(millis), "{millis} ms");
        }
        let other = runtime.build().name("other").spawn(async |mut ctx: Context<u32>| while ctx.recv().await > 0 {});
        let other = other.expect("a free name");
        let found = within(runtime.whereis_or_wait::<()>("other", PATIENCE)).await;
        assert_eq!(found, Err(LookupError::OtherType(other.pid())));
        other.kill();
        let found = within(runtime.whereis_or_wait::<()>("other", Duration::from_millis(1))).await;
        assert_eq!(found, Err(LookupError::TimedOut), "a dead holder is none");
    });
}

#[test]
fn an_address_is_found_by_pid_while_its_process_lives() {
    on_each_size(async |runtime| {
        let process = waiting(&runtime);
        assert_eq!(runtime.address_of(process.pid()), Ok(process.clone()));
        assert_eq!(runtime.address_of::<u32>(process.pid()), Err(LookupError::OtherType(process.pid())));
        process.exit(ExitReason::Shutdown);
        assert_eq!(runtime.address_of::<()>(process.pid()), Err(LookupError::NoProcess));
        // Another process in its place is not taken for it.
        within(process.ended()).await;
        let later: Vec<_> = (0..100).map(|_| waiting(&runtime)).collect();
        assert_eq!(runtime.address_of::<()>(process.pid()), Err(LookupError::NoProcess));
        assert!(later.iter().all(|other| other.pid() != process.pid()));
    });
}

#[test]
fn two_runtimes_have_names_of_their_own() {
    on_threads(async |runtime| {
        let other = Runtime::builder().workers(1).build().expect("a runtime");
        let mine = runtime.build().name("name").spawn(wait).expect("a free name");
        assert_eq!(other.whereis::<()>("name"), Err(LookupError::NoProcess));
        let theirs = other.build().name("name").spawn(wait).expect("free there");
        assert_eq!(runtime.whereis("name"), Ok(mine.clone()));
        assert_eq!(other.whereis("name"), Ok(theirs));
        assert_eq!(other.address_of::<()>(mine.pid()), Err(LookupError::NoProcess));
        assert!(!other.is_alive(mine.pid()));
    });
}
