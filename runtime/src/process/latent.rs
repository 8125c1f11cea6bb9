//! Shared: dormant processes that nobody has had to do with: a pid in the table, and no control block.
//!
//! Such a process is *latent*. What stands in the table for it is what it was made for ([`Dormant`]), and a process that it is linked
//! to has its pid beside its own links. Whoever looks for it by its pid (an exit, a monitor, a link, the peer's end) gives it its control
//! block first ([`Table::get`]), under the table's lock `making`, so that it is done once; from then on it is a dormant process
//! like any other ([`super::dormant`]).
//!
//! Making one: `made` is set, then it is asked for its peer, then the peer's record of it becomes an ordinary link, then the table's entry is exchanged. A link to
//! a latent process is made under the peer's lock after a look at `made` there: so it is either found and exchanged, or whoever makes
//! it sees that there is a control block to link to. Who ends a latent process takes it out of the table first, and its
//! link after that; who made a control block in vain takes back what it has put there.
//!
//! [`Table::get`]: super::table::Table::get
use crate::mailbox::Mailbox;
use crate::pid::Pid;
use crate::process::address::Address;
use crate::process::berth::Moored;
use crate::process::control::{AnyProcess, Control, Extra, Head};
use crate::runtime::Handle;
use crate::sync::atomic::AtomicBool;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::Waker;

/// What a dormant process is for ([`Handle::spawn_dormant`]). Its methods may be called at any time, by any thread, and are to return
/// at once, without asking the runtime for anything.
pub trait Dormant: Send + Sync + 'static {
    /// Who it is: the same each time, and one for each process.
    fn origin(&self) -> &Origin;

    /// Where it was spawned.
    fn runtime(&self) -> &Handle;

    /// The process that it is linked to, to which it was sent with [`Address::send_linked`] or is about to be.
    fn peer(&self) -> Option<Peer>;

    /// To be woken when it should run.
    fn waker(self: Arc<Self>) -> Waker;
}

/// Who a dormant process is; filled in by [`Handle::spawn_dormant`].
#[derive(Default)]
pub struct Origin {
    pid: AtomicU64,
    parent: AtomicU64,
    /// In tenths of a second of the runtime's time.
    started: AtomicU32,
    /// Where its peer has it; written under that one's lock.
    linked_at: AtomicU32,
    /// It has a control block, or gets it now.
    made: AtomicBool,
}

impl Origin {
    /// Of a process that is still to be spawned.
    #[must_use]
    pub fn new() -> Self {
        Self {
            pid: AtomicU64::new(0),
            parent: AtomicU64::new(0),
            started: AtomicU32::new(0),
            linked_at: AtomicU32::new(0),
            made: AtomicBool::new(false),
        }
    }

    /// Notes who it is, before anybody can find it.
    pub(crate) fn settle(&self, pid: Pid, parent: Option<Pid>, started: u32) {
        self.pid.store(pid.word(), Ordering::Relaxed);
        self.parent.store(parent.map_or(0, Pid::word), Ordering::Relaxed);
        self.started.store(started, Ordering::Relaxed);
    }

    pub(crate) fn pid(&self, runtime: u32) -> Option<Pid> {
        Pid::from_word(self.pid.load(Ordering::Relaxed), runtime)
    }

    pub(crate) fn parent(&self, runtime: u32) -> Option<Pid> {
        Pid::from_word(self.parent.load(Ordering::Relaxed), runtime)
    }

    pub(crate) fn started(&self) -> u32 {
        self.started.load(Ordering::Relaxed)
    }

    pub(crate) fn linked_at(&self) -> u32 {
        self.linked_at.load(Ordering::Relaxed)
    }

