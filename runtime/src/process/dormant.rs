//! Driver: processes without a body: they are in the table, have links and a mailbox, and need no task until something happens.
//!
//! `dormant` says whether a process is one, under its lock; who takes it back (by giving it a body, or by ending it) does so
//! alone. Its permanent waker is not a task's then, but that of who has made it. It is taken out together with `dormant`: what comes
//! in between then and the task's own waker wakes nobody, and is seen by the task's first poll.
use crate::budget;
use crate::error::SpawnError;
use crate::exit::{ExitReason, IntoExitReason};
use crate::pid::Pid;
use crate::process::address::Address;
use crate::process::context::Context;
use crate::process::control::{AnyProcess, Control, Core, GONE, Process, apply_exit};
use crate::process::spawn::{Dormant, ProcessBuilder, attach, create, embody};
use crate::signal::Exit;
use crate::sync::atomic::Ordering;
use std::future::Future;
use std::panic::Location;
use std::sync::Arc;
use std::task::Waker;

impl<P: Send + 'static> ProcessBuilder<'_, P> {
    /// Makes a process that has no body yet: for one that need not run unless something happens to it. It has its place in the
    /// table, its mailbox and its links like any other, and counts as waiting for a message; it costs its control block and
    /// nothing else.
    ///
    /// `waker` is woken when it should run: a message has come, or a signal that it traps, or its end. Who is woken gives it
    /// a body, by [`Address::rouse`]; until then nothing becomes of what has come, and not of a kill either. It may be woken
    /// before this returns. Who has no use for it any more ends it, by [`Address::retire`].
    ///
    /// [`ProcessBuilder::system`] does nothing to it.
    ///
    /// # Errors
    ///
    /// As [`ProcessBuilder::spawn`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use colloquium_runtime::{Context, ExitReason, Runtime};
    /// use std::sync::{Arc, mpsc};
    /// use std::task::{Wake, Waker};
    ///
    /// struct Bell(mpsc::SyncSender<()>);
    /// impl Wake for Bell {
    ///     fn wake(self: Arc<Self>) {
    ///         let _ = self.0.try_send(());
    ///     }
    /// }
    /// let runtime = Runtime::new()?;
    /// let (bell, rung) = mpsc::sync_channel(1);
    /// let spare = runtime.build().spawn_dormant::<u32>(Waker::from(Arc::new(Bell(bell))))?;
    /// assert!(spare.is_alive() && rung.try_recv().is_err());
    /// spare.send(7)?;
    /// rung.recv()?;
    /// assert!(spare.rouse(async |mut ctx: Context<u32>| ExitReason::error(ctx.recv().await.to_string())));
    /// assert_eq!(runtime.block_on(spare.ended()), ExitReason::error("7"));
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    #[track_caller]
    pub fn spawn_dormant<M: Send + 'static>(mut self, waker: Waker) -> Result<Address<M>, SpawnError> {
        budget::charge();
        let site = self.home.shared.sites.number(Location::caller());
        let parent = self.parent.map(|parent| parent.process());
        let from_parent = self.settings.link_parent && self.settings.links.is_none();
        let linked = self.settings.links.take().or_else(|| parent.clone().filter(|_| from_parent));
        let dormant = Dormant { waker, peer: linked.clone() };
        let control = create::<M>(&self.home, self.shard, &self.settings, parent.as_ref(), site, Some(dormant))?;
        if let Some(peer) = linked {
            link(&control, &peer, from_parent);
        }
        Ok(Address::new(control))
    }
}

/// The peer's side of the link that a process was born with. If the peer is dead, the process learns of it.
fn link<M: Send + 'static>(control: &Arc<Control<M>>, peer: &AnyProcess, is_parent: bool) {
    let child: AnyProcess = control.clone();
    let head = &control.head;
    let answer = {
        let mut theirs = peer.core();
        match &theirs.fate {
            // A parent that was doomed meanwhile passes its fate on.
            Some(fate) => {
                if is_parent {
                    fate.clone()
                } else {
                    ExitReason::NoProcess
                }
            }
            None => {
                let before = theirs.links.insert(head.pid, child);
                drop(theirs);
                return drop(before);
            }
        }
    };
    apply_exit(&child, Exit { from: Some(peer.head().pid), reason: answer, by_link: true });
}

impl<M: Send + 'static> Address<M> {
    /// Gives a dormant process its body ([`ProcessBuilder::spawn_dormant`]), which is polled soon. False if it is not
    /// dormant, having had a body before or been ended; `body` has not been called then.
    ///
    /// `body` is called here and now, as by [`ProcessBuilder::spawn`]. If the process is to end already, the future that it
    /// returns is dropped without having been polled.
    pub fn rouse<F, Fut>(&self, body: F) -> bool
    where
        F: FnOnce(Context<M>) -> Fut,
        Fut: Future<Output: IntoExitReason> + Send + 'static,
    {
        budget::charge();
        if !claim(&self.control) {
            return false;
        }
        let home = Arc::clone(&self.control.head.home);
        let (task, panic) = embody(&self.control, home, false, body);
        attach(&self.control, &task, false, panic);
        task.schedule();
        true
    }

    /// Ends a dormant process, as [`ExitReason::Normal`], right here: it is gone when this returns true. The link to `peer`, if
    /// it has that, is removed first, so that the peer is not told.
    ///
    /// False, and nothing has happened, if there is more to its end than that: it is not dormant, or a message, a signal or a kill
    /// has come, or it has another link, or somebody watches it. Give it a body then.
    #[must_use]
    pub fn retire(&self, peer: Option<Pid>) -> bool {
        let head = &self.control.head;
        let shared = &head.home.shared;
        let (mut links, waker, emptied) = {
            let mut core = self.control.core();
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
