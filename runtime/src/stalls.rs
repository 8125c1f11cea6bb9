//! Shared: the stalls that were noticed: those that last, the last of those that are over, and what is still to be told of
//! them.
//!
//! One lock, taken for a moment by the overseer, by those who ask, and by the thread that tells; no user code under it.
use crate::info::Whereabouts;
use crate::limits::{STALLS_KEPT, STALLS_UNTOLD};
use crate::pid::Pid;
use crate::process::control::AnyProcess;
use crate::process::ending::caught;
use crate::shared::Shared;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

/// A process that has run for longer than the `stall_limit` without awaiting, or is still running.
///
/// Time is the clock's: a thread that the system gives no processor for so long counts as well.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stall {
    /// Who; `None` if the worker hangs in something of the runtime's, such as the destructor of a message that was not
    /// delivered.
    pub pid: Option<Pid>,
    /// Its name, if it has one.
    pub name: Option<Arc<str>>,
    /// Its label, if it has one.
    pub label: Option<Arc<str>>,
    /// Where in the program it was spawned.
    pub spawned_at: Option<&'static Location<'static>>,
    /// What it awaited before the poll that does not return.
    pub whereabouts: Option<Whereabouts>,
    /// The thread that it runs on: a worker by its place in [`RuntimeInfo::workers`](crate::RuntimeInfo::workers), or, with
    /// a higher number, a spare one.
    pub worker: usize,
    /// When it was noticed.
    pub at: SystemTime,
    /// For how long it has run, or had when it was over; less than that by a quarter of the limit at most.
    pub lasted: Duration,
    /// It has awaited since, or ended.
    pub over: bool,
    /// It was told to end and cannot, since it does not come to an await.
    pub wedged: bool,
}

#[derive(Default)]
pub(crate) struct Stalls(Mutex<Known>);

#[derive(Default)]
struct Known {
    lasting: Vec<Lasting>,
    over: VecDeque<Stall>,
    total: u64,
    untold: VecDeque<(Told, Stall)>,
    /// Not told, since there was too much.
    suppressed: u64,
    telling: bool,
    /// Handles that were needed, to be dropped by the thread that tells: with the last one goes what is of a user's.
    let_go: Vec<AnyProcess>,
}

struct Lasting {
    /// In the runtime's time.
    since: u64,
    stall: Stall,
    process: Option<AnyProcess>,
}

#[derive(Clone, Copy)]
enum Told {
    Begun,
    Over,
    Wedged,
}

impl Known {
    fn tell(&mut self, told: Told, stall: Stall) {
        if self.untold.len() < STALLS_UNTOLD {
            self.untold.push_back((told, stall));
        } else {
            self.suppressed += 1;
        }
    }
}

impl Stalls {
    /// A worker is stuck in the poll of this process (as a word), for so many nanoseconds so far.
    pub(crate) fn begin(&self, shared: &Shared, worker: usize, polled: u64, lasted: u64) {
        let now = shared.clock.now();
        let pid = Pid::from_word(polled, shared.tag);
        let process = pid.and_then(|pid| shared.table.get(pid));
        let (mut name, mut label, mut spawned_at) = (None, None, None);
        if let Some(process) = &process {
            let core = process.core();
            let extra = core.extra.as_deref();
            (name, label) = extra.map_or((None, None), |extra| (extra.name.clone(), extra.label.clone()));
            spawned_at = shared.sites.place(core.site);
        }
        let whereabouts =
            process.as_ref().map(|process| Whereabouts::of(process.head().whereabouts.load(Ordering::Relaxed)));
        let at = shared.clock.system(now);
        let lasted_so_far = Duration::from_nanos(lasted);
        let stall = Stall {
            pid,
            name,
            label,
            spawned_at,
            whereabouts,
            worker,
            at,
            lasted: lasted_so_far,
            over: false,
            wedged: false,
        };
        let mut known = self.0.lock();
        known.total += 1;
        known.tell(Told::Begun, stall.clone());
        known.lasting.push(Lasting { since: now.saturating_sub(lasted), stall, process });
    }

    /// The worker gets on again.
    pub(crate) fn end(&self, worker: usize, lasted: u64) {
        let mut known = self.0.lock();
        let Some(at) = known.lasting.iter().position(|lasting| lasting.stall.worker == worker) else { return };
        let Lasting { mut stall, process, .. } = known.lasting.remove(at);
        known.let_go.extend(process);
        (stall.over, stall.lasted) = (true, Duration::from_nanos(lasted));
        known.tell(Told::Over, stall.clone());
        if known.over.len() >= STALLS_KEPT {
            known.over.pop_front();
        }
        known.over.push_back(stall);
    }

