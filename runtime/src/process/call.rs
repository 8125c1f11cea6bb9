//! Driver: calls: a request with the right to answer it, and the wait for the answer.
use crate::budget;
use crate::clock::nanos;
use crate::error::{CallError, CallErrorKind};
use crate::info::Whereabouts;
use crate::inherit::Inherited;
use crate::limits::{CALL, CALL_CYCLE};
use crate::pid::Pid;
use crate::process::address::Address;
use crate::process::context::Context;
use crate::process::control::{AnyProcess, Head};
use crate::process::reply::{Answer, Pending, ReplyCell, ReplyTo, note};
use crate::process::send::Refusal;
use crate::scheduler::Home;
use crate::scheduler::fresh::Place;
use crate::scheduler::worker::Local;
use crate::sync::atomic::Ordering;
use crate::timer::TimerId;
use crate::timer::sleep::Alarm;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Polling, Poll, ready};
use std::time::Duration;

/// A call: sends a request when it is first polled and waits for the answer, five seconds unless told otherwise (OTP's
/// default).
///
/// # Delivery
///
/// An answer says that the callee handled the request. An error says what is known: [`CallErrorKind::NoProcess`],
/// [`CallErrorKind::Full`], [`CallErrorKind::CallsItself`] and [`CallErrorKind::Cycle`] that the request never reached the
/// callee; after [`CallErrorKind::Ended`], [`CallErrorKind::TimedOut`] and [`CallErrorKind::NoReply`] the callee may have
/// worked on it, or still does. A late answer never shows up anywhere; whoever gives it gets it back from
/// [`ReplyTo::send`].
///
/// # Cancel safety
///
/// Dropping it gives the call up, as the time-out does.
#[must_use = "a call does nothing unless awaited"]
pub struct Call<'a, M, T: Send + 'static, F> {
    callee: &'a Address<M>,
    make: Option<F>,
    /// The process that cannot receive meanwhile, if this is a call of its context.
    caller: Option<AnyProcess>,
    timeout: Option<Duration>,
    cell: Option<Arc<ReplyCell<T>>>,
    /// Where its worker keeps it, as long as it is fresh.
    place: Option<Place>,
    /// The callee knows who waits.
    noted: bool,
    /// The caller, of a call into another runtime.
    elsewhere: Option<AnyProcess>,
}

impl<M, T: Send + 'static, F> Unpin for Call<'_, M, T, F> {}

impl<M: Send + 'static> Context<M> {
    /// Calls another process: `make` makes the request around a [`ReplyTo`]. This process receives nothing meanwhile; its
    /// mailbox fills, and exit signals end it as ever.
    ///
    /// Since it cannot receive, a circle of such calls could only end by time-out: the call that would close it fails
    /// with [`CallErrorKind::Cycle`] instead, and so does every call that meets a circle. Whoever hands the [`ReplyTo`] of
    /// a caller to a third process and then calls that caller makes no deadlock, but cannot be told from one: use
    /// [`Address::call`] there, which looks for no circles.
    ///
    /// # Examples
    ///
    /// ```
    /// # use colloquium_runtime::{Address, Context, ReplyTo, Runtime};
    /// enum Msg { Get(ReplyTo<u64>) }
    /// let runtime = Runtime::new()?;
    /// let counter = runtime.spawn(async |mut ctx: Context<Msg>| {
    ///     let Msg::Get(reply_to) = ctx.recv().await;
    ///     let _ = reply_to.send(7);
    /// })?;
    /// let client = runtime.spawn(async move |mut ctx: Context<()>| -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    ///     assert_eq!(ctx.call(&counter, Msg::Get).await?, 7);
    ///     Ok(())
    /// })?;
    /// assert!(runtime.block_on(client.ended()).is_orderly());
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    pub fn call<'a, N, T, F>(&'a mut self, callee: &'a Address<N>, make: F) -> Call<'a, N, T, F>
    where
        N: Send + 'static,
        T: Send + 'static,
        F: FnOnce(ReplyTo<T>) -> N,
    {
        Call::new(callee, make, Some(self.process()))
    }

    /// Calls several processes at once and waits for all, each answer or error in the place of its address; one
    /// time-out, five seconds unless told otherwise, for all together.
    pub fn multi_call<'a, N, T, F>(&'a mut self, callees: &'a [Address<N>], mut make: F) -> MultiCall<'a, N, T>
    where
        N: Send + 'static,
        T: Send + 'static,
        F: FnMut(ReplyTo<T>) -> N,
    {
        let requests = callees.iter().map(|callee| {
            let cell = ReplyCell::new(None);
            Part::Fresh(callee, make(ReplyTo::new(Arc::clone(&cell))), cell)
        });
        MultiCall {
            parts: requests.collect(),
            home: Arc::clone(&self.control.head.home),
            timeout: Some(CALL),
            alarm: None,
        }
    }
}

