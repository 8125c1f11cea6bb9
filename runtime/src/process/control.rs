//! Shared: the control block, through which everyone else acts upon a process.
//!
//! Signals are not queued: the sender applies each one under the receiver's lock, so that the order of the lock is the
//! order of the signals. A process is *alive* until its fate is fixed, then *doomed*, and *gone* once its state has been
//! dropped; the `life` byte follows the fate under the lock, so that it may be read without.
//!
//! Rules that hold everywhere:
//! - No user code under a lock: what is taken out under one (messages, reasons, wakers, peers) is dropped, mapped or
//!   woken after it.
//! - Two control locks at once are taken in the order of the pids ([`super::joint`]). Below a control lock only a timer
//!   wheel's and the table's may be taken; above it, a registry shard's or a group's.
//! - `taken` is written by the receiver alone (release), and read by senders under the lock (acquire): what it counts
//!   has left the mailbox. A sender that reads an old value refuses a message early, never late.
//! - `mail_since` says [`super::mail_age::WAITING`] if the receiver has seen an empty mailbox under this lock: the next push
//!   takes that back and wakes.
//!   Were it set outside the lock, a push in between would wake nobody. It is set as soon as the last message is taken:
//!   the receiver, when it comes for the next, needs the lock only if `arrived` has moved since. (A push in between wakes a
//!   running process, which is then polled once more than it needs.)
use crate::budget;
use crate::clock::tenths_of;
use crate::exit::{Arrival, Effect, ExitReason, judge};
use crate::info::Whereabouts;
use crate::link::PeerSet;
use crate::mailbox::{Mailbox, Overflow, Signals};
use crate::monitor::MonitorRef;
use crate::pg::Membership;
use crate::pid::Pid;
use crate::process::ending::{drop_caught, wake_caught};
use crate::process::latent::Entry;
use crate::process::naming::Namer;
use crate::process::reply::Pending;
use crate::process::send::Senders;
use crate::scheduler::Home;
use crate::signal::{Exit, Signal};
use crate::site;
use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{MappedMutexGuard, Mutex, MutexGuard, narrow};
use crate::timer::deliver::Armed;
use slab::Slab;
use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// A process of whatever message type.
pub(crate) type AnyProcess = Arc<dyn Process>;

pub(crate) const ALIVE: u8 = 0;
pub(crate) const DOOMED: u8 = 1;
pub(crate) const GONE: u8 = 2;

/// What can be read without the lock. Of this and the other parts of a control block, the order is laid down: what a
/// message touches stands together, from the end of this to the links, in three lines of the cache at most.
#[repr(C)]
pub(crate) struct Head {
    /// The parent's pid as a word, 0 for none.
    pub(crate) parent: u64,
    /// The pid (as a word) of the process that this one calls through its context and cannot receive meanwhile.
    pub(crate) calling: AtomicU64,
    pub(crate) pid: Pid,
    /// When it was spawned, in tenths of a second of the runtime's time.
    pub(crate) started: u32,
    pub(crate) reductions: AtomicU64,
    /// Keeps the runtime's parts alive; one per worker, so that its count is no point of contention.
    pub(crate) home: Arc<Home>,
    /// The address of the task, by which the waker of the process as a whole is known.
    pub(crate) own_waker: AtomicUsize,
    /// The receiver's stamp, written by it alone. If it waits: when it last found nothing new, 0 while it handles a message.
    /// Else: since when what it has drawn last had been there, unless it has waited since.
    pub(crate) receiver_since: AtomicU32,
    pub(crate) life: AtomicU8,
    /// Messages were taken from a batch since waiting senders were last looked at.
    pub(crate) unsettled: AtomicBool,
    /// What it awaited when its last poll ended ([`crate::Whereabouts`]).
    pub(crate) whereabouts: AtomicU8,
    pub(crate) overflow: Overflow,
    /// Messages taken for good.
    pub(crate) taken: AtomicU32,
    /// Messages and signals that have arrived, counted in twos; written under the lock.
    pub(crate) arrived: AtomicU32,
}

