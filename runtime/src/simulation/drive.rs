//! Driver: carries out what the plan of a simulation decides, one step at a time.
use crate::budget;
use crate::exit::ExitReason;
use crate::info::ProcessInfo;
use crate::lifecycle::Lifecycle;
use crate::limits;
use crate::pid::Pid;
use crate::process::control::doom;
use crate::process::ending::{caught, wake_caught};
use crate::runtime::Runtime;
use crate::scheduler::{Home, Task};
use crate::shutdown;
use crate::simulation::failure::FailureKind;
use crate::simulation::plan::Act;
use crate::simulation::simulator::{BodyWaker, Simulator};
use crate::simulation::trace::Event;
use crate::timer::Entry;
use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stepped {
    /// The body is to be polled.
    Body,
    Done,
    /// Nothing can ever run.
    Nothing,
}

/// What ends a simulation from within its body; never seen by users.
pub(super) struct Stop(FailureKind);

/// One step.
pub(super) fn step(home: &Arc<Home>, simulator: &Simulator) -> Result<Stepped, FailureKind> {
    let shared = &home.shared;
    if let Some(thread) = simulator.take_stranger() {
        return Err(FailureKind::ForeignThread(thread));
    }
    let look = advance_shutdown(home, simulator);
    let now = shared.clock.now();
    if now > simulator.time_limit {
        return Err(FailureKind::TimeLimit(Duration::from_nanos(simulator.time_limit)));
    }
    match simulator.next(now, shared.timers.earliest(), look) {
        Act::Run(_, task, allowance) => poll(home, simulator, task, allowance),
        Act::Body => return Ok(Stepped::Body),
        Act::Fire => fire(home, simulator),
        Act::Kill(who, planned) => {
            if let Some(process) = befallen(home, simulator, who, planned) {
                simulator.note(Event::FaultyKill(who));
                doom(&process, ExitReason::Killed);
            }
        }
        Act::Stall(who, until, planned) => {
            if befallen(home, simulator, who, planned).is_some() {
                simulator.stall(who, until);
            }
        }
        Act::Arrive(queue) => simulator.let_arrive(queue),
        Act::Pass(moment) => shared.clock.pass_to(moment),
        Act::Nothing => return Ok(Stepped::Nothing),
    }
    if simulator.steps() >= simulator.step_limit {
        return Err(FailureKind::StepLimit(simulator.step_limit));
    }
    Ok(Stepped::Done)
}

/// The process that a fault befalls, if it lives and is none of those that are spared.
fn befallen(
    home: &Arc<Home>,
    simulator: &Simulator,
    who: u64,
    planned: bool,
) -> Option<crate::process::control::AnyProcess> {
    let process = home.shared.table.get(Pid::from_word(who, home.shared.tag)?)?;
    let info = crate::inspect::inspect(&process, false)?;
    (planned || simulator.may_befall(&info)).then_some(process)
}

fn poll(home: &Arc<Home>, simulator: &Simulator, task: Task, allowance: u32) {
    let pid = task.metadata().pid;
    budget::set_allowance(allowance);
    Simulator::begin_poll(pid);
    caught(|| {
        task.run();
    });
    let took = simulator.end_poll();
    budget::set_allowance(limits::REDUCTIONS);
    let clock = &home.shared.clock;
    clock.pass_to(clock.now().saturating_add(took));
}

/// Fires what is due first; more may be due.
fn fire(home: &Arc<Home>, simulator: &Simulator) {
    let timers = &home.shared.timers;
    let mut due = Vec::new();
    // One tick of the wheel at a time: what is due earlier comes first, however late all of it is.
    timers.take_due(timers.earliest(), &mut due);
    simulator.shuffle(&mut due);
    for entry in due {
        match entry {
            Entry::Wake(waker) => wake_caught(waker),
            Entry::Deliver(timer) => caught(|| timer.fire(home)),
            Entry::TimeOut(pending) => caught(|| pending.time_out()),
        }
    }
}

/// What the thread of a shutdown does in a runtime of workers. The next moment at which there is something to do.
fn advance_shutdown(home: &Arc<Home>, simulator: &Simulator) -> u64 {
    let shared = &home.shared;
    let lifecycle = &shared.lifecycle;
    if !lifecycle.is_closing() || lifecycle.is_closed() {
        return u64::MAX;
    }
    let now = shared.clock.now();
    let mut closing = *simulator.closing.lock();
    let began = closing.began.unwrap_or_else(|| {
        closing.told = shutdown::tell(shared);
        now
    });
    closing.began = Some(began);
    let until = lifecycle.until().unwrap_or(began);
    let kill_at = until.saturating_sub(shutdown::kill_margin(until.saturating_sub(began)));
    let empty = shared.table.len() == 0;
    if !empty && now >= kill_at && closing.killed.is_none() {
        closing.killed = Some(shutdown::kill(shared));
    }
    *simulator.closing.lock() = closing;
    if empty || now >= until {
        shutdown::close(shared, closing.told, closing.killed.unwrap_or(0));
        return u64::MAX;
    }
    if closing.killed.is_some() { until } else { kill_at }
}