impl<'a, M, T: Send + 'static, F> Call<'a, M, T, F> {
    pub(crate) fn new(callee: &'a Address<M>, make: F, caller: Option<AnyProcess>) -> Self {
        Self {
            callee,
            make: Some(make),
            caller,
            timeout: Some(CALL),
            cell: None,
            place: None,
            noted: false,
            elsewhere: None,
        }
    }

    /// Waits no longer than this.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Waits as long as the callee lives and holds the [`ReplyTo`].
    pub fn no_timeout(mut self) -> Self {
        self.timeout = None;
        self
    }

    fn error(&self, kind: CallErrorKind, message: Option<M>) -> CallError<M> {
        CallError::new(kind, self.callee.pid(), message)
    }
}

impl<M, T, F> Call<'_, M, T, F>
where
    M: Send + 'static,
    T: Send + 'static,
    F: FnOnce(ReplyTo<T>) -> M,
{
    /// Sends the request.
    fn begin(&mut self, make: F, cx: &Polling<'_>) -> Result<(), CallError<M>> {
        let callee = &self.callee.control.head;
        let caller = self.caller.take();
        let itself = caller.as_ref().is_some_and(|caller| caller.head().pid == callee.pid);
        if itself || Local::current() == Some(callee.pid) {
            return Err(self.error(CallErrorKind::CallsItself, None));
        }
        let caller = self.note_elsewhere(caller, callee.pid);
        if let Some(caller) = caller.as_deref() {
            caller.head().set_callee(callee.pid);
            if callee.calling.load(Ordering::SeqCst) != 0
                && let Some(circle) = find_circle(caller.head(), callee)
            {
                caller.head().clear_callee();
                return Err(self.error(CallErrorKind::Cycle(circle), None));
            }
        }
        let cell = ReplyCell::of_caller(Some(cx.waker().clone()), caller);
        let message = make(ReplyTo::new(Arc::clone(&cell)));
        let control = &self.callee.control;
        let timeout = inherited(self.timeout, callee);
        // On a worker that is to be noted later, if it is still waited for by then.
        self.noted = !Local::is_of(&callee.home);
        let pushed = if self.noted { control.push_request(message, cell.clone()) } else { control.push(message) };
        if let Err((refusal, message)) = pushed {
            cell.close();
            return Err(self.error(refused(refusal), Some(message)));
        }
        if self.noted {
            callee.home.arm_time_out(&(cell.clone() as Arc<dyn Pending>), callee.home.shared.clock.after(timeout));
        } else {
            Local::collect_wait(&callee.home, cell.clone(), timeout, &mut self.place);
        }
        self.cell = Some(cell);
        Ok(())
    }

    /// Polled before there is an answer: it takes long, so the callee is to know who waits.
    #[cold]
    fn note(&mut self, cx: &Polling<'_>) -> Poll<Result<T, CallError<M>>> {
        let Some(cell) = &self.cell else { return Poll::Pending };
        self.noted = true;
        match note(&*self.callee.control, cell.clone()) {
            Ok(()) => Poll::Pending,
            Err(reason) => {
                cell.ended(&reason);
                self.look(cx)
            }
        }
    }

    fn look(&mut self, cx: &Polling<'_>) -> Poll<Result<T, CallError<M>>> {
        let Some(cell) = &self.cell else { return Poll::Pending };
        let (answer, timer) = cell.poll(cx.waker(), || !self.callee.is_alive());
        let result = match answer {
            Answer::NotYet => {
                budget::note_await(Whereabouts::Call);
                return if self.noted { Poll::Pending } else { self.note(cx) };
            }
            Answer::Answered(value) => Ok(value),
            Answer::Ended(reason) => Err(self.error(CallErrorKind::Ended(reason), None)),
            Answer::Dropped => Err(self.error(CallErrorKind::NoReply, None)),
            Answer::TimedOut => Err(self.error(CallErrorKind::TimedOut, None)),
        };
        self.forget(timer);
        self.cell = None;
        Poll::Ready(result)
    }
}

