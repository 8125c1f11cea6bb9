//! Shared: one process of a consumer, as those see it who deliver to it.
//!
//! The counters are written by that process and read by anybody who looks. `orphans` are conversations that ended and are linked
//! to it still: written by a conversation before its links are told, and read by the process when the exit signal has come.
use crate::record::Record;
use crate::seats::Occupant;
use colloquium_runtime::{Address, Exit, Pid, Unwoken};
use crossbeam_utils::CachePadded;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What a consumer's process receives; only this crate makes any.
pub struct ConsumerMessage<M, R> {
    /// What is delivered; nothing: the next of the process's exit signals, which stand elsewhere, so that this is two words.
    pub(crate) record: Option<Arc<Record<M, R>>>,
    /// The number of the delivery.
    pub(crate) attempt: u32,
}

/// Written for each delivery, where the process runs; what stands beside them is read and counted where messages are dispatched.
#[derive(Default)]
struct Counts {
    begun: AtomicU64,
    /// What the process has answered itself, and what others have.
    ended: AtomicU64,
    ended_elsewhere: AtomicU64,
    failed: AtomicU64,
}

pub(crate) struct Process<M, R> {
    pub(crate) address: Address<ConsumerMessage<M, R>>,
    /// Deliveries that it has begun, in all, those of them that are answered or gone, and those of these that it has not completed.
    counts: CachePadded<Counts>,
    /// It ends by the end of a process that it is linked to, by what it was told, or by its handler's panic: not by a kill.
    pub(crate) follows: AtomicBool,
    /// Its supervisor wants it to end. Only this process writes and reads that.
    pub(crate) stopping: AtomicBool,
    orphans: Mutex<Vec<Pid>>,
    /// Those that the process has taken as messages without a delivery and not looked at yet: the one in its hand, since a signal becomes
    /// a message when it is its turn.
    exits: Mutex<VecDeque<Exit>>,
}

impl<M: Send + Sync + 'static, R: Send + 'static> Process<M, R> {
    pub(crate) fn new(address: Address<ConsumerMessage<M, R>>) -> Self {
        let (follows, stopping) = (AtomicBool::new(false), AtomicBool::new(false));
        Self {
            address,
            counts: CachePadded::default(),
            follows,
            stopping,
            orphans: Mutex::default(),
            exits: Mutex::default(),
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        self.address.pid()
    }

    /// Sends a message. One that arrives and is not begun with comes back by the exit signal along the conversation's link.
    pub(crate) fn deliver(&self, record: Arc<Record<M, R>>, attempt: u32) {
        if let Err(error) = self.address.send(ConsumerMessage { record: Some(record), attempt })
            && let Some(record) = error.into_message().record
        {
            record.undelivered(self.pid());
        }
    }

    /// The same, of a message whose conversation is dormant, which is linked to this by it. Whom to wake; `None` if it was not sent.
    #[inline(always)]
    pub(crate) fn deliver_linked(&self, record: &Arc<Record<M, R>>, attempt: u32, sent: &mut Unwoken) -> bool {
        let message = ConsumerMessage { record: Some(Arc::clone(record)), attempt };
        self.address.send_linked_into(message, &**record, sent).is_ok()
    }

    /// A conversation ends that is linked to this.
    pub(crate) fn orphaned(&self, conversation: Pid) {
        self.orphans.lock().push(conversation);
    }

    #[cfg(test)]
    pub(crate) fn orphans(&self) -> usize {
        self.orphans.lock().len()
    }

    /// An exit signal has come: the message that stands for it in the mailbox.
    pub(crate) fn signalled(&self, exit: Exit) -> ConsumerMessage<M, R> {
        self.exits.lock().push_back(exit);
        ConsumerMessage { record: None, attempt: 0 }
    }

    /// The exit signal of the message that stands for one.
    pub(crate) fn signal(&self) -> Option<Exit> {
        self.exits.lock().pop_front()
    }

    /// Whether the exit is that of a conversation.
    pub(crate) fn was_conversation(&self, pid: Pid) -> bool {
        let mut orphans = self.orphans.lock();
        let at = orphans.iter().position(|orphan| *orphan == pid);
        at.map(|at| orphans.swap_remove(at)).is_some()
    }

    /// By the process itself.
    pub(crate) fn count_start(&self) {
        self.counts.begun.store(self.counts.begun.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// By whoever has the delivery. What has failed is counted first, so that nobody counts it as completed meanwhile.
    pub(crate) fn count_end(&self, completed: bool) {
        if !completed {
            self.counts.failed.fetch_add(1, Ordering::Relaxed);
        }
        self.counts.ended_elsewhere.fetch_add(1, Ordering::Release);
    }

    /// As [`Process::count_end`], by the process itself.
    pub(crate) fn count_own_end(&self, completed: bool) {
        if !completed {
            self.counts.failed.fetch_add(1, Ordering::Relaxed);
        }
        self.counts.ended.store(self.counts.ended.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    fn ended(&self) -> u64 {
        self.counts.ended.load(Ordering::Acquire) + self.counts.ended_elsewhere.load(Ordering::Acquire)
    }

    pub(crate) fn begun(&self) -> u64 {
        self.counts.begun.load(Ordering::Relaxed)
    }

    pub(crate) fn completed(&self) -> u64 {
        let ended = self.ended();
        ended.saturating_sub(self.counts.failed.load(Ordering::Relaxed))
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> Occupant for Arc<Process<M, R>> {
    fn process(&self) -> Option<Pid> {
        Some(self.address.pid())
    }

    fn started(&self) -> u32 {
        // In this order: of what has ended, the begin is seen, too.
        let ended = self.ended();
        u32::try_from(self.begun().saturating_sub(ended)).unwrap_or(u32::MAX)
    }
}

impl<M, R> fmt::Debug for Process<M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Process({})", self.address.pid())
    }
}

impl<M, R> fmt::Debug for ConsumerMessage<M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConsumerMessage")
    }
}