impl Head {
    pub(crate) fn new(pid: Pid, parent: Option<Pid>, home: Arc<Home>) -> Self {
        let started = home.shared.clock.stamp();
        Self {
            pid,
            started,
            parent: parent.map_or(0, Pid::word),
            home,
            taken: AtomicU32::new(0),
            arrived: AtomicU32::new(0),
            own_waker: AtomicUsize::new(0),
            reductions: AtomicU64::new(0),
            calling: AtomicU64::new(0),
            life: AtomicU8::new(ALIVE),
            receiver_since: AtomicU32::new(0),
            unsettled: AtomicBool::new(false),
            whereabouts: AtomicU8::new(Whereabouts::Start.code()),
            overflow: Overflow::Refuse,
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.life.load(Ordering::Acquire) == ALIVE
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.life.load(Ordering::Acquire) == GONE
    }

    /// One more message or signal; under the lock.
    #[inline]
    pub(crate) fn count_arrival(&self) {
        let arrived = self.arrived.load(Ordering::Relaxed);
        self.arrived.store(arrived.wrapping_add(2), Ordering::Release);
    }

    /// The process that this one calls through its context.
    pub(crate) fn callee(&self) -> Option<Pid> {
        Pid::from_word(self.calling.load(Ordering::SeqCst), self.pid.runtime())
    }

    pub(crate) fn set_callee(&self, callee: Pid) {
        self.calling.store(callee.word(), Ordering::SeqCst);
    }

    pub(crate) fn clear_callee(&self) {
        self.calling.store(0, Ordering::Release);
    }

    /// The receiver waits from now on.
    #[inline]
    pub(crate) fn note_idle(&self) {
        self.receiver_since.store(self.home.shared.clock.tenths(), Ordering::Relaxed);
        budget::note_await(Whereabouts::Receive);
    }

    /// The mailbox drops its oldest when it is full, so that nothing is drawn ahead.
    #[inline]
    pub(crate) fn drops_oldest(&self) -> bool {
        self.overflow == Overflow::DropOldest
    }

    /// The receiver took some messages for good.
    pub(crate) fn took(&self, messages: u32) {
        let taken = self.taken.load(Ordering::Relaxed);
        self.taken.store(taken.wrapping_add(messages), Ordering::Release);
    }
}

/// What is guarded by the lock and does not depend on the type of the messages.
#[repr(C)]
pub(crate) struct Core {
    pub(crate) pushed: u32,
    pub(crate) bound: u32,
    /// Since when the shared queue has not been empty, if it is not; or [`super::mail_age::WAITING`].
    pub(super) mail_since: u32,
    /// The number of the place in the program where it was spawned.
    pub(crate) site: u16,
    pub(crate) trapping: bool,
    /// It has no body yet, and its waker is that of who will give it one.
    pub(crate) dormant: bool,
    pub(crate) fate: Option<ExitReason>,
    /// Permanent, so that a process that awaits something of others' can be woken to die. Taken out at the end, which
    /// breaks the cycle control → waker → task → control.
    pub(crate) waker: Option<Waker>,
    /// Signals that are to become messages, each with the number of messages pushed before it.
    pub(crate) signals: Option<Box<Signals>>,
    pub(crate) extra: Option<Box<Extra>>,
    pub(crate) links: PeerSet<Pid, AnyProcess>,
}

/// What most processes have none of.
#[derive(Default)]
pub(crate) struct Extra {
    pub(crate) name: Option<Arc<str>>,
    pub(crate) label: Option<Arc<str>>,
    /// What this process calls those it has spawned.
    pub(crate) namer: Option<Namer>,
    /// Monitors of this process on others, by serial: the authority on whether one still stands.
    pub(crate) watching: PeerSet<u64, Watched>,
    pub(crate) watchers: PeerSet<MonitorRef, Watcher>,
    /// Linked processes that have no control block yet ([`super::latent`]): a record on this side alone.
    pub(crate) latent: Slab<Pid>,
    pub(crate) groups: Vec<Membership>,
    /// Groups whose events this process is told of.
    pub(crate) subscriptions: Vec<Arc<str>>,
    pub(crate) timers: Slab<Armed>,
    pub(crate) next_timer: u64,
    /// Those who wait for an answer of this process or for its end.
    pub(crate) pending: Vec<Arc<dyn Pending>>,
    /// Where `pending` was looked at last, for those that nobody waits for any more.
    pub(crate) looked_at: usize,
    /// Messages dropped by the mailbox's policy.
    pub(crate) dropped: u64,
    /// Of these, those that the receiver has not yet counted as drawn.
    pub(crate) skipped: u32,
    /// And those that it has set aside, and is still to drop: its oldest.
    pub(crate) overdue: u32,
    /// Since when the oldest of those had been there that were set aside when it last looked for more; 0 for none.
    pub(crate) set_aside_since: u32,
    /// In a mailbox that drops its oldest: what is pushed from this number on came at this stamp or later.
    pub(super) mark: Option<(u32, u32)>,
    /// The process of another runtime that this one calls through its context.
    pub(crate) calls_elsewhere: Option<Pid>,
    /// How much blocking work it waits for, and since when, in tenths of a second.
    blocking: u32,
    blocking_since: u32,
    /// Who receives, if that is not the process as a whole: a part of its body with a waker of its own.
    pub(crate) receiver: Option<Waker>,
}

impl Extra {
    /// The process waits for one more piece of blocking work; it is now that time.
    pub(crate) fn begin_blocking(&mut self, now: u64) {
        if self.blocking == 0 {
            self.blocking_since = tenths_of(now);
        }
        self.blocking += 1;
    }

