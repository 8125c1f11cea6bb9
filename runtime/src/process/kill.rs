//! Driver: ends that are certain: a kill that is waited for, with a bound, and the end of one that is linked.
use crate::budget;
use crate::exit::{Arrival, Effect, ExitReason, judge};
use crate::info::Wedged;
use crate::pid::Pid;
use crate::process::address::Address;
use crate::process::context::Context;
use crate::process::control::AnyProcess;
use crate::target::{Target, find};
use crate::timer::sleep::Alarm;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

impl<M: Send + 'static> Context<M> {
    /// Ends a process to which this one is linked, if an exit signal does that here and now: if it does not trap exits, or the
    /// reason is [`ExitReason::Kill`].
    ///
    /// True then, and if it is ending already: its exit signal comes along the link, whatever it does meanwhile, so that it
    /// need not be monitored. False, and nothing has happened, if that is not certain: it traps exits, it is not linked, not
    /// known or gone, the reason is normal, or this is a simulation, where signals may be held back. For those who end very
    /// many one after the other, such as supervisors.
    ///
    /// # Examples
    ///
    /// ```
    /// # use colloquium_runtime::{Context, Exit, ExitReason, Runtime};
    /// # let runtime = Runtime::new()?;
    /// let ended = runtime.block_on(runtime.spawn(async |mut ctx: Context<Exit>| {
    ///     ctx.trap_exits(|exit| exit);
    ///     let idle = async |mut ctx: Context<()>| ctx.recv().await;
    ///     let child = ctx.spawn_link(idle).expect("room for one");
    ///     assert!(ctx.end_linked(&child, ExitReason::Shutdown));
    ///     ctx.recv().await.reason
    /// })?.ended());
    /// assert_eq!(ended, ExitReason::Shutdown);
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    #[must_use = "if it is false, nothing has happened"]
    pub fn end_linked(&mut self, target: impl Target, reason: ExitReason) -> bool {
        budget::charge();
        let ends = find(&target, &self.control.head.home).is_ok_and(|process| end(&process, self.pid(), &reason));
        drop(reason);
        ends
    }
}

fn end(target: &AnyProcess, from: Pid, reason: &ExitReason) -> bool {
    let head = target.head();
    if head.home.shared.scheduler.simulator.is_some() {
        return false;
    }
    let mut core = target.core();
    if !core.links.contains(from) {
        return false;
    }
    if core.fate.is_some() {
        return true;
    }
    let arrival = Arrival { by_link: false, linked: true, from_self: false, trapping: core.trapping };
    let fate = match judge(reason, arrival) {
        Effect::Fatal => reason.clone(),
        Effect::Killed => ExitReason::Killed,
        Effect::Ignored | Effect::Trapped => return false,
    };
    let (waker, _) = core.doom(head, fate);
    drop(core);
    if let Some(waker) = waker {
        waker.wake();
    }
    true
}

impl<M: Send + 'static> Address<M> {
    /// Kills the process, as [`Address::kill`] does, and waits for its end, for no longer than `deadline`.
    ///
    /// Native code cannot be preempted: a process that computes without awaiting ends at its next await. If it does not come
    /// to one in time it is wedged: it counts as dead for everybody and runs on.
    ///
    /// # Errors
    ///
    /// [`Wedged`]: it has not ended. Its kill stands.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the process is killed, whether or not the future is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// # use colloquium_runtime::{Context, ExitReason, Runtime};
    /// # use std::time::Duration;
    /// let runtime = Runtime::new()?;
    /// let waits = runtime.spawn(async |mut ctx: Context<()>| ctx.recv().await)?;
    /// let end = runtime.block_on(waits.kill_within(Duration::from_secs(1)))?;
    /// assert_eq!(end, ExitReason::Killed);
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    pub async fn kill_within(&self, deadline: Duration) -> Result<ExitReason, Wedged> {
        self.kill();
        let mut ended = pin!(self.ended());
        let mut alarm = Alarm::after(Arc::clone(&self.control.head.home), deadline);
        let end = poll_fn(|cx| match ended.as_mut().poll(cx) {
            Poll::Ready(reason) => Poll::Ready(Some(reason)),
            Poll::Pending => alarm.poll(cx).map(|()| None),
        });
        end.await.ok_or_else(|| Wedged(crate::inspect::inspect(&self.any(), true).into_iter().collect()))
    }
}