/// Runs the body to its end, and the runtime to its own.
pub(super) fn run<F: Future>(
    home: &Arc<Home>,
    simulator: &Arc<Simulator>,
    make: impl FnOnce(Runtime) -> F,
) -> Result<F::Output, FailureKind> {
    let runtime = Runtime::of(Arc::clone(home));
    let waker = Waker::from(Arc::new(BodyWaker(Arc::clone(simulator))));
    let mut cx = Context::from_waker(&waker);
    let made = catch_unwind(AssertUnwindSafe(|| Box::pin(make(runtime))));
    let mut body = Some(made.map_err(why)?);
    let result = run_made(home, simulator, &mut body, &mut cx);
    caught(|| drop(body));
    result
}

fn run_made<F: Future>(
    home: &Arc<Home>,
    simulator: &Simulator,
    body: &mut Option<Pin<Box<F>>>,
    cx: &mut Context<'_>,
) -> Result<F::Output, FailureKind> {
    let mut output = None;
    simulator.wake_body();
    while output.is_none() || !home.shared.lifecycle.is_closed() {
        match step(home, simulator)? {
            Stepped::Done => {}
            Stepped::Body => {
                output = poll_body(body, cx)?.or(output);
                let took = simulator.end_poll();
                let clock = &home.shared.clock;
                clock.pass_to(clock.now().saturating_add(took));
                if output.is_some() {
                    begin_end(&home.shared.lifecycle, home);
                }
            }
            Stepped::Nothing if output.is_some() && home.shared.lifecycle.is_closed() => {}
            Stepped::Nothing => return Err(FailureKind::Deadlock(waiting(home))),
        }
    }
    match simulator.take_stranger() {
        Some(thread) => Err(FailureKind::ForeignThread(thread)),
        None => output.ok_or(FailureKind::Deadlock(Vec::new())),
    }
}

fn poll_body<F: Future>(
    body: &mut Option<Pin<Box<F>>>,
    cx: &mut Context<'_>,
) -> Result<Option<F::Output>, FailureKind> {
    let Some(future) = body else { return Ok(None) };
    let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
    if !matches!(polled, Ok(Poll::Pending)) {
        let over = body.take();
        catch_unwind(AssertUnwindSafe(|| drop(over))).map_err(why)?;
    }
    match polled {
        Ok(Poll::Ready(output)) => Ok(Some(output)),
        Ok(Poll::Pending) => Ok(None),
        Err(payload) => Err(why(payload)),
    }
}

/// The body has returned. Its runtime has gone with it, as a rule, and so begun to shut down.
fn begin_end(lifecycle: &Lifecycle, home: &Arc<Home>) {
    if !lifecycle.is_closing() {
        lifecycle.begin(home.shared.clock.deadline(limits::DROP_GRACE));
    }
}

fn why(payload: Box<dyn Any + Send>) -> FailureKind {
    match payload.downcast::<Stop>() {
        Ok(stop) => stop.0,
        Err(payload) => {
            let said = crate::hook::text_of(&*payload).to_owned();
            crate::process::ending::drop_payload(payload);
            FailureKind::Panicked(said)
        }
    }
}

fn waiting(home: &Arc<Home>) -> Vec<ProcessInfo> {
    let mut all = Vec::new();
    home.shared.table.for_each(|process| all.extend(crate::inspect::inspect(&process, true)));
    all.sort_by_key(|process| process.pid);
    all
}

/// Ends what a simulation that failed has left.
pub(super) fn abandon(home: &Arc<Home>) {
    home.shared.lifecycle.begin(0);
    if !home.shared.lifecycle.is_closed() {
        shutdown::run(&home.shared);
    }
}

/// Takes steps, from within the body, until there is something.
///
/// # Panics
///
/// When there never will be: the simulation fails by that. And within a process.
pub(super) fn until<T>(home: &Arc<Home>, simulator: &Simulator, mut look: impl FnMut() -> Option<T>) -> T {
    assert!(crate::simulation::simulator::current().is_none(), "a process cannot block: await instead");
    let mut body = false;
    let found = loop {
        if let Some(found) = look() {
            break found;
        }
        let stop = match step(home, simulator) {
            Ok(Stepped::Done) => continue,
            Ok(Stepped::Body) => {
                body = true;
                continue;
            }
            Ok(Stepped::Nothing) => FailureKind::Deadlock(waiting(home)),
            Err(kind) => kind,
        };
        std::panic::resume_unwind(Box::new(Stop(stop)));
    };
    if body {
        simulator.wake_body();
    }
    found
}
