//! Driver: reads what the runtime tells about itself, taking each lock for a moment.
use crate::info::{Activity, ProcessInfo, RuntimeInfo, WorkerInfo};
use crate::limits::INFO_PEERS;
use crate::pid::Pid;
use crate::process::control::{AnyProcess, Extra};
use crate::shared::Shared;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Reads a process; `None` if it is dead, unless `dead_too`.
pub(crate) fn inspect(process: &AnyProcess, dead_too: bool) -> Option<ProcessInfo> {
    let head = process.head();
    let shared = &head.home.shared;
    let now = shared.clock.now();
    let tenths = |at: u32| Duration::from_nanos(now.saturating_sub(u64::from(at) * 100_000_000));
    let core = process.core();
    if core.fate.is_some() && !dead_too {
        return None;
    }
    let extra = core.extra.as_deref();
    let callee = head.callee().or(extra.and_then(|extra| extra.calls_elsewhere));
    let blocking = extra.and_then(Extra::blocking_since);
    let activity = match (callee.map(Activity::Calling), head.idle_since.load(Ordering::Relaxed)) {
        (Some(calling), _) => calling,
        (None, _) if blocking.is_some() => Activity::Blocking(blocking.map(tenths).unwrap_or_default()),
        (None, since) if core.waiting && since > 0 => Activity::Receiving(tenths(since)),
        _ => Activity::Active,
    };
    let watching = extra.map(|extra| &extra.watching);
    Some(ProcessInfo {
        pid: head.pid,
        name: extra.and_then(|extra| extra.name.clone()),
        label: extra.and_then(|extra| extra.label.clone()),
        parent: Pid::from_word(head.parent, head.pid.runtime()),
        activity,
        mailbox: core.held(head),
        mailbox_bound: core.bound as usize,
        dropped: extra.map_or(0, |extra| extra.dropped),
        reductions: head.reductions.load(Ordering::Relaxed),
        traps_exits: core.trapping,
        links: core.links.keys(INFO_PEERS),
        link_count: core.links.len(),
        monitors: watching
            .map(|watching| watching.peers(INFO_PEERS).into_iter().map(|watched| watched.process.head().pid).collect())
            .unwrap_or_default(),
        monitor_count: watching.map_or(0, crate::link::PeerSet::len),
        monitored_by: extra
            .map(|extra| extra.watchers.keys(INFO_PEERS).into_iter().map(crate::monitor::MonitorRef::owner).collect())
            .unwrap_or_default(),
        monitored_by_count: extra.map_or(0, |extra| extra.watchers.len()),
        groups: extra
            .map(|extra| extra.groups.iter().map(|membership| Arc::clone(&membership.group)).collect())
            .unwrap_or_default(),
        timers: extra.map_or(0, |extra| extra.timers.len()),
        age: tenths(head.started),
    })
}

/// Reads the runtime.
pub(crate) fn runtime(shared: &Shared) -> RuntimeInfo {
    let workers = shared.scheduler.remotes.iter().map(|remote| {
        let counters = &remote.counters;
        WorkerInfo {
            polls: counters.polls.load(Ordering::Relaxed),
            steals: counters.steals.load(Ordering::Relaxed),
            parks: counters.parks.load(Ordering::Relaxed),
            timers: counters.timers.load(Ordering::Relaxed),
            reductions: counters.reductions.load(Ordering::Relaxed),
            queued: remote.woken.len() + remote.newborn.len(),
        }
    });
    RuntimeInfo {
        name: shared.name.clone(),
        processes: shared.table.len(),
        process_limit: shared.limits.processes,
        timers: shared.timers.len(),
        names: shared.registry.names().len(),
        abnormal_exits: shared.reports.abnormal_exits().1,
        uptime: Duration::from_nanos(shared.clock.now()),
        workers: workers.collect(),
        blocking: crate::blocking::info(shared),
    }
}