    pub(crate) fn end_blocking(&mut self) {
        self.blocking = self.blocking.saturating_sub(1);
    }

    pub(crate) fn blocking_since(&self) -> Option<u32> {
        (self.blocking > 0).then_some(self.blocking_since)
    }
}

/// A monitor as its owner holds it.
pub(crate) struct Watched {
    pub(crate) process: AnyProcess,
    pub(crate) name: Option<Arc<str>>,
}

/// A monitor as its target holds it.
pub(crate) struct Watcher {
    pub(crate) process: AnyProcess,
    /// Made when the target was doomed already: it fires when the target is gone, with "no such process".
    pub(crate) late: bool,
}

#[repr(C)]
pub(crate) struct Inner<M> {
    pub(crate) messages: VecDeque<M>,
    pub(crate) senders: Option<Box<Senders<M>>>,
    pub(crate) core: Core,
}

#[repr(C)]
pub(crate) struct Control<M> {
    pub(crate) head: Head,
    pub(crate) inner: Mutex<Inner<M>>,
}

/// What an exit signal leaves: the peer of the link it came along, and its reason if nobody wants that.
pub(crate) type Leftovers = (Option<AnyProcess>, Option<ExitReason>);

/// A control block whose message type is erased.
pub(crate) trait Process: Entry + Any {
    fn head(&self) -> &Head;
    fn core(&self) -> MappedMutexGuard<'_, Core>;
    /// As `core`, with how many messages the receiver has not drawn, for those who only look; `None` if the lock cannot be
    /// had in that time, should there be one.
    fn look(&self, patience: Option<Duration>) -> Option<(MappedMutexGuard<'_, Core>, usize)>;
    /// Drops the messages left over, one by one, each panic caught, and wakes the senders that wait. Whatever else is to be
    /// done under the same lock is done first.
    fn discard_messages(&self, also: &mut dyn FnMut(&mut Core));
    /// Lets in the messages of waiting senders for which there is room now.
    fn admit_waiting(&self);
    /// In a simulation: lets the oldest signal arrive that is held back of those from this process; true if there are more.
    fn let_arrive(&self, from: Pid) -> bool;
    /// In a simulation: may hold an exit signal back; else it comes back.
    fn hold_exit(&self, exit: Exit) -> Option<Exit>;
}

impl Core {
    pub(crate) fn new(mailbox: Mailbox) -> Self {
        Self {
            fate: None,
            waker: None,
            pushed: 0,
            bound: mailbox.bound,
            mail_since: 0,
            site: site::UNKNOWN,
            trapping: false,
            dormant: false,
            links: PeerSet::default(),
            signals: None,
            extra: None,
        }
    }

    pub(crate) fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_with(Box::default)
    }

