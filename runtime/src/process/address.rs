//! Driver: a process as others hold it.
use crate::budget;
use crate::charged::poll_charged;
use crate::error::{SendError, SendErrorKind};
use crate::exit::ExitReason;
use crate::info::Whereabouts;
use crate::mailbox::Mailbox;
use crate::pid::Pid;
use crate::process::call::Call;
use crate::process::control::{AnyProcess, Control, Process, send_exit};
use crate::process::reply::{Answer, ReplyCell, ReplyTo, note};
use crate::process::send::{Refusal, Turn};
use crate::scheduler::worker::Local;
use crate::signal::Exit;
use crate::timer::deliver::{self, TimerRef};
use crate::timer::sleep::Alarm;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// The typed, cloneable handle of a process, by which messages are sent to it.
///
/// Holding one keeps neither the process nor its runtime alive; dropping all of them does not end it. Addresses are
/// equal, hash and order as their pids do. It may be used from any thread and any executor.
pub struct Address<M> {
    pub(crate) control: Arc<Control<M>>,
}

impl<M> Address<M> {
    pub(crate) fn new(control: Arc<Control<M>>) -> Self {
        Self { control }
    }

    /// The pid of the process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.control.head.pid
    }

    /// Whether the process lives: its fate is not fixed. One that was told to end by a signal that it does not trap is
    /// dead from that moment on, though its current poll may still run.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.control.head.home.shared.settle();
        self.control.head.is_alive()
    }
}

