//! Shared: how a runtime ends: open, closing (nobody is spawned any more), closed (the workers go).
//!
//! The state only grows. While closing, each process that ends looks whether it was the last, and wakes the thread that
//! sees to the shutdown; that thread alone closes. The futures of those who wait for the end are woken by it.
use crate::clock::Clock;
use crate::info::ShutdownReport;
use crate::process::ending::wake_caught;
use crate::process::table::Table;
use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Waker;
use std::time::Duration;

const OPEN: u8 = 0;
const CLOSING: u8 = 1;
const CLOSED: u8 = 2;

#[derive(Default)]
pub(crate) struct Lifecycle {
    state: AtomicU8,
    end: Mutex<End>,
    changed: Condvar,
}

#[derive(Default)]
struct End {
    /// When the shutdown is to be over, in the runtime's time; only lowered.
    until: Option<u64>,
    report: Option<ShutdownReport>,
    waiting: Vec<Waker>,
}

impl Lifecycle {
    pub(crate) fn is_closing(&self) -> bool {
        self.state.load(Ordering::SeqCst) != OPEN
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.load(Ordering::SeqCst) == CLOSED
    }

    /// Begins to close, to be over by then; false if that had begun: then the earlier end counts.
    pub(crate) fn begin(&self, until: u64) -> bool {
        let mut end = self.end.lock();
        end.until = Some(end.until.map_or(until, |earlier| earlier.min(until)));
        let first = self.state.compare_exchange(OPEN, CLOSING, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        drop(end);
        self.changed.notify_all();
        first
    }

    /// By when the shutdown that has begun is to be over.
    pub(crate) fn until(&self) -> Option<u64> {
        self.end.lock().until
    }

    /// A process has left the table, and perhaps was the last.
    pub(crate) fn process_ended(&self, table: &Table) {
        if self.is_closing() && table.len() == 0 {
            // Under the lock, so that it does not fall between the waiting thread's look and its sleep.
            let end = self.end.lock();
            self.changed.notify_all();
            drop(end);
        }
    }

    /// A piece of blocking work has returned, and perhaps was the last.
    pub(crate) fn blocking_ended(&self) {
        if self.is_closing() {
            let end = self.end.lock();
            self.changed.notify_all();
            drop(end);
        }
    }

    /// Waits until `over` holds, of which those who bring it about tell, or the end is nearer than `margin` of what was left
    /// at first; true for the former.
    pub(crate) fn wait_until(&self, over: impl Fn() -> bool, clock: &Clock, margin: impl Fn(u64) -> u64) -> bool {
        let began = clock.now();
        let mut end = self.end.lock();
        loop {
            if over() {
                return true;
            }
            let until = end.until.unwrap_or(began);
            let left = until.saturating_sub(margin(until.saturating_sub(began))).saturating_sub(clock.now());
            if left == 0 {
                return false;
            }
            self.changed.wait_for(&mut end, Duration::from_nanos(left));
        }
    }

    /// All is over: the workers go, and those who wait get the report.
    pub(crate) fn close(&self, report: ShutdownReport) {
        self.state.store(CLOSED, Ordering::SeqCst);
        let mut end = self.end.lock();
        end.report = Some(report);
        let waiting = std::mem::take(&mut end.waiting);
        drop(end);
        waiting.into_iter().for_each(wake_caught);
    }

    /// The report, once there is one.
    pub(crate) fn report(&self, waker: &Waker) -> Option<ShutdownReport> {
        let waker = waker.clone();
        let mut end = self.end.lock();
        if let Some(report) = &end.report {
            return Some(report.clone());
        }
        if !end.waiting.iter().any(|known| known.will_wake(&waker)) {
            end.waiting.push(waker);
        }
        None
    }
}
