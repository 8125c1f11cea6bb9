//! A process of the soak: it receives, and at random does whatever a process can do.
use crate::world::{Chance, Deed, LIVE_AT_MOST, Parcel, State, World, group, name};
use colloquium::{
    Address, Context, Down, Exit, ExitReason, GroupEvent, Mailbox, MonitorRef, ProcessBuilder, ReplyTo, SpawnError,
};
use std::future::Future;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub(crate) enum Msg {
    Parcel(Parcel),
    Ask(ReplyTo<u64>),
    Ping(#[expect(dead_code, reason = "held, so that a leak of the message shows")] Arc<()>),
    /// Of a timer.
    Tick(#[expect(dead_code, reason = "held, so that a leak of the message shows")] Arc<()>),
    Exit(Exit),
    Down(Down),
    Group(GroupEvent),
}

/// Counts the living, by their bodies.
struct Alive(Arc<World>, #[expect(dead_code, reason = "held, so that a leak of the body shows")] Arc<()>);

impl Alive {
    fn new(world: &Arc<World>) -> Self {
        world.live.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(world), world.token())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A body for a new citizen.
fn body(world: &Arc<World>, chance: &mut Chance) -> impl FnOnce(Context<Msg>) -> Body + use<> {
    let (alive, seed) = (Alive::new(world), chance.next());
    move |ctx| Box::pin(live(ctx, alive, Chance::new(seed)))
}

/// Named, since citizens spawn citizens.
type Body = std::pin::Pin<Box<dyn Future<Output = ExitReason> + Send>>;

fn mailbox(chance: &mut Chance) -> Mailbox {
    match chance.below(6) {
        0 => Mailbox::bounded(4),
        1 => Mailbox::bounded(4).drop_oldest(),
        2 => Mailbox::bounded(4).drop_newest(),
        _ => Mailbox::default(),
    }
}

/// Spawns a citizen and makes it known; a name that is taken is in the nature of things.
pub(crate) fn spawn_citizen<P: Send + 'static>(
    world: &Arc<World>,
    chance: &mut Chance,
    builder: ProcessBuilder<'_, P>,
) {
    let spawned = builder.mailbox(mailbox(chance)).label("citizen").spawn(body(world, chance));
    settle(world, chance, spawned, Deed::Spawn);
}

fn settle(world: &Arc<World>, chance: &mut Chance, spawned: Result<Address<Msg>, SpawnError>, deed: Deed) {
    match spawned {
        Ok(address) => {
            world.note(deed);
            world.settle(chance, address);
        }
        Err(SpawnError::Name(_) | SpawnError::ProcessLimit(_) | SpawnError::Ending) => {}
        Err(error) => world.complain(error.to_string()),
    }
}

async fn live(mut ctx: Context<Msg>, alive: Alive, mut chance: Chance) -> ExitReason {
    let world = Arc::clone(&alive.0);
    let mut monitors = Vec::new();
    loop {
        let message = match chance.below(8) {
            0 => ctx.recv_timeout(chance.moment()).await.ok(),
            1 => {
                let not_a_tick = |message: &Msg| !matches!(message, Msg::Tick(_));
                ctx.recv_matching_timeout(chance.moment(), not_a_tick).await.ok()
            }
            2 => ctx.try_recv(),
            _ => Some(ctx.recv().await),
        };
        match message {
            Some(Msg::Parcel(parcel)) => parcel.arrive(State::Received),
            Some(Msg::Ask(reply_to)) if !chance.one_in(8) => drop(reply_to.send(chance.next())),
            Some(Msg::Exit(exit)) if chance.one_in(4) => return exit.reason,
            Some(Msg::Exit(_)) => world.note(Deed::Trapped),
            Some(Msg::Down(down)) => {
                if down.pid.is_some_and(|pid| world.runtime.is_alive(pid)) {
                    world.complain(format!("{down:?} of a live process"));
                }
                world.note(Deed::Down);
            }
            Some(Msg::Group(event)) => {
                if !event.group.starts_with("group") {
                    world.complain(format!("nobody asked for {event:?}"));
                }
                world.note(Deed::Group);
            }
            Some(Msg::Tick(_)) => world.note(Deed::TimerFired),
            Some(Msg::Ask(_) | Msg::Ping(_)) | None => {}
        }
        let deed = act(&mut ctx, &world, &mut chance, &mut monitors);
        if let ControlFlow::Break(reason) = deed.await {
            world.note(Deed::Returned);
            return reason;
        }
    }
}

/// One thing that only a process does; what others do to it happens meanwhile.
async fn act(
    ctx: &mut Context<Msg>,
    world: &Arc<World>,
    chance: &mut Chance,
    monitors: &mut Vec<MonitorRef>,
) -> ControlFlow<ExitReason> {
    let Some(other) = world.pick(chance) else { return ControlFlow::Continue(()) };
    match chance.below(26) {
        0..3 => ctx.link(&other),
        3 => ctx.unlink(other.pid()),
        4..7 => {
            let token = world.token();
            monitors.push(ctx.monitor(&other, move |down| keep(&token, Msg::Down(down))));
        }
        7 => drop(monitors.pop().map(|monitor| ctx.demonitor(monitor))),
        8 => drop(monitors.pop().map(|monitor| ctx.demonitor_flush(monitor))),
        9..11 => {
            let token = world.token();
            ctx.trap_exits(move |exit| keep(&token, Msg::Exit(exit)));
        }
        11 => ctx.untrap_exits(),
        12 => drop(ctx.join(group(chance))),
        13 => drop(ctx.leave(&group(chance))),
        14 => {
            let token = world.token();
            ctx.monitor_group(group(chance), move |event| keep(&token, Msg::Group(event)));
        }
        15 => drop(ctx.demonitor_group(&group(chance))),
        16 if ctx.register(name(chance)).is_ok() => world.note(Deed::Named),
        17 => drop(ctx.unregister()),
        18 => spawn_child(ctx, world, chance),
        19 => world.start_timer(&ctx.address(), chance),
        20 => ctx.sleep(chance.moment() / 8).await,
        21 => ctx.yield_now().await,
        22 if ctx.call(&other, Msg::Ask).timeout(Duration::from_millis(2)).await.is_ok() => {
            world.note(Deed::CalledInside);
        }
        23 if chance.one_in(4) => {
            world.note(Deed::Panicked);
            panic!("on purpose")
        }
        24 if chance.one_in(4) => return ControlFlow::Break(chance.reason()),
        25 if chance.one_in(4) => ctx.exit(chance.reason()).await,
        _ => world.send(&other, Parcel::new(world)),
    }
    ControlFlow::Continue(())
}

/// A mapping that holds a token for as long as it stands.
fn keep(_token: &Arc<()>, message: Msg) -> Msg {
    message
}

fn spawn_child(ctx: &mut Context<Msg>, world: &Arc<World>, chance: &mut Chance) {
    if world.is_over.load(Ordering::Relaxed) || world.live.load(Ordering::Relaxed) > LIVE_AT_MOST {
        return;
    }
    let body = body(world, chance);
    let (spawned, deed) = if chance.one_in(2) {
        (ctx.spawn_link(body), Deed::SpawnLink)
    } else {
        let token = world.token();
        let spawned = ctx.spawn_monitor(body, move |down| keep(&token, Msg::Down(down)));
        (spawned.map(|(address, _)| address), Deed::SpawnMonitor)
    };
    settle(world, chance, spawned, deed);
}
