//! Driver: reads what the runtime tells about itself, taking each lock for a moment.
use crate::clock::elapsed;
use crate::info::{Activity, ProcessInfo, ProcessInside, ProcessSample, RuntimeInfo, Whereabouts, WorkerInfo};
use crate::limits::{INFO_PEERS, SAMPLE_WAITS};
use crate::mailbox::Mailbox;
use crate::pid::Pid;
use crate::process::control::{AnyProcess, Core, Extra, Head};
use crate::process::latent::{Origin, Stand};
use crate::process::naming::named_by_parent;
use crate::scheduler::Remote;
use crate::shared::Shared;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

/// Reads a process; `None` if it is dead, unless `dead_too`.
pub(crate) fn inspect(process: &AnyProcess, dead_too: bool) -> Option<ProcessInfo> {
    let head = process.head();
    let shared = &head.home.shared;
    let now = shared.clock.now();
    let tenths = |stamp: u32| elapsed(now, stamp);
    let (core, queued) = process.look(None)?;
    if core.fate.is_some() && !dead_too {
        return None;
    }
    let extra = core.extra.as_deref();
    let activity = activity(head, &core, tenths);
    let watching = extra.map(|extra| &extra.watching);
    let mut info = ProcessInfo {
        pid: head.pid,
        name: extra.and_then(|extra| extra.name.clone()),
        label: extra.and_then(|extra| extra.label.clone()),
        parent: Pid::from_word(head.parent, head.pid.runtime()),
        activity,
        mailbox: core.held(head),
        mailbox_bound: core.bound as usize,
        oldest_message: core.oldest(head, queued).map(tenths),
        dropped: extra.map_or(0, |extra| extra.dropped),
        reductions: head.reductions.load(Ordering::Relaxed),
        traps_exits: core.trapping,
        links: links(&core),
        link_count: core.links.len() + extra.map_or(0, |extra| extra.latent.len()),
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
        spawned_at: shared.sites.place(core.site),
        whereabouts: Whereabouts::of(head.whereabouts.load(Ordering::Relaxed)),
        stalled: shared.stalls.of(head.pid, now),
    };
    drop(core);
    if info.name.is_none() && info.label.is_none() {
        info.label = named_by_parent(head);
    }
    Some(info)
}

fn links(core: &Core) -> Vec<Pid> {
    let mut links = core.links.keys(INFO_PEERS);
    if let Some(extra) = core.extra.as_deref() {
        links.extend(extra.latent.iter().map(|(_, pid)| *pid).take(INFO_PEERS - links.len()));
    }
    links
}

fn activity(head: &Head, core: &Core, tenths: impl Fn(u32) -> Duration) -> Activity {
    let extra = core.extra.as_deref();
    let callee = head.callee().or(extra.and_then(|extra| extra.calls_elsewhere));
    let blocking = extra.and_then(Extra::blocking_since);
    match (callee.map(Activity::Calling), head.receiver_since.load(Ordering::Relaxed)) {
        (Some(calling), _) => calling,
        (None, _) if blocking.is_some() => Activity::Blocking(blocking.map(tenths).unwrap_or_default()),
        (None, since) if core.is_waiting() && since > 0 => Activity::Receiving(tenths(since)),
        _ => Activity::Active,
    }
}

