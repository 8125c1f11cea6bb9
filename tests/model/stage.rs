//! Real processes that do what they are told, one act at a time, and a comparison of what came of it with the model.
//!
//! Orders come beside the mailbox, so that a process receives only when it is told to: what arrives meanwhile stays in
//! the mailbox, in its order, where a flush or a selective receive can meet it. A process that waits for its next order
//! awaits something foreign to the runtime and must be woken all the same to die.
use crate::model::{Act, Answer, Id, Message, Model, Reason};
use colloquium::simulation::is_simulated;
use colloquium::testing::wait_for;
use colloquium::{Address, Context, Down, Exit, ExitReason, MonitorRef, Pid, Runtime, Target};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// What the processes receive.
pub(crate) enum Got {
    Exit(Exit),
    /// With the number that the model gave the monitor.
    Down(usize, Down),
    Text(u32),
}

/// How the target of an act is named: both ways must come to the same.
#[derive(Clone)]
pub(crate) enum Whom {
    Address(Address<Got>),
    Pid(Pid),
}

enum Order {
    Alone(Act),
    /// The number is for a monitor, if the act is to make one.
    To(Whom, Act, usize),
    Demonitor(MonitorRef, bool),
    Spawn {
        strings: Strings,
        link: bool,
        monitor: Option<usize>,
    },
}

enum Reply {
    Done,
    Monitored(MonitorRef),
    Stood(bool),
    Received(Vec<Got>),
    Spawned(Address<Got>, Option<MonitorRef>),
}

/// What a process hangs on: where its orders come from and its replies go to.
struct Strings {
    orders: Arc<Orders>,
    replies: mpsc::Sender<Reply>,
}

#[derive(Default)]
struct Orders(Mutex<(Option<Order>, Option<Waker>)>);

