//! How processes learn of each other's ends, and what they make of it: `cargo run --example links_and_monitors`
use colloquium::prelude::*;

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Fails as soon as it is told to. An error that a body returns is the reason for which its process ends.
async fn reader(mut ctx: Context<()>) -> Outcome {
    ctx.recv().await;
    Err("the disk is full".into())
}

/// A link: two processes that are no use without each other end together, with one reason.
fn a_crash_is_carried_along(runtime: &Runtime) -> Outcome {
    println!("1. a crash is carried along a link");
    let parent = runtime.build().label("parent of a reader").spawn(async |mut ctx: Context<()>| -> Outcome {
        // Linked from its first step on: however fast the child fails, the parent gets to know the true reason.
        let child = ctx.spawn_link(reader)?;
        child.send(())?;
        loop {
            // It could wait here for ever. It need not look after the child: the link does.
            ctx.recv().await;
        }
    })?;
    println!("   the parent ended: {}", runtime.block_on(parent.ended()));
    Ok(())
}

/// Trapping: a process that wants to outlive its links gets their exits as messages, of its own type.
fn a_crash_becomes_a_message(runtime: &Runtime) -> Outcome {
    println!("2. a process that traps exits gets a message instead");
    let parent = runtime.spawn(async |mut ctx: Context<Exit>| -> Outcome {
        // The mapping makes a message of the signal. Here messages are nothing but exits, so that there is nothing to map;
        // mostly it is a variant: `ctx.trap_exits(Msg::ChildEnded)`.
        ctx.trap_exits(|exit| exit);
        let child = ctx.spawn_link(reader)?;
        child.send(())?;
        let exit = ctx.recv().await;
        assert_eq!(exit.from, Some(child.pid()));
        println!("   the parent lives, and was told: {}", exit.reason);
        Ok(())
    })?;
    assert_eq!(runtime.block_on(parent.ended()), ExitReason::Normal);
    Ok(())
}

/// A monitor: one-sided. The watcher gets one message, the watched does not know.
fn a_monitor_fires_once(runtime: &Runtime) -> Outcome {
    println!("3. a monitor tells of an end, and of one that has been");
    let watched = runtime.spawn(async |mut ctx: Context<()>| ctx.recv().await)?;
    let watcher = runtime.spawn({
        let watched = watched.clone();
        async move |mut ctx: Context<(&'static str, Down)>| -> Outcome {
            ctx.monitor(&watched, |down| ("first", down));
            watched.kill();
            let (which, down) = ctx.recv().await;
            println!("   {which} monitor: {}", down.reason);
            // Whoever has been told of an end sees the process gone: a monitor made now has no reason to tell any more.
            ctx.monitor(&watched, |down| ("second", down));
            let (which, down) = ctx.recv().await;
            println!("   {which} monitor: {}", down.reason);
            Ok(())
        }
    })?;
    assert_eq!(runtime.block_on(watcher.ended()), ExitReason::Normal);
    Ok(())
}

/// Does its work until something goes wrong with it: a panic ends the process it happens in, and nothing else.
async fn worker(_ctx: Context<()>, attempt: u32) -> Outcome {
    assert!(attempt > 3, "attempt {attempt} went wrong");
    Ok(())
}

/// A small supervisor, by hand: what it starts, it starts anew when it crashes, three times at most.
async fn restarter(mut ctx: Context<Exit>) -> Outcome {
    // Without trapping, the first crash would be its own end.
    ctx.trap_exits(|exit| exit);
    for attempt in 1.. {
        // A link and no monitor: were the restarter killed, its child would not be left behind without one.
        ctx.build().label("worker").link().spawn(|ctx| worker(ctx, attempt))?;
        let exit = ctx.recv().await;
        if exit.reason.is_orderly() {
            println!("   attempt {attempt} has ended: {}", exit.reason);
            return Ok(());
        }
        println!("   attempt {attempt} has crashed");
        if attempt > 3 {
            // What cannot be mended here may be mended above: the reason is handed on as it is.
            return Err(exit.reason.into());
        }
    }
    Ok(())
}

fn a_crashed_child_is_restarted(runtime: &Runtime) -> Outcome {
    println!("4. a restarter starts its child anew");
    let restarter = runtime.build().name("restarter").spawn(restarter)?;
    println!("   the restarter ended: {}", runtime.block_on(restarter.ended()));
    Ok(())
}

fn main() -> Outcome {
    let runtime = Runtime::new()?;
    a_crash_is_carried_along(&runtime)?;
    a_crash_becomes_a_message(&runtime)?;
    a_monitor_fires_once(&runtime)?;
    a_crashed_child_is_restarted(&runtime)?;

    // The runtime keeps the last of them, whoever has been told: the first thing to look at when something is amiss.
    println!("the abnormal exits, oldest first:");
    for exit in runtime.abnormal_exits() {
        println!("   {} ({}): {}", exit.pid, exit.label.as_deref().unwrap_or("no label"), exit.reason);
    }
    Ok(())
}