    /// Looks who was told to end meanwhile.
    pub(crate) fn note_wedged(&self, shared: &Shared) {
        let mut known = self.0.lock();
        let mut wedged = Vec::new();
        for Lasting { since, stall, process } in &mut known.lasting {
            if !stall.wedged && process.as_ref().is_some_and(|process| !process.head().is_alive()) {
                stall.wedged = true;
                stall.lasted = Duration::from_nanos(shared.clock.now().saturating_sub(*since));
                wedged.push(stall.clone());
            }
        }
        wedged.into_iter().for_each(|stall| known.tell(Told::Wedged, stall));
    }

    /// All that are known.
    pub(crate) fn all(&self, now: u64) -> Vec<Stall> {
        let known = self.0.lock();
        let lasting = known.lasting.iter().map(|Lasting { since, stall, .. }| Stall {
            lasted: Duration::from_nanos(now.saturating_sub(*since)),
            ..stall.clone()
        });
        known.over.iter().cloned().chain(lasting).collect()
    }

    /// For how long this process has run without awaiting, if that is a stall.
    pub(crate) fn of(&self, pid: Pid, now: u64) -> Option<Duration> {
        let known = self.0.lock();
        let since = known.lasting.iter().find(|lasting| lasting.stall.pid == Some(pid))?.since;
        Some(Duration::from_nanos(now.saturating_sub(since)))
    }

    /// How many last, and how many there have been.
    pub(crate) fn numbers(&self) -> (usize, u64) {
        let known = self.0.lock();
        (known.lasting.len(), known.total)
    }

    /// The overseer goes: handles of processes that are stuck for ever would keep the runtime's memory.
    pub(crate) fn let_go(&self) {
        let mut known = self.0.lock();
        let mut handles = std::mem::take(&mut known.let_go);
        handles.extend(known.lasting.iter_mut().filter_map(|lasting| lasting.process.take()));
        drop(known);
        caught(|| drop(handles));
    }

    /// True if there is something to tell and nobody tells: then the caller has to.
    pub(crate) fn begin_telling(&self) -> bool {
        let mut known = self.0.lock();
        let nothing = known.untold.is_empty() && known.let_go.is_empty();
        let begin = !(known.telling || nothing);
        known.telling |= begin;
        begin
    }

    /// It could not be told.
    pub(crate) fn stop_telling(&self) {
        self.0.lock().telling = false;
    }

    /// Tells, on a thread that may be held up by whoever listens.
    pub(crate) fn tell(&self) {
        loop {
            let mut known = self.0.lock();
            let let_go = std::mem::take(&mut known.let_go);
            let next = known.untold.pop_front();
            let suppressed = if next.is_some() { std::mem::take(&mut known.suppressed) } else { 0 };
            known.telling = next.is_some() || !let_go.is_empty();
            let goes_on = known.telling;
            drop(known);
            caught(|| drop(let_go));
            if let Some((told, stall)) = next {
                caught(|| emit(told, &stall, suppressed));
            }
            if !goes_on {
                return;
            }
        }
    }
}

fn emit(told: Told, stall: &Stall, suppressed: u64) {
    let pid = stall.pid.map(tracing::field::display);
    let (name, label) = (stall.name.as_deref(), stall.label.as_deref());
    let spawned_at = stall.spawned_at.map(tracing::field::display);
    let whereabouts = stall.whereabouts.map(tracing::field::display);
    let (worker, lasted_ms) = (stall.worker as u64, stall.lasted.as_secs_f64() * 1e3);
    match told {
        Told::Begun => tracing::warn!(
            pid,
            name,
            label,
            spawned_at,
            whereabouts,
            worker,
            lasted_ms,
            suppressed,
            "process stalls its worker: it runs without awaiting"
        ),
        Told::Over => tracing::info!(
            pid,
            name,
            label,
            spawned_at,
            whereabouts,
            worker,
            lasted_ms,
            suppressed,
            "process awaits again after a stall"
        ),
        Told::Wedged => tracing::error!(
            pid,
            name,
            label,
            spawned_at,
            whereabouts,
            worker,
            lasted_ms,
            suppressed,
            "process is wedged: it was told to end and does not come to an await"
        ),
    }
}