    /// Queues a signal that becomes a message.
    #[must_use]
    pub(crate) fn push_signal(&mut self, head: &Head, signal: Signal) -> Option<Waker> {
        head.count_arrival();
        if let Some(simulator) = &head.home.shared.scheduler.simulator {
            simulator.signalled(head, signal.kind());
        }
        let position = self.pushed;
        self.signals.get_or_insert_default().push(position, signal);
        #[cfg(all(test, not(loom)))]
        if crate::simulation::planted::is_planted(crate::simulation::planted::Bug::LostWake) {
            return None;
        }
        // A signal counts for no message.
        self.stop_waiting(|| 0)
    }

    /// Fixes the fate, if it is not; the first wins, and another comes back, to be dropped after unlocking.
    #[must_use]
    pub(crate) fn fix_fate(&mut self, head: &Head, reason: ExitReason) -> Option<ExitReason> {
        if self.fate.is_some() {
            return Some(reason);
        }
        if let Some(simulator) = &head.home.shared.scheduler.simulator {
            simulator.doomed(head, &reason);
        }
        self.fate = Some(reason);
        head.life.store(DOOMED, Ordering::Release);
        None
    }

    /// As [`Core::fix_fate`], with the waker that makes the process come and die, if its fate was not fixed before.
    #[must_use]
    pub(crate) fn doom(&mut self, head: &Head, reason: ExitReason) -> (Option<Waker>, Option<ExitReason>) {
        match self.fix_fate(head, reason) {
            None => (self.waker.clone(), None),
            refused => (None, refused),
        }
    }

    /// Applies an exit signal. The removed link's peer and a reason that nobody wants come out, to be dropped after unlocking.
    #[must_use]
    pub(crate) fn apply_exit(&mut self, head: &Head, exit: Exit) -> (Option<Waker>, Leftovers) {
        if self.fate.is_some() {
            return (None, (None, Some(exit.reason)));
        }
        let link = if exit.by_link { exit.from.and_then(|peer| self.links.remove(peer)) } else { None };
        let arrival = Arrival {
            by_link: exit.by_link,
            linked: link.is_some(),
            from_self: exit.from == Some(head.pid),
            trapping: self.trapping,
        };
        let (waker, reason) = self.bring_about(head, exit, arrival);
        (waker, (link, reason))
    }

    /// Does to the process what the table says of the signal.
    fn bring_about(&mut self, head: &Head, exit: Exit, arrival: Arrival) -> (Option<Waker>, Option<ExitReason>) {
        match judge(&exit.reason, arrival) {
            Effect::Ignored => (None, Some(exit.reason)),
            Effect::Trapped => (self.push_signal(head, Signal::Exit(exit)), None),
            Effect::Fatal => self.doom(head, exit.reason),
            Effect::Killed => self.doom(head, ExitReason::Killed),
        }
    }

    /// Messages in the mailbox, those set aside included.
    pub(crate) fn held(&self, head: &Head) -> usize {
        let gone = self.extra.as_ref().map_or(0, |extra| extra.skipped + extra.overdue);
        self.pushed.wrapping_sub(head.taken.load(Ordering::Acquire)).wrapping_sub(gone) as usize
    }

    /// Applies the exit signal with which a dead process answers a link; there is no record of that link. (If there is one,
    /// the process is still telling of its end, and will come to it.)
    #[must_use]
    pub(crate) fn apply_dead_link(&mut self, head: &Head, exit: Exit) -> Option<Waker> {
        debug_assert!(matches!(exit.reason, ExitReason::NoProcess), "nothing of a user's is dropped here");
        if self.fate.is_some() || exit.from.is_some_and(|peer| self.links.contains(peer)) {
            return None;
        }
        let arrival = Arrival { by_link: true, linked: true, from_self: false, trapping: self.trapping };
        self.bring_about(head, exit, arrival).0
    }

