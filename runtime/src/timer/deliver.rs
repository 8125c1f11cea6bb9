//! Driver: timers that send: once, again and again, or an exit signal.
//!
//! A timer belongs to the process it is for: a slot of its control block (`Extra::timers`) holds the timer's identity, and
//! whoever takes the slot, under the control lock, decides: the firing, a cancellation, or the process's end.
use crate::clock::nanos;
use crate::error::LookupError;
use crate::exit::ExitReason;
use crate::pid::Pid;
use crate::process::control::{AnyProcess, Control, Core, Process, send_exit};
use crate::process::ending::{drop_caught, drop_payload};
use crate::scheduler::Home;
use crate::signal::Exit;
use crate::timer::{Entry, TimerId};
use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// What a timer does when it fires; it has been taken out of its wheel.
pub(crate) trait Deliver: Send {
    fn fire(self: Box<Self>, home: &Arc<Home>);
}

/// A timer in the slot of the process it is for.
#[derive(Clone, Copy)]
pub(crate) struct Armed {
    pub(crate) id: TimerId,
    serial: u64,
}

/// A slot of a process and which of its timers is meant, for slots serve again.
#[derive(Clone, Copy)]
struct Slot {
    at: usize,
    serial: u64,
}

impl Slot {
    /// Takes the timer out of its process: only one can.
    fn take(self, process: &dyn Process) -> Option<TimerId> {
        self.take_from(&mut process.core())
    }

    fn take_from(self, core: &mut Core) -> Option<TimerId> {
        let timers = &mut core.extra.as_mut()?.timers;
        let armed = timers.get(self.at).filter(|armed| armed.serial == self.serial)?.id;
        timers.remove(self.at);
        Some(armed)
    }

    fn is_taken(self, core: &Core) -> bool {
        let armed = core.extra.as_ref().and_then(|extra| extra.timers.get(self.at));
        armed.is_none_or(|armed| armed.serial != self.serial)
    }

    /// Arms the timer of this slot anew, unless it was taken meanwhile.
    fn arm_again(self, process: &dyn Process, home: &Home, deadline: u64, entry: Entry) {
        let mut core = process.core();
        let armed = core.extra.as_mut().and_then(|extra| extra.timers.get_mut(self.at));
        let Some(armed) = armed.filter(|armed| armed.serial == self.serial) else {
            drop(core);
            return drop_caught(entry);
        };
        armed.id = home.insert_timer(deadline, entry);
        drop(core);
        home.announce_timer(deadline);
    }
}

/// A timer that has been started.
///
/// Dropping it does nothing to the timer. It may be cancelled from anywhere, any number of times.
#[derive(Clone)]
pub struct TimerRef(What);

#[derive(Clone)]
enum What {
    /// The process was dead: nothing was started.
    Void,
    OfProcess {
        process: AnyProcess,
        slot: Slot,
        deadline: u64,
    },
    ToName(Arc<Home>, TimerId),
}

impl TimerRef {
    /// Stops the timer and says how much time was left (of an interval: in its first period): after `Some`, no message
    /// of it will come any more. `None` says that it has fired, was cancelled before, or went with the process it was
    /// for; a message it has sent stays where it is.
    #[expect(clippy::must_use_candidate, reason = "to cancel is an act; its answer is not always of interest")]
    pub fn cancel(&self) -> Option<Duration> {
        let (shared, deadline, entry) = match &self.0 {
            What::Void => return None,
            What::OfProcess { process, slot, deadline } => {
                let id = slot.take(&**process)?;
                let shared = &process.head().home.shared;
                // The entry is not there if it is about to fire; it will find its slot taken.
                (shared, *deadline, shared.timers.remove(id).map(|(_, entry)| entry))
            }
            What::ToName(home, id) => {
                let (deadline, entry) = home.shared.timers.remove(*id)?;
                (&home.shared, deadline, Some(entry))
            }
        };
        shared.guest.with(|| drop_caught(entry));
        Some(Duration::from_nanos(deadline.saturating_sub(shared.clock.now())))
    }
}

impl fmt::Debug for TimerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TimerRef")
    }
}

/// Starts a timer that belongs to `process`; `entry` makes what it does, given its slot.
fn start(home: &Home, process: AnyProcess, deadline: u64, entry: impl FnOnce(Slot) -> Entry) -> TimerRef {
    let mut core = process.core();
    if core.fate.is_some() {
        drop(core);
        home.shared.guest.with(|| drop_caught(entry));
        return TimerRef(What::Void);
    }
    let extra = core.extra();
    extra.next_timer += 1;
    let slot = Slot { at: extra.timers.vacant_key(), serial: extra.next_timer };
    let id = home.insert_timer(deadline, entry(slot));
    extra.timers.insert(Armed { id, serial: slot.serial });
    drop(core);
    home.announce_timer(deadline);
    TimerRef(What::OfProcess { process, slot, deadline })
}

struct SendOnce<M> {
    control: Arc<Control<M>>,
    slot: Slot,
    message: M,
}