impl<M: Send + 'static> Address<M> {
    /// Sends a message; never waits.
    ///
    /// # Delivery
    ///
    /// `Ok` says that the message is in the mailbox (or was dropped there by the policy that the mailbox was given, see
    /// [`Mailbox`]); it will be received if the process lives long enough to get to it. Messages from one process or
    /// thread to another arrive in the order sent, and in order with its exit signals.
    ///
    /// # Errors
    ///
    /// The message comes back if the process is dead ([`SendErrorKind::NoProcess`]) or its mailbox is full and refuses
    /// ([`SendErrorKind::Full`]).
    ///
    /// # Examples
    ///
    /// ```
    /// # use colloquium_runtime::{Context, Runtime, SendErrorKind};
    /// let runtime = Runtime::new()?;
    /// let echo = runtime.spawn(async |mut ctx: Context<u32>| { ctx.recv().await; })?;
    /// echo.send(1)?;
    /// runtime.block_on(echo.ended());
    /// let error = echo.send(2).unwrap_err();
    /// assert_eq!((error.kind(), error.into_message()), (SendErrorKind::NoProcess, 2));
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    #[inline]
    pub fn send(&self, message: M) -> Result<(), SendError<M>> {
        budget::charge();
        self.control.push(message).map_err(|refused| self.refuse(refused))
    }

    #[cold]
    pub(super) fn refuse(&self, (refusal, message): (Refusal, M)) -> SendError<M> {
        let kind = match refusal {
            Refusal::Dead => SendErrorKind::NoProcess,
            Refusal::Full => {
                let shared = &self.control.head.home.shared;
                shared.reports.refused_send(self.pid(), &shared.clock);
                SendErrorKind::Full
            }
        };
        SendError::new(kind, self.pid(), message)
    }

    /// Sends a message, waiting for room in a full mailbox: for five seconds, unless told otherwise by
    /// [`SendWait::timeout`]. Those who wait are let in first come, first served, and before any other sender.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, it either has delivered the message or drops it undelivered.
    pub fn send_wait(&self, message: M) -> SendWait<'_, M> {
        SendWait {
            address: self,
            message: Some(message),
            ticket: None,
            timeout: Some(crate::limits::CALL),
            alarm: None,
        }
    }

    /// Calls the process from anywhere: `make` makes the request around a [`ReplyTo`]. See [`Call`] for time-outs and
    /// errors. From within a process, [`Context::call`](crate::Context::call) also finds circles of calls.
    ///
    /// # Examples
    ///
    /// ```
    /// # use colloquium_runtime::{Context, ReplyTo, Runtime};
    /// # use std::time::Duration;
    /// let runtime = Runtime::new()?;
    /// let doubler = runtime.spawn(async |mut ctx: Context<(u32, ReplyTo<u32>)>| {
    ///     let (n, reply_to) = ctx.recv().await;
    ///     let _ = reply_to.send(2 * n);
    /// })?;
    /// let doubled = runtime.block_on(doubler.call(|reply_to| (21, reply_to)).timeout(Duration::from_secs(1)))?;
    /// assert_eq!(doubled, 42);
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    pub fn call<T, F>(&self, make: F) -> Call<'_, M, T, F>
    where
        T: Send + 'static,
        F: FnOnce(ReplyTo<T>) -> M,
    {
        Call::new(self, make, None)
    }

    /// Why the process ends or has ended, once that is certain; `None` while it lives.
    #[must_use]
    pub fn fate(&self) -> Option<ExitReason> {
        self.control.core().fate.clone()
    }

    /// Sends the process an exit signal. It comes from the process on whose behalf this is called, if one is being polled
    /// on this thread, and else from nobody. What it does is OTP's table: [`ExitReason::Kill`] ends it in any case, with
    /// [`ExitReason::Killed`]; a process that traps exits gets a message; [`ExitReason::Normal`] from another does
    /// nothing; anything else ends it with that reason. A dead process is left alone.
    ///
    /// A process that computes without awaiting ends at its next await; until then it counts as dead.
    pub fn exit(&self, reason: ExitReason) {
        budget::charge();
        send_exit(&self.any(), Exit { from: Local::current(), reason, by_link: false });
    }

    /// Ends the process whether it traps exits or not: `exit(ExitReason::Kill)`.
    pub fn kill(&self) {
        self.exit(ExitReason::Kill);
    }

    /// Waits until the process is gone and says why it ended; at once if it is. Its state has been dropped then, and its
    /// name is free.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and asked for again at any time.
    pub fn ended(&self) -> Ended {
        Ended { process: self.any(), cell: None }
    }

    /// A handle that takes another type: `map` turns each value into a message, on the sender's side.
    pub fn recipient<T: 'static>(&self, map: impl Fn(T) -> M + Send + Sync + 'static) -> Recipient<T> {
        let address = self.clone();
        let pid = self.pid();
        let send = move |value| address.send(map(value)).map_err(|error| error.kind());
        Recipient { pid, send: Arc::new(send) }
    }

    /// A guard that ends the process (with [`ExitReason::Shutdown`]) when it is dropped.
    #[must_use]
    pub fn scoped(self) -> Scoped<M> {
        Scoped { address: self }
    }

    /// Sends `message` to the process once `after` has passed, never earlier. The timer ends with the process.
    pub fn send_after(&self, after: Duration, message: M) -> TimerRef {
        budget::charge();
        deliver::send_after(&Local::spawning_home(&self.control.head.home).0, &self.control, after, message)
    }

    /// Sends what `make` makes each time another `period` has passed, until cancelled or the process ends. A message that
    /// the mailbox refuses is dropped; periods that are missed altogether are left out. `make` runs on a worker, outside
    /// any process; if it panics, the timer ends.
    pub fn send_interval(&self, period: Duration, make: impl FnMut() -> M + Send + 'static) -> TimerRef {
        budget::charge();
        deliver::send_interval(&Local::spawning_home(&self.control.head.home).0, &self.control, period, make)
    }

    /// Sends the process an exit signal once `after` has passed, from whoever calls this.
    #[expect(clippy::must_use_candidate, reason = "to start a timer is an act")]
    pub fn exit_after(&self, after: Duration, reason: ExitReason) -> TimerRef {
        budget::charge();
        let home = Local::spawning_home(&self.control.head.home).0;
        deliver::exit_after(&home, &self.any(), after, Local::current(), reason)
    }

    pub(crate) fn any(&self) -> AnyProcess {
        self.control.clone()
    }

    /// The bound that the mailbox was made with, and what it does when it is full.
    #[must_use]
    pub fn mailbox(&self) -> Mailbox {
        let inner = self.control.inner.lock();
        Mailbox { bound: inner.core.bound, overflow: self.control.head.overflow }
    }
}

impl<M> Clone for Address<M> {
    fn clone(&self) -> Self {
        Self { control: Arc::clone(&self.control) }
    }
}

impl<M> PartialEq for Address<M> {
    fn eq(&self, other: &Self) -> bool {
        self.pid() == other.pid()
    }
}

impl<M> Eq for Address<M> {}

impl<M> PartialOrd for Address<M> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<M> Ord for Address<M> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.pid().cmp(&other.pid())
    }
}

impl<M> Hash for Address<M> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.pid().hash(state);
    }
}

impl<M> fmt::Debug for Address<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.pid())
    }
}

/// An address whose message type is hidden ([`Address::recipient`]).
pub struct Recipient<T> {
    pid: Pid,
    send: Arc<dyn Fn(T) -> Result<(), SendErrorKind> + Send + Sync>,
}

impl<T> Recipient<T> {
    /// The pid of the process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends a value, as [`Address::send`] does.
    ///
    /// # Errors
    ///
    /// Says why the value was not delivered. It has become a message by then and does not come back.
    pub fn send(&self, value: T) -> Result<(), SendErrorKind> {
        (self.send)(value)
    }
}