    /// Notes one who waits for an answer or the end. Each time, two of those noted before are looked at, going round, and
    /// come out into `unwanted`, to be dropped after unlocking, if nobody waits for them any more: so the list stays in
    /// proportion to those who wait.
    pub(crate) fn add_pending(&mut self, pending: Arc<dyn Pending>, unwanted: &mut [Option<Arc<dyn Pending>>; 2]) {
        let extra = self.extra();
        for out in unwanted {
            let at = if extra.looked_at == 0 { extra.pending.len() } else { extra.looked_at };
            let Some(at) = at.checked_sub(1) else { break };
            extra.looked_at = at;
            let Some(at) = extra.pending.len().checked_sub(1).map(|last| at.min(last)) else { break };
            if Arc::strong_count(&extra.pending[at]) == 1 {
                *out = Some(extra.pending.swap_remove(at));
            }
        }
        extra.pending.push(pending);
    }
}

impl<M> Drop for Control<M> {
    /// The last handle may go in the midst of the task cell, which takes no panic: what is of a user's goes caught.
    fn drop(&mut self) {
        let inner = self.inner.get_mut();
        std::mem::take(&mut inner.messages).into_iter().for_each(drop_caught);
        if let Some(reason) = inner.core.fate.take() {
            drop_caught(reason);
        }
    }
}

impl<M> Control<M> {
    pub(crate) fn new(mut head: Head, mailbox: Mailbox) -> Self {
        head.overflow = mailbox.overflow;
        let inner = Inner { core: Core::new(mailbox), messages: VecDeque::new(), senders: None };
        Self { head, inner: Mutex::new(inner) }
    }
}

impl<M: Send + 'static> Process for Control<M> {
    fn head(&self) -> &Head {
        &self.head
    }

    fn core(&self) -> MappedMutexGuard<'_, Core> {
        narrow(self.inner.lock(), |inner| &mut inner.core, |inner| &inner.core)
    }

    fn look(&self, patience: Option<Duration>) -> Option<(MappedMutexGuard<'_, Core>, usize)> {
        let inner = match patience {
            Some(patience) => self.inner.try_lock_for(patience)?,
            None => self.inner.lock(),
        };
        let queued = inner.messages.len();
        Some((narrow(inner, |inner| &mut inner.core, |inner| &inner.core), queued))
    }

    fn discard_messages(&self, also: &mut dyn FnMut(&mut Core)) {
        let (messages, wakers) = {
            let mut inner = self.inner.lock();
            also(&mut inner.core);
            let wakers = inner.senders.as_mut().map(|senders| senders.take_wakers()).unwrap_or_default();
            (std::mem::take(&mut inner.messages), wakers)
        };
        wakers.into_iter().for_each(wake_caught);
        messages.into_iter().for_each(drop_caught);
    }

    fn admit_waiting(&self) {
        let mut inner = self.inner.lock();
        let wakers = inner.admit(&self.head);
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn let_arrive(&self, from: Pid) -> bool {
        self.arrive(from)
    }

    fn hold_exit(&self, exit: Exit) -> Option<Exit> {
        self.hold_exit_back(exit)
    }
}

/// Sends an exit signal: by a call of `exit` or because of a link.
pub(crate) fn send_exit(target: &AnyProcess, exit: Exit) {
    let head = target.head();
    let exit = if head.home.shared.scheduler.simulator.is_some() {
        let Some(exit) = target.hold_exit(exit) else { return };
        exit
    } else {
        exit
    };
    apply_exit(target, exit);
}

/// An exit signal arrives.
pub(super) fn apply_exit(target: &AnyProcess, exit: Exit) {
    let (waker, leftovers) = target.core().apply_exit(target.head(), exit);
    if let Some(waker) = waker {
        waker.wake();
    }
    drop(leftovers);
}

/// Fixes the fate without a signal's rules: for the runtime's own use.
pub(crate) fn doom(target: &AnyProcess, reason: ExitReason) {
    let (waker, refused) = target.core().doom(target.head(), reason);
    if let Some(waker) = waker {
        waker.wake();
    }
    drop(refused);
}

/// The guard of a control block as its owner takes it.
pub(crate) type InnerGuard<'a, M> = MutexGuard<'a, Inner<M>>;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// With these, an idle process takes less than 480 bytes: the allocator's steps are 16 bytes wide.
    #[test]
    fn a_control_block_takes_216_bytes_and_a_context_32() {
        assert!(size_of::<Control<u64>>() <= 216, "{}", size_of::<Control<u64>>());
        assert_eq!(size_of::<crate::Context<u64>>(), 32);
        assert_eq!(size_of::<crate::scheduler::Metadata>(), 24);
    }
}
