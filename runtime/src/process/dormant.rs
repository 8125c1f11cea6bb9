//! Driver: processes without a body: they are in the table and linked, and need no task until something happens, and no control block
//! until somebody has to do with them ([`super::latent`]).
//!
//! `dormant` in the control block says whether a process is one, under its lock; who takes it back (by giving it a body, or by ending
//! it) does so alone. Its permanent waker is not a task's then, but that of who has made it. It is taken out together with `dormant`:
//! what comes in between then and the task's own waker wakes nobody, and is seen by the task's first poll.
use crate::budget;
use crate::error::{SendError, SpawnError};
use crate::exit::{ExitReason, IntoExitReason};
use crate::pid::Pid;
use crate::process::address::Address;
use crate::process::context::Context;
use crate::process::control::{AnyProcess, Control, Core, GONE, Process, apply_exit};
use crate::process::joint;
use crate::process::latent::{Dormant, DormantLink, Entry};
use crate::process::spawn::{attach, embody};
use crate::runtime::Handle;
use crate::scheduler::Home;
use crate::scheduler::worker::Local;
use crate::signal::Exit;
use crate::sync::atomic::Ordering;
use crate::timer::deliver::typed;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::task::Waker;

impl Handle {
    /// Makes a process that has no body yet: for one that need not run unless something happens to it. It has its pid, its place in
    /// the table and its link like any other, traps exits, takes messages of type `()`, and counts as waiting for one; until
    /// somebody has to do with it, that is all there is of it. It is linked to nobody before [`Address::send_linked`].
    ///
    /// What it is for is its waker ([`Dormant::waker`]), woken when it should run: a message has come, or a signal, or its end. Who is
    /// woken gives it a body, by [`Handle::rouse`]; until then nothing becomes of what has come, and not of a kill either. It may
    /// be woken before this returns. Who has no use for it any more ends it, by [`Handle::retire`].
    ///
    /// # Errors
    ///
    /// [`SpawnError`], [`SpawnError::Ending`] for a parent of another runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// # use colloquium_runtime::{Context, Dormant, ExitReason, Handle, Origin, Peer, Runtime};
    /// use std::sync::{Arc, mpsc};
    /// use std::task::{Wake, Waker};
    ///
    /// struct Spare {
    ///     origin: Origin,
    ///     runtime: Handle,
    ///     bell: mpsc::SyncSender<()>,
    /// }
    /// impl Wake for Spare {
    ///     fn wake(self: Arc<Self>) {
    ///         let _ = self.bell.try_send(());
    ///     }
    /// }
    /// impl Dormant for Spare {
    ///     fn origin(&self) -> &Origin {
    ///         &self.origin
    ///     }
    ///     fn runtime(&self) -> &Handle {
    ///         &self.runtime
    ///     }
    ///     fn peer(&self) -> Option<Peer> {
    ///         None
    ///     }
    ///     fn waker(self: Arc<Self>) -> Waker {
    ///         Waker::from(self)
    ///     }
    /// }
    /// let runtime = Runtime::new()?;
    /// let (bell, rung) = mpsc::sync_channel(1);
    /// let spare = Arc::new(Spare { origin: Origin::new(), runtime: runtime.handle(), bell });
    /// let pid = runtime.spawn_dormant(&spare, None)?;
    /// assert!(runtime.is_alive(pid) && rung.try_recv().is_err());
    /// runtime.address_of::<()>(pid)?.send(())?;
    /// rung.recv()?;
    /// assert!(runtime.rouse(pid, async |mut ctx: Context<()>| {
    ///     ctx.recv().await;
    ///     ExitReason::error("told")
    /// }));
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    pub fn spawn_dormant<D: Dormant>(&self, dormant: &Arc<D>, parent: Option<Pid>) -> Result<Pid, SpawnError> {
        budget::charge();
        let shared = &self.home().shared;
        if shared.lifecycle.is_closing() {
            return Err(SpawnError::ShuttingDown);
        }
        if parent.is_some_and(|parent| parent.runtime() != shared.tag) {
            return Err(SpawnError::Ending);
        }
        let entry: Arc<dyn Entry> = Arc::<D>::clone(dormant);
        let made = shared.table.insert(Local::spawning_shard(self.home()), |pid| {
            dormant.origin().settle(pid, parent, shared.clock.stamp());
            (entry, pid)
        });
        let pid = made.ok_or(SpawnError::ProcessLimit(shared.limits.processes))?;
        if shared.lifecycle.is_closing() {
            // The shutdown may have gone over the table before this process was in it. If it came after that, it is the process's end.
            match shared.table.remove_latent(pid) {
                Ok(emptied) => self.removed(emptied),
                Err(_) => drop(self.rouse(pid, async |_| ExitReason::Shutdown)),
            }
            return Err(SpawnError::ShuttingDown);
        }
        Ok(pid)
    }