impl<T> Clone for Recipient<T> {
    fn clone(&self) -> Self {
        Self { pid: self.pid, send: Arc::clone(&self.send) }
    }
}

impl<T> fmt::Debug for Recipient<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({})", self.pid)
    }
}

/// Ends its process when it is dropped ([`Address::scoped`]); until then it serves as the address.
#[derive(Debug)]
pub struct Scoped<M: Send + 'static> {
    address: Address<M>,
}

impl<M: Send + 'static> std::ops::Deref for Scoped<M> {
    type Target = Address<M>;
    fn deref(&self) -> &Address<M> {
        &self.address
    }
}

impl<M: Send + 'static> Drop for Scoped<M> {
    fn drop(&mut self) {
        self.address.exit(ExitReason::Shutdown);
    }
}

/// The future of [`Address::ended`].
#[must_use = "a future does nothing unless awaited"]
pub struct Ended {
    process: AnyProcess,
    cell: Option<Arc<ReplyCell<Infallible>>>,
}

impl Future for Ended {
    type Output = ExitReason;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ExitReason> {
        poll_charged(cx, |cx| self.poll_end(cx))
    }
}

impl Ended {
    fn poll_end(&mut self, cx: &Context<'_>) -> Poll<ExitReason> {
        if let Some(cell) = &self.cell {
            budget::note_await(Whereabouts::End);
            return match cell.poll(cx.waker(), || true).0 {
                Answer::Ended(reason) => Poll::Ready(reason),
                Answer::Answered(never) => match never {},
                Answer::Dropped | Answer::TimedOut | Answer::NotYet => Poll::Pending,
            };
        }
        let cell = ReplyCell::new(Some(cx.waker().clone()));
        if let Err(reason) = note(&*self.process, cell.clone()) {
            return Poll::Ready(reason);
        }
        self.cell = Some(cell);
        budget::note_await(Whereabouts::End);
        Poll::Pending
    }
}

impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ended({})", self.process.head().pid)
    }
}

/// The future of [`Address::send_wait`].
#[must_use = "a future does nothing unless awaited"]
pub struct SendWait<'a, M: Send + 'static> {
    address: &'a Address<M>,
    message: Option<M>,
    ticket: Option<u64>,
    timeout: Option<Duration>,
    alarm: Option<Alarm>,
}

impl<M: Send + 'static> Unpin for SendWait<'_, M> {}

impl<M: Send + 'static> SendWait<'_, M> {
    /// Waits for room no longer than this.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Waits for room as long as the receiver lives.
    pub fn no_timeout(mut self) -> Self {
        self.timeout = None;
        self
    }

    fn error(&self, kind: SendErrorKind, message: M) -> Poll<Result<(), SendError<M>>> {
        Poll::Ready(Err(SendError::new(kind, self.address.pid(), message)))
    }
}

impl<M: Send + 'static> Future for SendWait<'_, M> {
    type Output = Result<(), SendError<M>>;

    /// # Panics
    ///
    /// Polled after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let control = &self.address.control;
        if let Some(ticket) = self.ticket {
            match control.poll_ticket(ticket, cx.waker()) {
                Turn::LetIn => {
                    self.ticket = None;
                    return Poll::Ready(Ok(()));
                }
                Turn::Refused(message) => {
                    self.ticket = None;
                    return self.error(SendErrorKind::NoProcess, message);
                }
                Turn::NotYet => {}
            }
        } else {
            ready!(budget::poll_proceed(cx));
            let message = self.message.take().expect("polled after it was ready");
            match self.address.control.push_or_wait(message, cx.waker()) {
                Ok(None) => return Poll::Ready(Ok(())),
                Ok(Some(ticket)) => self.ticket = Some(ticket),
                Err(message) => return self.error(SendErrorKind::NoProcess, message),
            }
            let home = &self.address.control.head.home;
            self.alarm = self.timeout.map(|timeout| Alarm::after(Arc::clone(home), timeout));
        }
        let alarm = self.alarm.as_mut().map_or(Poll::Pending, |alarm| alarm.poll(cx));
        if let (Poll::Ready(()), Some(ticket)) = (alarm, self.ticket.take_if(|_| alarm.is_ready())) {
            return match self.address.control.withdraw(ticket) {
                Some(message) => self.error(SendErrorKind::TimedOut, message),
                None => Poll::Ready(Ok(())),
            };
        }
        budget::note_await(Whereabouts::Send);
        Poll::Pending
    }
}

impl<M: Send + 'static> Drop for SendWait<'_, M> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            let message = self.address.control.withdraw(ticket);
            drop(message);
        }
    }
}

impl<M: Send + 'static> fmt::Debug for SendWait<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SendWait({})", self.address.pid())
    }
}
