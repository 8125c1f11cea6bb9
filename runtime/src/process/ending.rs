//! Driver: the end of a process, in the order in which others may see it.
//!
//! Fate fixed → the body dropped → left-over messages dropped → name freed, groups left, timers removed, place in the
//! table freed → *gone* → links, then monitors, then callers told. The telling is a walk that its process carries on poll
//! by poll, some dozens at a time; a death only dooms its peers, so nothing recurses.
use crate::exit::ExitReason;
use crate::limits::TOLD_PER_POLL;
use crate::link::PeerSet;
use crate::monitor::MonitorRef;
use crate::pg::Membership;
use crate::pid::Pid;
use crate::process::control::{AnyProcess, Extra, GONE, Head, send_exit};
use crate::process::joint::{forget_watcher, send_down};
use crate::process::naming::named_by_parent;
use crate::scheduler::Home;
use crate::signal::Exit;
use crate::sync::atomic::Ordering;
use crate::timer::deliver::Armed;
use slab::Slab;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Waker;

/// Drops a value of a user's; a panic of its destructor ends here.
pub(crate) fn drop_caught<T>(value: T) {
    caught(|| drop(value));
}

/// Runs something that may reach user code (a destructor, a waker); its panic ends here.
pub(crate) fn caught(act: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(act)) {
        drop_payload(payload);
    }
}

/// Wakes somebody whose waker may be a user's: neither a worker nor the rest of an end may fail by it.
pub(crate) fn wake_caught(waker: Waker) {
    caught(|| waker.wake());
}

/// Drops what a panic carried, whose own destructor may panic, and so on; at last it is leaked.
pub(crate) fn drop_payload(mut payload: Box<dyn Any + Send>) {
    const PATIENCE: usize = 8;
    for _ in 0..PATIENCE {
        match catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            Ok(()) => return,
            Err(next) => payload = next,
        }
    }
    std::mem::forget(payload);
}

/// Fixes the fate of a process that ends by itself; one that was fixed before stands.
pub(crate) fn settle_fate(process: &AnyProcess, own: ExitReason) {
    let refused = process.core().fix_fate(process.head(), own);
    drop_caught(refused);
}

/// Those who are still to be told.
pub(crate) struct Walk {
    home: Arc<Home>,
    pid: Pid,
    reason: ExitReason,
    links: PeerSet<Pid, AnyProcess>,
    latent: slab::IntoIter<Pid>,
    extra: Option<Box<Extra>>,
}

/// Frees all that belongs to the process, whose fate is fixed and whose body is dropped, and makes it gone.
pub(crate) fn finish(process: &AnyProcess) -> Walk {
    if let Some(simulator) = &process.head().home.shared.scheduler.simulator {
        simulator.flush();
    }
    let (walk, name, label) = free(process);
    if !walk.reason.is_orderly() {
        let head = process.head();
        let shared = &head.home.shared;
        let label = if name.is_some() { label } else { label.or_else(|| named_by_parent(head)) };
        shared.reports.abnormal_exit(head, name, label, &walk.reason, &shared.clock);
    }
    walk
}

/// As [`finish`], for a process that never was: there is nothing to report.
pub(crate) fn finish_unborn(process: &AnyProcess) -> Walk {
    free(process).0
}