    /// Gives a dormant process its body ([`Handle::spawn_dormant`]), which is polled soon. False if it is not dormant, having
    /// had a body before or been ended; `body` has not been called then.
    ///
    /// `body` is called here and now, as by [`ProcessBuilder::spawn`](crate::ProcessBuilder::spawn). If the process is to end already,
    /// the future that it returns is dropped without having been polled.
    pub fn rouse<F, Fut>(&self, pid: Pid, body: F) -> bool
    where
        F: FnOnce(Context<()>) -> Fut,
        Fut: Future<Output: IntoExitReason> + Send + 'static,
    {
        budget::charge();
        let Some(process) = self.home().shared.table.get(pid) else { return false };
        let Ok(control) = typed::<()>(process) else { return false };
        if !claim(&control) {
            return false;
        }
        let home = Arc::clone(&control.head.home);
        let (task, panic) = embody(&control, home, false, body);
        attach(&control, &task, false, panic);
        task.schedule();
        true
    }

    /// Ends a dormant process, as [`ExitReason::Normal`], right here: it is gone when this returns true. If it has a link to `peer`,
    /// which must be who it was sent to, that is removed, so that the peer is not told.
    ///
    /// False, and nothing has happened, if there is more to its end than that: it is not dormant, or a message, a signal or a kill
    /// has come, or it has another link, or somebody watches it. Give it a body then.
    #[must_use]
    pub fn retire<D: Dormant, M: Send + 'static>(&self, dormant: &D, peer: Option<&Address<M>>) -> bool {
        let shared = &self.home().shared;
        let Some(pid) = dormant.origin().pid(shared.tag) else { return false };
        let (retired, emptied) = match shared.table.remove_latent(pid) {
            Ok(emptied) => (true, emptied),
            Err(Some(process)) => (retire(&process, peer.map(Address::pid)), false),
            Err(None) => (false, false),
        };
        if let Some(peer) = peer
            && let Some(extra) = &mut peer.control.core().extra
        {
            // One that has got its control block just now, from somebody to whom it did not name its peer any more, has it still.
            extra.forget_latent(pid, dormant.origin().linked_at());
        }
        self.removed(emptied);
        retired
    }

    fn removed(&self, emptied: bool) {
        if emptied {
            self.home().shared.lifecycle.process_ended(&self.home().shared.table);
        }
    }
}

impl<M: Send + 'static> Address<M> {
    /// Sends a message, and links the process to a dormant one, of which it is the [peer](Dormant::peer): both or neither, so that the
    /// dormant one is told if the process ends before it has come to the message. The process is woken when the caller says so, who may
    /// have a lock to release before.
    ///
    /// Nothing is linked if the dormant process is not linked to this one any more, or has ended; the message is sent all the same.
    ///
    /// # Errors
    ///
    /// As [`Address::send`]. The dormant process is told nothing then.
    pub fn send_linked<D: Dormant>(&self, message: M, dormant: &D) -> Result<Unwoken, SendError<M>> {
        let mut unwoken = Unwoken::default();
        self.send_linked_into(message, dormant, &mut unwoken).map(|()| unwoken)
    }

    /// As [`Address::send_linked`], where the time matters that it takes to move what comes of it: that goes into `unwoken`, and
    /// whatever was in there wakes its process.
    ///
    /// # Errors
    ///
    /// As [`Address::send_linked`]; `unwoken` is as it was then.
    #[inline]
    pub fn send_linked_into<D: Dormant>(
        &self,
        message: M,
        dormant: &D,
        unwoken: &mut Unwoken,
    ) -> Result<(), SendError<M>> {
        budget::charge();
        let origin = dormant.origin();
        let shared = &dormant.runtime().home().shared;
        let pid = origin.pid(shared.tag);
        let mut late = false;
        let link = |core: &mut Core| {
            let Some(pid) = pid else { return };
            late = origin.is_made();
            if !late {
                origin.set_linked_at(core.extra().latent.insert(pid));
            }
        };
        let waker = self.control.push_unwoken(message, link).map_err(|refused| self.refuse(refused))?;
        let late = pid.filter(|_| late).map(|pid| Box::new((Arc::clone(dormant.runtime().home()), pid, self.any())));
        if unwoken.waker.is_some() || unwoken.late.is_some() {
            std::mem::take(unwoken).wake();
        }
        (unwoken.waker, unwoken.late) = (waker, late);
        Ok(())
    }
}

