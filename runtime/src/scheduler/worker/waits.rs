//! Driver: waits for answers, as a worker collects them, takes them back and arms their time-outs ([`crate::scheduler::fresh`]).
use crate::process::ending::caught;
use crate::process::reply::Pending;
use crate::scheduler::Home;
use crate::scheduler::fresh::{Place, Wait};
use crate::scheduler::worker::Local;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Local {
    /// Notes a wait for a callee of `home`, and its place, if this is a worker of its runtime. The clock is not looked at for that now: at
    /// the next tick its time begins to count, so that it is never early, and only if it lasts for longer than some ticks
    /// does it get a timer, and is polled, to have the callee note it ([`crate::scheduler::fresh`]).
    #[inline(always)]
    pub(crate) fn collect_wait(home: &Home, pending: Arc<dyn Pending>, timeout: u64, place: &mut Option<Place>) {
        Self::with(|local| {
            let Some(local) = local.filter(|local| local.runs_home(home)) else { return };
            let (spot, full) = local.remote.fresh.collect(pending, timeout);
            if full {
                local.polls_to_tick.set(0);
            }
            *place = Some(spot.of(local.home.index));
        });
    }

    /// The wait is over. On another worker nothing is done: a tick finds out.
    #[inline(always)]
    pub(crate) fn forget_wait(home: &Home, place: Place) {
        let forgotten = Self::with(|local| {
            let local = local.filter(|local| local.home.index == place.worker && local.runs_home(home))?;
            local.remote.fresh.take_back(place)
        });
        drop(forgotten);
    }

    /// Whether this is a worker of that runtime.
    pub(crate) fn is_of(home: &Home) -> bool {
        Self::with(|local| local.is_some_and(|local| local.runs_home(home)))
    }

    fn runs_home(&self, home: &Home) -> bool {
        Arc::ptr_eq(&self.home.shared, &home.shared)
    }

    /// Arms the time-outs that this worker has collected and that have come of age (or `all`), and those of workers that do
    /// not come to it; but for those that nobody waits for any more.
    pub(super) fn arm_time_outs(&self, all: bool) {
        let shared = &self.home.shared;
        for remote in shared.scheduler.remotes() {
            let taken = if Arc::ptr_eq(remote, &self.remote) {
                remote.fresh.tick(&shared.clock, all)
            } else {
                remote.fresh.take_over(remote.ticked.load(Ordering::Relaxed), &shared.clock)
            };
            for (from, mut waits) in taken {
                for Wait { pending, timeout } in waits.drain(..) {
                    if let Some(pending) = pending.filter(|pending| pending.is_awaited()) {
                        caught(|| self.home.arm_time_out(&pending, from.saturating_add(timeout)));
                        caught(|| pending.linger());
                    }
                }
                remote.fresh.recycle(waits);
            }
        }
    }
}