    pub(crate) fn set_linked_at(&self, at: usize) {
        self.linked_at.store(u32::try_from(at).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Its link, for the peer to forget ([`Context::forget_dormant`](crate::Context::forget_dormant)).
    pub fn link(&self, pid: Pid) -> DormantLink {
        DormantLink { pid, at: self.linked_at() }
    }

    /// Somebody has had to do with the process, and it has its control block, or is about to. While this is false under a lock
    /// that [`Dormant::peer`] takes, its link may be moved: forgotten by one process, and made anew to another.
    pub fn is_made(&self) -> bool {
        self.made.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin").field("made", &self.is_made()).finish_non_exhaustive()
    }
}

/// The link of a dormant process to its peer, as that has it.
#[derive(Clone, Copy, Debug)]
pub struct DormantLink {
    pub(crate) pid: Pid,
    pub(crate) at: u32,
}

/// A process, whatever messages it takes.
#[derive(Clone)]
pub struct Peer(pub(crate) AnyProcess);

impl<M: Send + 'static> From<&Address<M>> for Peer {
    fn from(address: &Address<M>) -> Self {
        Self(address.any())
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peer({})", self.0.head().pid)
    }
}

/// What stands in the table for a process.
pub(crate) trait Entry: Send + Sync {
    fn stand(self: Arc<Self>) -> Stand;
    /// It has no control block.
    fn is_latent(&self) -> bool;
    /// It is none: who knows of the slot's processes is to be asked ([`super::berth`]).
    fn is_berth(&self) -> bool {
        false
    }
}

pub(crate) enum Stand {
    Process(AnyProcess),
    Dormant(Arc<dyn Dormant>),
    Berth(Arc<Moored>),
}

impl<M: Send + 'static> Entry for Control<M> {
    fn stand(self: Arc<Self>) -> Stand {
        Stand::Process(self)
    }

    fn is_latent(&self) -> bool {
        false
    }
}

impl<D: Dormant> Entry for D {
    fn stand(self: Arc<Self>) -> Stand {
        Stand::Dormant(self)
    }

    fn is_latent(&self) -> bool {
        true
    }
}

impl Extra {
    /// Takes out a link to a process without a control block; true if it was there.
    pub(crate) fn forget_latent(&mut self, pid: Pid, at: u32) -> bool {
        let is_there = self.latent.get(at as usize) == Some(&pid);
        if is_there {
            self.latent.remove(at as usize);
        }
        is_there
    }
}

/// The control block of a dormant process, to which its peer is linked from now on, if it is linked at all.
pub(crate) fn make(dormant: &Arc<dyn Dormant>) -> AnyProcess {
    let origin = dormant.origin();
    let home = Arc::clone(dormant.runtime().home());
    let tag = home.shared.tag;
    let pid = origin.pid(tag).expect("it has been spawned");
    let mut head = Head::new(pid, origin.parent(tag), home);
    head.started = origin.started();
    head.receiver_since.store(head.started, Ordering::Relaxed);
    let mut control = Control::<()>::new(head, Mailbox::default());
    // Before it says whom it is linked to: who sees under its lock that this is not set may link it to another.
    origin.made.store(true, Ordering::Release);
    let peer = dormant.peer().map(|Peer(process)| process);
    let core = &mut control.inner.get_mut().core;
    (core.dormant, core.trapping) = (true, true);
    core.wait();
    if let Some(peer) = &peer {
        drop(core.links.insert(peer.head().pid, Arc::clone(peer)));
    }
    core.waker = Some(Arc::clone(dormant).waker());
    if control.head.home.shared.scheduler.simulator.is_some() {
        control.attend();
    }
    let made: AnyProcess = Arc::new(control);
    if let Some(peer) = peer {
        let mut theirs = peer.core();
        if let Some(extra) = &mut theirs.extra
            && extra.forget_latent(pid, origin.linked_at())
        {
            drop(theirs.links.insert(pid, Arc::clone(&made)));
        }
    }
    made
}

/// Takes a control block's link back: its process had ended before.
pub(crate) fn unmake(made: &AnyProcess) {
    let (mut links, waker) = {
        let mut core = made.core();
        (std::mem::take(&mut core.links), core.waker.take())
    };
    while let Some((_, peer)) = links.pop() {
        let record = peer.core().links.remove(made.head().pid);
        drop(record);
    }
    drop(waker);
}

/// It is in the table.
pub(crate) fn born(made: &AnyProcess) {
    if let Some(simulator) = &made.head().home.shared.scheduler.simulator {
        simulator.born(made.head(), None);
    }
}