/// The time for a call to this process: what is left to the work that makes it, if that is less.
#[inline]
fn inherited(timeout: Option<Duration>, callee: &Head) -> u64 {
    let own = timeout.map_or(u64::MAX, nanos);
    match Inherited::current().and_then(|work| work.deadline_for(callee.pid)) {
        None => own,
        Some(deadline) => own.min(nanos(deadline).saturating_sub(callee.home.shared.clock.now())),
    }
}

fn refused(refusal: Refusal) -> CallErrorKind {
    match refusal {
        Refusal::Full => CallErrorKind::Full,
        Refusal::Dead => CallErrorKind::NoProcess,
    }
}

impl<M, T, F> Future for Call<'_, M, T, F>
where
    M: Send + 'static,
    T: Send + 'static,
    F: FnOnce(ReplyTo<T>) -> M,
{
    type Output = Result<T, CallError<M>>;

    /// # Panics
    ///
    /// Polled after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Polling<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.cell.is_none() {
            ready!(budget::poll_proceed(cx));
            let make = this.make.take().expect("polled after it was ready");
            return match this.begin(make, cx) {
                Ok(()) => {
                    budget::note_await(Whereabouts::Call);
                    Poll::Pending
                }
                Err(error) => Poll::Ready(Err(error)),
            };
        }
        this.look(cx)
    }
}

impl<M, T: Send + 'static, F> Call<'_, M, T, F> {
    /// A call into another runtime closes no circle that could be followed; it is only noted, for people.
    fn note_elsewhere(&mut self, caller: Option<AnyProcess>, callee: Pid) -> Option<AnyProcess> {
        let caller = caller?;
        if caller.head().pid.runtime() == callee.runtime() {
            return Some(caller);
        }
        caller.core().extra().calls_elsewhere = Some(callee);
        self.elsewhere = Some(caller);
        None
    }

    /// Removes what was noted of a call that is over, but for the callee's note.
    #[inline]
    fn forget(&mut self, timer: Option<TimerId>) {
        if let Some(place) = self.place.take() {
            Local::forget_wait(&self.callee.control.head.home, place);
        }
        if let Some(timer) = timer {
            let entry = self.callee.control.head.home.shared.timers.remove(timer);
            drop(entry);
        }
    }
}

impl<M, T: Send + 'static, F> Drop for Call<'_, M, T, F> {
    fn drop(&mut self) {
        if let Some(caller) = self.elsewhere.take()
            && let Some(extra) = caller.core().extra.as_mut()
        {
            extra.calls_elsewhere = None;
        }
        if let Some(cell) = self.cell.take() {
            let (unwanted, timer) = cell.close();
            self.forget(timer);
            drop(unwanted);
        }
    }
}

impl<M, T: Send + 'static, F> fmt::Debug for Call<'_, M, T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call({})", self.callee.pid())
    }
}

/// Follows the calls from `callee` on. A circle back to `caller` counts if it is found twice, since the first look may
/// have put together calls of different moments.
#[cold]
fn find_circle(caller: &Head, callee: &Head) -> Option<Vec<Pid>> {
    let first = follow(caller, callee)?;
    (follow(caller, callee)? == first).then_some(first)
}

fn follow(caller: &Head, callee: &Head) -> Option<Vec<Pid>> {
    let table = &caller.home.shared.table;
    let mut circle = vec![caller.pid, callee.pid];
    let mut next = callee.callee();
    while circle.len() <= CALL_CYCLE {
        let pid = next?;
        if pid == caller.pid {
            return Some(circle);
        }
        circle.push(pid);
        // One of another runtime is not found, and the search ends there.
        next = table.get(pid)?.head().callee();
    }
    None
}

