//! Shared: what takes two processes: links and monitors.
//!
//! A link is one record on each side, made and removed under both locks, taken in the order of the pids. There are no
//! identifiers and no acknowledgements: the receiver's own record decides whether an exit signal counts, and removing
//! it ends the link. A monitor's authority is the record of its owner; the record at the target only says whom to tell.
use crate::exit::ExitReason;
use crate::monitor::MonitorRef;
use crate::pid::Pid;
use crate::process::control::{AnyProcess, Core, Process, Watched, Watcher};
use crate::signal::{Down, Exit, Signal};
use std::sync::Arc;

/// Runs `act` on both cores, locked in the order of the pids. The two must be different processes.
pub(crate) fn with_both<R>(a: &AnyProcess, b: &AnyProcess, act: impl FnOnce(&mut Core, &mut Core) -> R) -> R {
    with_cores(&**a, &**b, act)
}

/// As [`with_both`], for who has them otherwise.
pub(crate) fn with_cores<R>(a: &dyn Process, b: &dyn Process, act: impl FnOnce(&mut Core, &mut Core) -> R) -> R {
    if a.head().pid < b.head().pid {
        let mut core_a = a.core();
        let mut core_b = b.core();
        act(&mut core_a, &mut core_b)
    } else {
        let mut core_b = b.core();
        let mut core_a = a.core();
        act(&mut core_a, &mut core_b)
    }
}

/// Links `me` to `peer`; a peer that is dead (doomed or gone) answers with an exit signal of "no such process". Returns
/// false if `me` is doomed itself.
pub(crate) fn link(me: &AnyProcess, peer: &AnyProcess) -> bool {
    let (my_pid, peer_pid) = (me.head().pid, peer.head().pid);
    if my_pid == peer_pid {
        return me.head().is_alive();
    }
    let linked = with_both(me, peer, |mine, theirs| {
        if mine.fate.is_some() {
            return None;
        }
        let duplicate = mine.links.insert(peer_pid, Arc::clone(peer)).err();
        if theirs.fate.is_none() {
            let other = theirs.links.insert(my_pid, Arc::clone(me)).err();
            return Some((None, (duplicate, None), other));
        }
        if duplicate.is_some() {
            // Linked already when the peer was doomed: its own end will tell the true reason.
            return Some((None, (duplicate, None), None));
        }
        let answer = Exit { from: Some(peer_pid), reason: ExitReason::NoProcess, by_link: true };
        let (waker, leftovers) = mine.apply_exit(me.head(), answer);
        Some((waker, leftovers, None))
    });
    let Some((waker, leftovers, other)) = linked else { return false };
    #[cfg(all(test, not(loom)))]
    if crate::simulation::planted::is_planted(crate::simulation::planted::Bug::ToldTwice) {
        with_both(me, peer, |mine, theirs| {
            drop(mine.links.insert(peer_pid, Arc::clone(peer)));
            drop(theirs.links.insert(my_pid, Arc::clone(me)));
        });
    }
    if let Some(waker) = waker {
        waker.wake();
    }
    drop((leftovers, other));
    true
}

/// Removes the link on both sides: no exit signal because of it will be handled by `me` afterwards. One that is doomed keeps
/// its links: its end is told along those it had when that was decided.
pub(crate) fn unlink(me: &AnyProcess, peer: &AnyProcess) {
    let (my_pid, peer_pid) = (me.head().pid, peer.head().pid);
    if my_pid == peer_pid {
        return;
    }
    let records = with_both(me, peer, |mine, theirs| {
        let ends = mine.fate.is_some();
        (!ends).then(|| (mine.links.remove(peer_pid), theirs.links.remove(my_pid)))
    });
    drop(records);
}

/// Makes the monitor `reference` of `me` on `target`. Returns false if `me` is doomed itself.
pub(crate) fn monitor(me: &AnyProcess, target: &AnyProcess, reference: MonitorRef, name: Option<Arc<str>>) -> bool {
    watch(me, target, reference, name, false)
}

/// The monitor that a process is born with: it tells the true reason, however early the process was doomed.
pub(crate) fn monitor_at_birth(me: &AnyProcess, newborn: &AnyProcess, reference: MonitorRef) {
    watch(me, newborn, reference, None, true);
}

fn watch(
    me: &AnyProcess,
    target: &AnyProcess,
    reference: MonitorRef,
    name: Option<Arc<str>>,
    from_birth: bool,
) -> bool {
    if me.head().pid == target.head().pid {
        return me.head().is_alive();
    }
    {
        let mut mine = me.core();
        if mine.fate.is_some() {
            return false;
        }
        let watched = Watched { process: Arc::clone(target), name };
        let fresh = mine.extra().watching.insert(reference.serial(), watched);
        debug_assert!(fresh.is_ok(), "a monitor's reference is used once");
    }
    let mut theirs = target.core();
    if target.head().is_gone() {
        drop(theirs);
        send_down(me, reference, target.head().pid, &ExitReason::NoProcess);
        return true;
    }
    let late = theirs.fate.is_some() && !from_birth;
    let fresh = theirs.extra().watchers.insert(reference, Watcher { process: Arc::clone(me), late });
    drop(theirs);
    debug_assert!(fresh.is_ok(), "a monitor's reference is used once");
    true
}

/// Removes a monitor; true if it stood (and so will never fire).
pub(crate) fn demonitor(me: &AnyProcess, reference: MonitorRef) -> bool {
    let mut mine = me.core();
    let watched = mine.extra.as_mut().and_then(|extra| extra.watching.remove(reference.serial()));
    drop(mine);
    let Some(watched) = watched else { return false };
    forget_watcher(&watched.process, reference);
    true
}

/// Takes the record of a monitor out of its target.
pub(crate) fn forget_watcher(target: &AnyProcess, reference: MonitorRef) {
    let mut theirs = target.core();
    let watcher = theirs.extra.as_mut().and_then(|extra| extra.watchers.remove(reference));
    drop(theirs);
    drop(watcher);
}

/// Tells the owner of a monitor that its target is gone, if the monitor still stands.
pub(crate) fn send_down(owner: &AnyProcess, monitor: MonitorRef, pid: Pid, reason: &ExitReason) {
    let mut core = owner.core();
    let Some(watched) = core.extra.as_mut().and_then(|extra| extra.watching.remove(monitor.serial())) else {
        return;
    };
    if core.fate.is_some() {
        drop(core);
        return;
    }
    let down = Down { monitor, pid: Some(pid), name: watched.name.clone(), reason: reason.clone() };
    let waker = core.push_signal(owner.head(), Signal::Down(down));
    drop(core);
    drop(watched);
    if let Some(waker) = waker {
        waker.wake();
    }
}
