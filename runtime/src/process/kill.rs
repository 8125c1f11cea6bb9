//! Driver: a kill that is waited for, with a bound.
use crate::exit::ExitReason;
use crate::info::Wedged;
use crate::process::address::Address;
use crate::timer::sleep::Alarm;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

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