fn free(process: &AnyProcess) -> (Walk, Option<Arc<str>>, Option<Arc<str>>) {
    let head = process.head();
    let shared = &head.home.shared;
    let mut belongings = None;
    process.discard_messages(&mut |core| {
        if let Some(extra) = &mut core.extra {
            belongings = Some(Belongings::take(extra));
        }
    });
    if let Some(belongings) = belongings {
        belongings.release(head);
    }
    let emptied = shared.table.remove(head.pid);
    let mut core = process.core();
    head.life.store(GONE, Ordering::Release);
    let reason = core.fate.clone().unwrap_or(ExitReason::Killed);
    let links = std::mem::take(&mut core.links);
    let mut extra = core.extra.take();
    let waker = core.waker.take();
    let signals = core.signals.take();
    head.own_waker.store(0, Ordering::Relaxed);
    drop(core);
    drop(waker);
    drop_caught(signals);
    drop_caught(extra.as_mut().and_then(|extra| extra.namer.take()));
    if let Some(receiver) = extra.as_mut().and_then(|extra| extra.receiver.take()) {
        wake_caught(receiver);
    }
    if emptied {
        shared.lifecycle.process_ended(&shared.table);
    }
    if let Some(simulator) = &shared.scheduler.simulator {
        simulator.gone(head, &reason);
    }
    let name = extra.as_ref().and_then(|extra| extra.name.clone());
    let label = extra.as_ref().and_then(|extra| extra.label.clone());
    let latent = extra.as_mut().map(|extra| std::mem::take(&mut extra.latent)).unwrap_or_default().into_iter();
    (Walk { home: Arc::clone(&head.home), pid: head.pid, reason, links, latent, extra }, name, label)
}

/// What others hold of the process, and is given up at its end. Once its fate is fixed there comes nothing to it.
struct Belongings {
    name: Option<Arc<str>>,
    groups: Vec<Membership>,
    subscriptions: Vec<Arc<str>>,
    timers: Slab<Armed>,
}

impl Belongings {
    fn take(extra: &mut Extra) -> Self {
        Self {
            name: extra.name.clone(),
            groups: std::mem::take(&mut extra.groups),
            subscriptions: std::mem::take(&mut extra.subscriptions),
            timers: std::mem::take(&mut extra.timers),
        }
    }

    /// Frees the name, leaves the groups and stops the timers to the process.
    fn release(self, head: &Head) {
        let shared = &head.home.shared;
        if let Some(name) = self.name {
            shared.registry.release(&name, head.pid);
        }
        if !(self.groups.is_empty() && self.subscriptions.is_empty()) {
            shared.groups().leave_all(head.pid, &self.groups, &self.subscriptions);
        }
        for (_, timer) in self.timers {
            drop_caught(shared.timers.remove(timer.id));
        }
    }
}

impl Walk {
    /// Tells the next few; true when all have been told.
    pub(crate) fn step(&mut self) -> bool {
        (0..TOLD_PER_POLL).any(|_| !self.tell_one()) || self.is_over()
    }

    /// Tells all, for an end that cannot yield.
    pub(crate) fn complete(&mut self) {
        while self.tell_one() {}
    }

    fn is_over(&self) -> bool {
        let told = |extra: &Extra| {
            extra.latent.is_empty()
                && extra.watchers.is_empty()
                && extra.pending.is_empty()
                && extra.watching.is_empty()
        };
        self.links.is_empty() && self.latent.len() == 0 && self.extra.as_deref().is_none_or(told)
    }

    fn tell_one(&mut self) -> bool {
        if let Some((_, peer)) = self.links.pop() {
            send_exit(&peer, Exit { from: Some(self.pid), reason: self.reason.clone(), by_link: true });
            return true;
        }
        if let Some((_, pid)) = self.latent.next() {
            // One that is not there any more ended without a word to anybody.
            if let Some(peer) = self.home.shared.table.get(pid) {
                send_exit(&peer, Exit { from: Some(self.pid), reason: self.reason.clone(), by_link: true });
            }
            return true;
        }
        let Some(extra) = &mut self.extra else { return false };
        if let Some((monitor, watcher)) = extra.watchers.pop() {
            let reason = if watcher.late { &ExitReason::NoProcess } else { &self.reason };
            send_down(&watcher.process, monitor, self.pid, reason);
        } else if let Some(pending) = extra.pending.pop() {
            caught(|| pending.ended(&self.reason));
        } else if let Some((serial, watched)) = extra.watching.pop() {
            forget_watcher(&watched.process, MonitorRef::new(self.pid, serial));
        } else {
            return false;
        }
        true
    }
}
