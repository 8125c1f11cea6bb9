//! Driver: the process that holds a set open, and stops its members in the end.
use super::{ChildrenSet, Holder, SetMessage, Shared, Told};
use crate::board::Board;
use crate::child::Recipe;
use crate::limits::KILL_PATIENCE;
use crate::message::SupervisorMessage;
use crate::ready::Ready;
use crate::snapshot::WedgedProcess;
use crate::spec::Shutdown;
use colloquium_runtime::{Address, Context, ExitReason, Handle, Mailbox, Pid, ProcessBuilder, SpawnError};
use std::sync::Arc;
use std::time::Duration;
/// A set, as a child of a supervisor.
pub(super) struct Held(ChildrenSet);

impl Held {
    pub(super) fn new(set: &ChildrenSet) -> Self {
        Self(set.clone())
    }
}

impl Recipe<SetMessage> for Held {
    fn spawn(
        &mut self,
        build: ProcessBuilder<'_, SupervisorMessage>,
        supervisor: &Address<SupervisorMessage>,
    ) -> Result<(Address<SetMessage>, Option<Board>), SpawnError> {
        let shared = Arc::clone(&self.0.shared);
        // What comes in: exits, and one word whenever a shard of a closing set gets empty.
        let address = build.system().mailbox(Mailbox::unbounded()).spawn(|ctx: Context<SetMessage>| {
            let ready = Ready::new(supervisor.clone(), ctx.pid());
            hold(ctx, shared, ready)
        })?;
        Ok((address, None))
    }
}

/// Holds a set open until it is told to end.
async fn hold(mut ctx: Context<SetMessage>, shared: Arc<Shared>, ready: Ready) -> ExitReason {
    ctx.trap_exits(|exit| SetMessage(Told::Exit(exit)));
    let runtime = ctx.runtime();
    let open = Open { shared, runtime: runtime.clone() };
    *open.shared.holder.write() = Some(Holder { address: ctx.address(), runtime: runtime.clone() });
    open.shared.open(Some(ctx.pid()));
    ready.up();
    let reason = loop {
        match ctx.recv().await.0 {
            // As every supervisor: its parent's, or one from outside all processes.
            Told::Exit(exit) if exit.from.is_none() || exit.from == ctx.parent() => break exit.reason,
            Told::Exit(_) | Told::Empty => {}
        }
    };
    open.shared.open(None);
    let told = match open.shared.shutdown {
        Shutdown::BrutalKill => Some(Duration::ZERO),
        Shutdown::After(time) => open.tell_all(&ExitReason::Shutdown).then_some(time),
        Shutdown::Infinity => {
            open.tell_all(&ExitReason::Shutdown);
            None
        }
    };
    if !open.emptied(&mut ctx, told).await && open.tell_all(&ExitReason::Kill) {
        open.emptied(&mut ctx, Some(KILL_PATIENCE)).await;
        open.report_wedged(ctx.pid());
    }
    reason
}

/// An open set; its members end with it, however it ends.
struct Open {
    shared: Arc<Shared>,
    runtime: Handle,
}

impl Open {
    /// Sends all members an exit signal; false if there are none.
    fn tell_all(&self, reason: &ExitReason) -> bool {
        let members = self.shared.pids();
        for member in &members {
            self.runtime.exit(*member, reason.clone());
        }
        !members.is_empty()
    }

    /// Waits until all members have left, for so long.
    async fn emptied(&self, ctx: &mut Context<SetMessage>, time: Option<Duration>) -> bool {
        let until = time.map(|time| self.runtime.now().saturating_add(time));
        while self.shared.len() > 0 {
            match until {
                None => drop(ctx.recv().await),
                Some(until) => {
                    let left = until.saturating_sub(self.runtime.now());
                    if ctx.recv_timeout(left).await.is_err() {
                        return self.shared.len() == 0;
                    }
                }
            }
        }
        true
    }

    fn report_wedged(&self, holder: Pid) {
        let since = self.runtime.now();
        for pid in self.shared.pids() {
            tracing::error!(supervisor = %holder, pid = %pid, "member of a set cannot be killed: its poll does not return");
            self.shared.wedged.lock().push(WedgedProcess { id: "".into(), pid, since });
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let holder = self.shared.holder.write().take();
        drop(holder);
        self.shared.open(None);
        self.tell_all(&ExitReason::Kill);
    }
}