impl<M: Send + 'static> Address<M> {
    /// As [`Context::forget_dormant`], of one link and from outside.
    pub fn forget_dormant(&self, link: DormantLink) {
        if let Some(extra) = &mut self.control.core().extra {
            extra.forget_latent(link.pid, link.at);
        }
    }
}

/// A process that was sent something ([`Address::send_linked`]), and is still to be woken. Dropped, it wakes it as well.
#[derive(Default)]
#[must_use = "the process is to be woken when no lock is held any more"]
pub struct Unwoken {
    waker: Option<Waker>,
    /// A dormant process that has had its control block before, and is still to be linked.
    late: Option<Box<(Arc<Home>, Pid, AnyProcess)>>,
}

impl Unwoken {
    /// Wakes it.
    pub fn wake(self) {}
}

impl Drop for Unwoken {
    fn drop(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        if let Some((home, pid, peer)) = self.late.take().map(|late| *late)
            && let Some(process) = home.shared.table.get(pid)
        {
            link_late(&process, &peer);
        }
    }
}

impl fmt::Debug for Unwoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unwoken")
    }
}

impl<M: Send + 'static> Context<M> {
    /// Removes the links to dormant processes of which this is the peer ([`Address::send_linked`]): to many at one go, and for
    /// one whose work is done. Whoever ends them ([`Handle::retire`]) then need not name this process. Links to those that somebody
    /// else has had to do with stay: they know of it themselves.
    pub fn forget_dormant(&mut self, links: &mut Vec<DormantLink>) {
        let mut inner = self.control.inner.lock();
        if let Some(extra) = &mut inner.core.extra {
            for DormantLink { pid, at } in links.drain(..) {
                extra.forget_latent(pid, at);
            }
        }
    }
}

/// The peer's side of the link of a process that has had its control block before. If the peer is dead, the process learns of it.
fn link_late(process: &AnyProcess, peer: &AnyProcess) {
    let (pid, peer_pid) = (process.head().pid, peer.head().pid);
    let dead = joint::with_both(process, peer, |mine, theirs| {
        if mine.fate.is_some() || !mine.links.contains(peer_pid) {
            return false;
        }
        if theirs.fate.is_some() {
            return true;
        }
        drop(theirs.links.insert(pid, Arc::clone(process)));
        false
    });
    if dead {
        apply_exit(process, Exit { from: Some(peer_pid), reason: ExitReason::NoProcess, by_link: true });
    }
}

/// As [`Handle::retire`], of one that has a control block.
pub(crate) fn retire(process: &AnyProcess, peer: Option<Pid>) -> bool {
    let head = process.head();
    let shared = &head.home.shared;
    let (mut links, waker, emptied) = {
        let mut core = process.core();
        if !is_quiet(&core, peer) {
            return false;
        }
        core.dormant = false;
        core.fate = Some(ExitReason::Normal);
        // Nobody who sees it gone may find it in the table.
        let emptied = shared.table.remove(head.pid);
        head.life.store(GONE, Ordering::Release);
        (std::mem::take(&mut core.links), core.waker.take(), emptied)
    };
    while let Some((_, peer)) = links.pop() {
        let record = peer.core().links.remove(head.pid);
        drop(record);
    }
    if emptied {
        shared.lifecycle.process_ended(&shared.table);
    }
    if let Some(simulator) = &shared.scheduler.simulator {
        simulator.doomed(head, &ExitReason::Normal);
        simulator.gone(head, &ExitReason::Normal);
    }
    drop(waker);
    true
}

/// Takes the process from who keeps it dormant, to give it a body; false if it is not dormant.
pub(crate) fn claim<M: Send + 'static>(control: &Control<M>) -> bool {
    let mut core = control.core();
    let is_dormant = std::mem::take(&mut core.dormant);
    let waker = if is_dormant { core.waker.take() } else { None };
    drop(core);
    drop(waker);
    is_dormant
}

/// Whether a dormant process may end without anybody's being told.
fn is_quiet(core: &Core, peer: Option<Pid>) -> bool {
    core.dormant
        && core.fate.is_none()
        && core.pushed == 0
        && core.signals.is_none()
        && core.extra.is_none()
        && core.links.len() == usize::from(peer.is_some_and(|peer| core.links.contains(peer)))
}