impl Orders {
    fn give(&self, order: Order) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.0 = Some(order);
        let waker = slot.1.take();
        drop(slot);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    async fn next(&self) -> Order {
        poll_fn(|cx| {
            let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match slot.0.take() {
                Some(order) => Poll::Ready(order),
                None => {
                    slot.1 = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

/// The body of each process.
async fn obey(mut ctx: Context<Got>, strings: Strings) -> ExitReason {
    loop {
        let reply = match strings.orders.next().await {
            Order::To(Whom::Address(address), act, number) => act_on(&mut ctx, &address, act, number),
            Order::To(Whom::Pid(pid), act, number) => act_on(&mut ctx, pid, act, number),
            Order::Demonitor(reference, true) => Reply::Stood(ctx.demonitor_flush(reference)),
            Order::Demonitor(reference, false) => Reply::Stood(ctx.demonitor(reference)),
            Order::Spawn { strings, link, monitor } => spawn(&mut ctx, strings, link, monitor),
            Order::Alone(Act::Return(reason)) => return exit_reason(reason),
            Order::Alone(act) => act_alone(&mut ctx, act).await,
        };
        let _ = strings.replies.send(reply);
    }
}

fn act_on(ctx: &mut Context<Got>, target: impl Target, act: Act, number: usize) -> Reply {
    match act {
        Act::Link(_) => ctx.link(target),
        Act::Unlink(_) => ctx.unlink(target),
        Act::SendExit(_, reason) => ctx.send_exit(target, exit_reason(reason)),
        Act::Monitor(_) => return Reply::Monitored(ctx.monitor(target, move |down| Got::Down(number, down))),
        act => unreachable!("{act:?} has no target"),
    }
    Reply::Done
}

async fn act_alone(ctx: &mut Context<Got>, act: Act) -> Reply {
    match act {
        Act::Trap(true) => ctx.trap_exits(Got::Exit),
        Act::Trap(false) => ctx.untrap_exits(),
        Act::Drain => return Reply::Received(std::iter::from_fn(|| ctx.try_recv()).collect()),
        Act::TakeText => {
            let text = ctx.recv_matching_timeout(Duration::ZERO, |got| matches!(got, Got::Text(_))).await;
            return Reply::Received(text.into_iter().collect());
        }
        Act::ExitSelf(reason) => ctx.exit(exit_reason(reason)).await,
        Act::Panic => panic!("on purpose"),
        act => unreachable!("{act:?} has a target"),
    }
    Reply::Done
}

fn spawn(ctx: &mut Context<Got>, strings: Strings, link: bool, monitor: Option<usize>) -> Reply {
    let body = |ctx| obey(ctx, strings);
    let builder = if link { ctx.build().link() } else { ctx.build() };
    let spawned = match monitor {
        Some(number) => builder
            .spawn_monitor(body, move |down| Got::Down(number, down))
            .map(|(address, reference)| (address, Some(reference))),
        None => builder.spawn(body).map(|address| (address, None)),
    };
    let (address, reference) = spawned.expect("a live process spawns");
    Reply::Spawned(address, reference)
}

fn exit_reason(reason: Reason) -> ExitReason {
    match reason {
        Reason::Normal => ExitReason::Normal,
        Reason::Shutdown => ExitReason::Shutdown,
        Reason::A => ExitReason::error("a"),
        Reason::B => ExitReason::error("b"),
        Reason::Kill => ExitReason::Kill,
        Reason::Killed | Reason::Panicked | Reason::NoProcess => unreachable!("nobody sends {reason:?}"),
    }
}

/// # Panics
///
/// On a reason that nobody gave.
pub(crate) fn reason_of(reason: &ExitReason) -> Reason {
    match reason {
        ExitReason::Normal => Reason::Normal,
        ExitReason::Shutdown => Reason::Shutdown,
        ExitReason::Kill => Reason::Kill,
        ExitReason::Killed => Reason::Killed,
        ExitReason::NoProcess => Reason::NoProcess,
        ExitReason::Error(cause) if cause.to_string() == "a" => Reason::A,
        ExitReason::Error(cause) if cause.to_string() == "b" => Reason::B,
        ExitReason::Panicked(panic) if panic.message() == "on purpose" => Reason::Panicked,
        other => panic!("nobody gave the reason {other:?}"),
    }
}

struct Actor {
    address: Address<Got>,
    orders: Arc<Orders>,
    replies: mpsc::Receiver<Reply>,
}

/// A runtime and the processes in it.
pub(crate) struct Stage {
    pub(crate) runtime: Runtime,
    actors: Vec<Actor>,
    references: Vec<MonitorRef>,
}

impl Stage {
    pub(crate) fn new(runtime: Runtime, processes: usize) -> Self {
        let mut stage = Self { runtime, actors: Vec::new(), references: Vec::new() };
        for _ in 0..processes {
            let (strings, orders, replies) = strings();
            let address = stage.runtime.spawn(|ctx| obey(ctx, strings)).expect("a process");
            stage.actors.push(Actor { address, orders, replies });
        }
        stage
    }

    pub(crate) fn exit_from_outside(&self, to: Id, reason: Reason, by_pid: bool) {
        let address = &self.actors[to].address;
        match reason {
            _ if by_pid => self.runtime.exit(address.pid(), exit_reason(reason)),
            Reason::Kill => address.kill(),
            _ => address.exit(exit_reason(reason)),
        }
    }

    /// Has a process do something. `None` if it ended without saying that it was done.
    pub(crate) fn perform(&mut self, me: Id, act: Act, by_pid: bool) -> Result<Option<Answer>, String> {
        let whom = |id: Id| {
            let address = &self.actors[id].address;
            if by_pid { Whom::Pid(address.pid()) } else { Whom::Address(address.clone()) }
        };
        let number = self.references.len();
        let mut child = None;
        let order = match act {
            Act::Link(id) | Act::Unlink(id) | Act::Monitor(id) | Act::SendExit(id, _) => {
                Order::To(whom(id), act, number)
            }
            Act::Demonitor { monitor, flush } => Order::Demonitor(self.references[monitor], flush),
            Act::SendText(id, text) => {
                // A send needs no context, and its order against the acts of others is this thread's anyway.
                let _ = self.actors[id].address.send(Got::Text(text));
                return Ok(Some(Answer::Done));
            }
            Act::Spawn { link, monitor } => {
                let (strings, orders, replies) = strings();
                child = Some((orders, replies));
                Order::Spawn { strings, link, monitor: monitor.then_some(number) }
            }
            act => Order::Alone(act),
        };
        self.actors[me].orders.give(order);
        match receive(&self.actors[me].replies) {
            Ok(reply) => self.understand(reply, child).map(Some),
            Err(mpsc::RecvTimeoutError::Disconnected) => Ok(None),
            Err(mpsc::RecvTimeoutError::Timeout) => Err(format!("process {me} neither did {act:?} nor ended")),
        }
    }

    fn understand(
        &mut self,
        reply: Reply,
        child: Option<(Arc<Orders>, mpsc::Receiver<Reply>)>,
    ) -> Result<Answer, String> {
        match reply {
            Reply::Done => return Ok(Answer::Done),
            Reply::Stood(stood) => return Ok(Answer::Stood(stood)),
            Reply::Received(got) => {
                let messages: Result<Vec<_>, _> = got.iter().map(|got| self.message(got)).collect();
                return Ok(Answer::Received(vec![messages?]));
            }
            Reply::Monitored(reference) => self.references.push(reference),
            Reply::Spawned(address, reference) => {
                let (orders, replies) = child.expect("only who is told to spawn does");
                self.actors.push(Actor { address, orders, replies });
                self.references.extend(reference);
            }
        }
        Ok(Answer::Done)
    }

    fn id_of(&self, pid: Pid) -> Result<Id, String> {
        let known = self.actors.iter().position(|actor| actor.address.pid() == pid);
        known.ok_or_else(|| format!("{pid} is no process of this stage"))
    }

    /// What was received, in the model's words.
    fn message(&self, got: &Got) -> Result<Message, String> {
        Ok(match got {
            Got::Text(text) => Message::Text(*text),
            Got::Exit(exit) => {
                let from = exit.from.map(|pid| self.id_of(pid)).transpose()?;
                Message::Exit { from, reason: reason_of(&exit.reason), by_link: exit.by_link }
            }
            Got::Down(number, down) => {
                if down.monitor != self.references[*number] || down.name.is_some() {
                    return Err(format!("monitor {number} is {:?} and fired as {down:?}", self.references[*number]));
                }
                let of = self.id_of(down.pid.ok_or("a monitor by pid or address names no process")?)?;
                Message::Down { monitor: *number, of, reason: reason_of(&down.reason) }
            }
        })
    }

    /// Waits until the runtime shows what the model does. What shows only later differs after the next step.
    pub(crate) fn settle(&self, model: &Model) -> Result<(), String> {
        await_agreement(|| self.difference(model))
    }

    /// The first thing that differs from the model.
    fn difference(&self, model: &Model) -> Option<String> {
        let mut living: Vec<Pid> = model.living().iter().map(|id| self.actors[*id].address.pid()).collect();
        let mut found = self.runtime.processes();
        living.sort_unstable();
        found.sort_unstable();
        if found != living {
            return Some(format!("{found:?} live, and {living:?} should"));
        }
        (0..model.len()).find_map(|id| match model.end_of(id) {
            Some(reason) => self.difference_of_dead(id, reason),
            None => self.difference_of_live(id, model),
        })
    }

    fn difference_of_dead(&self, id: Id, expected: Reason) -> Option<String> {
        let address = &self.actors[id].address;
        if address.is_alive() || self.runtime.info(address.pid()).is_some() {
            return Some(format!("process {id} lives and should have ended: {expected:?}"));
        }
        match ended_now(address).as_ref().map(reason_of) {
            Some(reason) if reason == expected => None,
            reason => Some(format!("process {id} ended with {reason:?} and should have with {expected:?}")),
        }
    }

    fn difference_of_live(&self, id: Id, model: &Model) -> Option<String> {
        let Some(info) = self.runtime.info(self.actors[id].address.pid()) else {
            return Some(format!("process {id} should live"));
        };
        let ids = |pids: &[Pid]| {
            let mut ids: Vec<Option<Id>> = pids.iter().map(|pid| self.id_of(*pid).ok()).collect();
            ids.sort_unstable();
            ids
        };
        let peers = [
            ("links", &info.links, info.link_count, model.links_of(id)),
            ("monitors", &info.monitors, info.monitor_count, model.monitored_by_it(id)),
            ("is monitored by", &info.monitored_by, info.monitored_by_count, model.watchers_of(id)),
        ];
        for (what, pids, count, expected) in peers {
            let expected: Vec<_> = expected.into_iter().map(Some).collect();
            if ids(pids) != expected || count != expected.len() {
                return Some(format!("process {id} {what} {:?} ({count}) and should {expected:?}", ids(pids)));
            }
        }
        let (shown, expected) = ((info.traps_exits, info.mailbox), (model.traps(id), model.texts(id)));
        (shown != expected).then(|| format!("process {id} shows (traps, texts) {shown:?} and should {expected:?}"))
    }
}

fn strings() -> (Strings, Arc<Orders>, mpsc::Receiver<Reply>) {
    let orders = Arc::new(Orders::default());
    let (replies, receiver) = mpsc::channel();
    (Strings { orders: Arc::clone(&orders), replies }, orders, receiver)
}

/// Why a process ended, if it is gone.
pub(crate) fn ended_now<M: Send + 'static>(address: &Address<M>) -> Option<ExitReason> {
    match Pin::new(&mut address.ended()).poll(&mut std::task::Context::from_waker(Waker::noop())) {
        Poll::Ready(reason) => Some(reason),
        Poll::Pending => None,
    }
}

/// Once something has failed only its presentation is at stake, and each attempt to make it smaller would wait long.
static HAS_FAILED: AtomicBool = AtomicBool::new(false);

/// How long to wait for what must come.
pub(crate) fn bound() -> Duration {
    if HAS_FAILED.load(Ordering::Relaxed) { Duration::from_millis(300) } else { Duration::from_secs(30) }
}

/// What comes through the channel, within the bound; in a simulation, which finds by itself that nothing comes, whenever.
pub(crate) fn receive<T>(channel: &mpsc::Receiver<T>) -> Result<T, mpsc::RecvTimeoutError> {
    if !is_simulated() {
        return channel.recv_timeout(bound());
    }
    wait_for(|| match channel.try_recv() {
        Ok(came) => Some(Ok(came)),
        Err(mpsc::TryRecvError::Disconnected) => Some(Err(mpsc::RecvTimeoutError::Disconnected)),
        Err(mpsc::TryRecvError::Empty) => None,
    })
}

/// Looks until nothing differs any more.
#[expect(clippy::disallowed_methods, reason = "a bound against hanging, for which any clock will do")]
pub(crate) fn await_agreement(mut difference: impl FnMut() -> Option<String>) -> Result<(), String> {
    if is_simulated() {
        wait_for(|| difference().is_none().then_some(()));
        return Ok(());
    }
    let until = Instant::now() + bound();
    while let Some(difference) = difference() {
        if Instant::now() > until {
            HAS_FAILED.store(true, Ordering::Relaxed);
            return Err(difference);
        }
        std::thread::yield_now();
    }
    Ok(())
}