impl<M: Send + 'static> Deliver for SendOnce<M> {
    fn fire(self: Box<Self>, _: &Arc<Home>) {
        let Self { control, slot, message } = *self;
        let mut inner = control.inner.lock();
        let taken = slot.take_from(&mut inner.core);
        if taken.is_none() {
            drop(inner);
            return drop_caught(message);
        }
        drop_caught(control.push_locked(inner, message, |_| {}));
    }
}

/// Sends `message` once `after` has passed.
pub(crate) fn send_after<M: Send + 'static>(
    home: &Arc<Home>,
    control: &Arc<Control<M>>,
    after: Duration,
    message: M,
) -> TimerRef {
    let deadline = home.shared.clock.deadline(after);
    let to = Arc::clone(control);
    let process: AnyProcess = control.clone();
    start(home, process, deadline, |slot| Entry::Deliver(Box::new(SendOnce { control: to, slot, message })))
}

struct SendAgain<M, F> {
    control: Arc<Control<M>>,
    slot: Slot,
    period: u64,
    due: u64,
    make: F,
}

impl<M: Send + 'static, F: FnMut() -> M + Send + 'static> Deliver for SendAgain<M, F> {
    fn fire(mut self: Box<Self>, home: &Arc<Home>) {
        if self.slot.is_taken(&self.control.core()) {
            return drop_caught(self);
        }
        match catch_unwind(AssertUnwindSafe(&mut self.make)) {
            Ok(message) => {
                let inner = self.control.inner.lock();
                // Looked at and pushed under one lock: once a cancel has said so, nothing comes any more.
                if self.slot.is_taken(&inner.core) {
                    drop(inner);
                    drop_caught(message);
                    return drop_caught(self);
                }
                drop_caught(self.control.push_locked(inner, message, |_| {}));
            }
            Err(payload) => {
                self.slot.take(&*self.control);
                drop_payload(payload);
                return drop_caught(self);
            }
        }
        // Periods that were missed altogether are left out; the rhythm stays.
        let now = home.shared.clock.now();
        let missed = now.saturating_sub(self.due) / self.period;
        self.due = self.due.saturating_add(self.period.saturating_mul(missed + 1));
        let (slot, due, process) = (self.slot, self.due, Arc::clone(&self.control));
        slot.arm_again(&*process, home, due, Entry::Deliver(self));
    }
}

/// Sends what `make` makes each time another `period` has passed.
pub(crate) fn send_interval<M: Send + 'static>(
    home: &Arc<Home>,
    control: &Arc<Control<M>>,
    period: Duration,
    make: impl FnMut() -> M + Send + 'static,
) -> TimerRef {
    let due = home.shared.clock.deadline(period);
    let (to, period) = (Arc::clone(control), nanos(period).max(1));
    let process: AnyProcess = control.clone();
    start(home, process, due, |slot| Entry::Deliver(Box::new(SendAgain { control: to, slot, period, due, make })))
}

struct ExitOnce {
    process: AnyProcess,
    slot: Slot,
    from: Option<Pid>,
    reason: ExitReason,
}

impl Deliver for ExitOnce {
    fn fire(self: Box<Self>, _: &Arc<Home>) {
        if self.slot.take(&*self.process).is_some() {
            send_exit(&self.process, Exit { from: self.from, reason: self.reason, by_link: false });
        }
    }
}

/// Sends an exit signal once `after` has passed.
pub(crate) fn exit_after(
    home: &Arc<Home>,
    process: &AnyProcess,
    after: Duration,
    from: Option<Pid>,
    reason: ExitReason,
) -> TimerRef {
    let deadline = home.shared.clock.deadline(after);
    let told = AnyProcess::clone(process);
    start(home, AnyProcess::clone(process), deadline, |slot| {
        Entry::Deliver(Box::new(ExitOnce { process: told, slot, from, reason }))
    })
}

struct SendNamed<M> {
    name: Arc<str>,
    message: M,
}

impl<M: Send + 'static> Deliver for SendNamed<M> {
    fn fire(self: Box<Self>, home: &Arc<Home>) {
        let Self { name, message } = *self;
        match home.shared.registry.find(&name).ok_or(LookupError::NoProcess).and_then(typed::<M>) {
            Ok(control) => drop_caught(control.push(message)),
            Err(_) => drop_caught(message),
        }
    }
}

/// Sends `message` to whoever has the name once `after` has passed.
pub(crate) fn send_after_to_name<M: Send + 'static>(
    home: &Arc<Home>,
    name: Arc<str>,
    after: Duration,
    message: M,
) -> TimerRef {
    let deadline = home.shared.clock.deadline(after);
    let id = home.insert_timer(deadline, Entry::Deliver(Box::new(SendNamed { name, message })));
    home.announce_timer(deadline);
    TimerRef(What::ToName(Arc::clone(home), id))
}

/// The control block with its type, if it is of this type.
pub(crate) fn typed<M: Send + 'static>(process: AnyProcess) -> Result<Arc<Control<M>>, LookupError> {
    let pid = process.head().pid;
    let any: Arc<dyn Any + Send + Sync> = process;
    any.downcast().map_err(|_| LookupError::OtherType(pid))
}