/// The future of [`Context::multi_call`].
#[must_use = "a call does nothing unless awaited"]
pub struct MultiCall<'a, M, T> {
    parts: Vec<Part<'a, M, T>>,
    home: Arc<Home>,
    timeout: Option<Duration>,
    alarm: Option<Alarm>,
}

enum Part<'a, M, T> {
    Fresh(&'a Address<M>, M, Arc<ReplyCell<T>>),
    Sent(&'a Address<M>, Arc<ReplyCell<T>>),
    Done(Result<T, CallError<M>>),
    Taken,
}

impl<M, T> Unpin for MultiCall<'_, M, T> {}

impl<M, T> MultiCall<'_, M, T> {
    /// Waits for all together no longer than this.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Waits as long as the callees live and hold their [`ReplyTo`]s.
    pub fn no_timeout(mut self) -> Self {
        self.timeout = None;
        self
    }
}

impl<'a, M: Send + 'static, T: Send + 'static> Part<'a, M, T> {
    /// Sends what has not been sent, and looks for the answer.
    fn advance(self, cx: &Polling<'_>) -> Self {
        let part = match self {
            Self::Fresh(callee, message, cell) => {
                if Local::current() == Some(callee.pid()) {
                    return Self::fail(callee, CallErrorKind::CallsItself, Some(message));
                }
                match callee.control.push_request(message, cell.clone()) {
                    Ok(()) => Self::Sent(callee, cell),
                    Err((refusal, message)) => return Self::fail(callee, refused(refusal), Some(message)),
                }
            }
            part => part,
        };
        let Self::Sent(callee, cell) = part else { return part };
        match cell.poll(cx.waker(), || !callee.is_alive()).0 {
            Answer::Answered(value) => Self::Done(Ok(value)),
            Answer::Ended(reason) => Self::fail(callee, CallErrorKind::Ended(reason), None),
            Answer::Dropped | Answer::TimedOut => Self::fail(callee, CallErrorKind::NoReply, None),
            Answer::NotYet => Self::Sent(callee, cell),
        }
    }

    /// The time is over.
    fn finish(self) -> Self {
        match self {
            Self::Sent(callee, cell) => match cell.close().0 {
                Some(value) => Self::Done(Ok(value)),
                None => Self::fail(callee, CallErrorKind::TimedOut, None),
            },
            part => part,
        }
    }

    fn fail(callee: &'a Address<M>, kind: CallErrorKind, message: Option<M>) -> Self {
        Self::Done(Err(CallError::new(kind, callee.pid(), message)))
    }
}

impl<M: Send + 'static, T: Send + 'static> Future for MultiCall<'_, M, T> {
    type Output = Vec<Result<T, CallError<M>>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Polling<'_>) -> Poll<Self::Output> {
        ready!(budget::poll_proceed(cx));
        let this = &mut *self;
        for part in &mut this.parts {
            *part = std::mem::replace(part, Part::Taken).advance(cx);
        }
        let done = |parts: &[Part<'_, M, T>]| parts.iter().all(|part| matches!(part, Part::Done(_) | Part::Taken));
        if !done(&this.parts) {
            let (home, timeout) = (&this.home, this.timeout);
            let Some(timeout) = timeout else { return Poll::Pending };
            ready!(this.alarm.get_or_insert_with(|| Alarm::after(Arc::clone(home), timeout)).poll(cx));
            for part in &mut this.parts {
                *part = std::mem::replace(part, Part::Taken).finish();
            }
        }
        let answers = this.parts.drain(..).filter_map(|part| match part {
            Part::Done(answer) => Some(answer),
            _ => None,
        });
        Poll::Ready(answers.collect())
    }
}

impl<M, T> Drop for MultiCall<'_, M, T> {
    fn drop(&mut self) {
        for part in self.parts.drain(..) {
            if let Part::Sent(_, cell) = part {
                let unwanted = cell.close();
                drop(unwanted);
            }
        }
    }
}

impl<M, T> fmt::Debug for MultiCall<'_, M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MultiCall")
    }
}