/// Shows all processes that are in the table, the doomed too, and waits for no lock longer than `patience`; after a number of
/// such waits, not at all. How many parts of the table could not be read.
pub(crate) fn sample(shared: &Shared, patience: Duration, mut show: impl FnMut(ProcessSample)) -> usize {
    let now = shared.clock.now();
    let polling: Vec<(Pid, Duration)> =
        shared.scheduler.remotes().iter().filter_map(|remote| polling(remote, shared.tag, now)).collect();
    let tenths = |stamp: u32| elapsed(now, stamp);
    let mut waits = SAMPLE_WAITS;
    shared.table.for_each_within(patience, |stand| {
        let process = match stand {
            Stand::Process(process) => process,
            Stand::Dormant(dormant) => return show(latent(shared.tag, dormant.origin(), tenths)),
            Stand::Berth(_) => return,
        };
        let head = process.head();
        let core = process.look(Some(if waits > 0 { patience } else { Duration::ZERO }));
        if core.is_none() {
            waits = waits.saturating_sub(1);
        }
        let inside = core.map(|(core, queued)| {
            let extra = core.extra.as_deref();
            ProcessInside {
                name: extra.and_then(|extra| extra.name.clone()),
                label: extra.and_then(|extra| extra.label.clone()),
                activity: activity(head, &core, tenths),
                mailbox: core.held(head),
                mailbox_bound: core.bound as usize,
                oldest_message: core.oldest(head, queued).map(tenths),
                dropped: extra.map_or(0, |extra| extra.dropped),
            }
        });
        show(ProcessSample {
            pid: head.pid,
            parent: Pid::from_word(head.parent, head.pid.runtime()),
            age: tenths(head.started),
            doomed: !head.is_alive(),
            polled: polling.iter().find(|(pid, _)| *pid == head.pid).map(|(_, since)| *since),
            reductions: head.reductions.load(Ordering::Relaxed),
            whereabouts: Whereabouts::of(head.whereabouts.load(Ordering::Relaxed)),
            inside,
        });
    })
}

/// A dormant process that nobody has had to do with.
fn latent(tag: u32, origin: &Origin, tenths: impl Fn(u32) -> Duration) -> ProcessSample {
    let age = tenths(origin.started());
    ProcessSample {
        pid: origin.pid(tag).expect("it is in the table"),
        parent: origin.parent(tag),
        age,
        doomed: false,
        polled: None,
        reductions: 0,
        whereabouts: Whereabouts::Start,
        inside: Some(ProcessInside {
            name: None,
            label: None,
            activity: Activity::Receiving(age),
            mailbox: 0,
            mailbox_bound: Mailbox::default().bound as usize,
            oldest_message: None,
            dropped: 0,
        }),
    }
}

fn polling(remote: &Remote, tag: u32, now: u64) -> Option<(Pid, Duration)> {
    let pid = Pid::from_word(remote.polled.load(Ordering::Relaxed), tag)?;
    Some((pid, Duration::from_nanos(now.saturating_sub(remote.ticked.load(Ordering::Relaxed)))))
}

/// Reads the runtime.
pub(crate) fn runtime(shared: &Shared) -> RuntimeInfo {
    let now = shared.clock.now();
    let workers = shared.scheduler.remotes[..shared.scheduler.workers].iter().map(|remote| {
        let counters = &remote.counters;
        WorkerInfo {
            polls: counters.polls.load(Ordering::Relaxed),
            steals: counters.steals.load(Ordering::Relaxed),
            parks: counters.parks.load(Ordering::Relaxed),
            timers: counters.timers.load(Ordering::Relaxed),
            reductions: counters.reductions.load(Ordering::Relaxed),
            queued: remote.woken.len() + remote.newborn.len(),
            polling: polling(remote, shared.tag, now),
        }
    });
    let (stalled, stalls) = shared.stalls.numbers();
    RuntimeInfo {
        name: shared.name.clone(),
        processes: shared.table.len(),
        process_limit: shared.limits.processes,
        timers: shared.timers.len(),
        names: shared.registry.names().len(),
        abnormal_exits: shared.reports.abnormal_exits().1,
        stalls,
        stalled,
        spares: shared.scheduler.spares.on_duty(),
        uptime: Duration::from_nanos(now),
        since_1970: shared.clock.system(now).duration_since(UNIX_EPOCH).unwrap_or_default(),
        queued: shared.scheduler.injector.len() + shared.scheduler.system.len(),
        workers: workers.collect(),
        blocking: crate::blocking::info(shared),
    }
}
