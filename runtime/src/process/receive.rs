//! Driver: out of the mailbox: in order, by choice, with a deadline.
use crate::budget;
use crate::error::TimedOut;
use crate::limits::MAILBOX_KEEPS;
use crate::mailbox::{Drawn, Item};
use crate::process::context::{Aside, Context, Saved};
use crate::process::control::{Core, Head, InnerGuard};
use crate::process::ending::drop_caught;
use crate::sync::atomic::Ordering;
use crate::timer::sleep::Alarm;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Polling, Poll, Waker, ready};
use std::time::Duration;

impl<M: Send + 'static> Context<M> {
    /// Waits for the next message, in the order of arrival; first those that a selective receive has passed over.
    ///
    /// Messages of one sender come in the order sent. Exits that are trapped, downs and group events stand in the same
    /// order, turned into messages by the mappings they were asked for with. A process waits for as long as nothing
    /// comes: its address may be known to somebody.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no message: one is taken only when it is ready.
    ///
    /// # Panics
    ///
    /// If the process has ended: the context was moved out of its body.
    #[inline]
    pub fn recv(&mut self) -> Recv<'_, M> {
        Recv { context: self }
    }

    /// The next message if one is there. Never yields; it charges the process's budget all the same.
    pub fn try_recv(&mut self) -> Option<M> {
        budget::charge();
        match self.poll_message(None) {
            Poll::Ready(message) => Some(message),
            Poll::Pending => None,
        }
    }

    /// As [`Context::recv`], for no longer than `timeout` from the first poll on. With a time-out of zero, a message
    /// that is there is received, else it times out at once. A message always beats the time-out.
    ///
    /// # Cancel safety
    ///
    /// As [`Context::recv`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> RecvTimeout<'_, M> {
        RecvTimeout { context: self, timeout, alarm: None }
    }

    /// Waits for the first message for which `wanted` holds, and leaves the others in their order (OTP's selective
    /// receive). While it waits, only what is new is looked at; the next receive begins at the oldest again.
    ///
    /// Set-aside messages count in the mailbox's bound. A search costs time in proportion to what it passes over.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing and changes no order.
    ///
    /// # Panics
    ///
    /// As [`Context::recv`], and if `wanted` does; no message is lost by that.
    pub fn recv_matching<P: FnMut(&M) -> bool>(&mut self, wanted: P) -> RecvMatching<'_, M, P> {
        RecvMatching { context: self, wanted, looked_at: 0 }
    }

    /// As [`Context::recv_matching`], for no longer than `timeout` from the first poll on; messages that do not match do
    /// not prolong it, and one that does beats it.
    ///
    /// # Cancel safety
    ///
    /// As [`Context::recv_matching`].
    pub fn recv_matching_timeout<P: FnMut(&M) -> bool>(
        &mut self,
        timeout: Duration,
        wanted: P,
    ) -> RecvMatchingTimeout<'_, M, P> {
        RecvMatchingTimeout { inner: self.recv_matching(wanted), timeout, alarm: None, last: None }
    }

    /// The next message: one that was set aside, or a new one.
    #[inline]
    fn poll_message(&mut self, waker: Option<&Waker>) -> Poll<M> {
        if self.control.head.drops_oldest() {
            self.catch_up();
        }
        if let Some(saved) = self.aside.as_mut().and_then(|aside| aside.saved.pop_front()) {
            return Poll::Ready(self.hand_over_saved(saved));
        }
        let saved = ready!(self.poll_new(waker, true));
        Poll::Ready(self.hand_over(saved))
    }

    /// The message leaves the mailbox for good.
    #[inline]
    fn hand_over(&mut self, saved: Saved<M>) -> M {
        if saved.counted {
            self.control.head.took(1);
            // Who waits for room is let in at the end of this poll at the latest.
            self.control.head.unsettled.store(true, Ordering::Relaxed);
        }
        saved.message
    }

    /// As [`Self::hand_over`], of what was set aside: another may be the oldest now, which is told when the lock is taken next,
    /// before the process waits.
    fn hand_over_saved(&mut self, saved: Saved<M>) -> M {
        self.drawn.forget_empty();
        self.hand_over(saved)
    }

    /// The next message that no receive has seen; with `for_good`, it will not be set aside.
    #[inline]
    fn poll_new(&mut self, waker: Option<&Waker>, for_good: bool) -> Poll<Saved<M>> {
        loop {
            let item = match self.drawn.next(self.aside.as_mut().and_then(|aside| aside.signals())) {
                Some(item) => item,
                None => match ready!(self.draw(waker, for_good)) {
                    Draw::Taken(message) => return Poll::Ready(Saved { message, counted: false, since: 0 }),
                    Draw::One(message) => Item::Message(message),
                    Draw::All => continue,
                },
            };
            if let Some(saved) = self.message_of(item) {
                return Poll::Ready(saved);
            }
        }
    }

    /// Takes from the shared part.
    #[inline]
    fn draw(&mut self, waker: Option<&Waker>, for_good: bool) -> Poll<Draw<M>> {
        let head = &self.control.head;
        let own = waker.is_some_and(|waker| is_own(head, waker));
        if own && self.drawn.is_still_empty(head.arrived.load(Ordering::Acquire)) {
            head.note_idle();
            return Poll::Pending;
        }
        if !own {
            return self.draw_for(waker);
        }
        let mut inner = self.control.inner.lock();
        let core = &inner.core;
        let plain = core.fate.is_none() && core.signals.is_none() && !head.drops_oldest();
        let small = inner.messages.len() == 1 && inner.messages.capacity() <= MAILBOX_KEEPS;
        if plain && for_good && small && inner.nobody_waits() {
            let message = inner.messages.pop_front().expect("there is one");
            // Under the lock, so that no sender finds the mailbox full that is empty, and waits.
            head.took(1);
            inner.core.wait();
            self.drawn.see_empty(head.arrived.load(Ordering::Relaxed));
            // As well, so that `info` does not say that it waits while it handles the message.
            head.receiver_since.store(0, Ordering::Relaxed);
            drop(inner);
            self.drawn.skip(1);
            return Poll::Ready(Draw::Taken(message));
        }
        draw_any(inner, &self.control.head, &mut self.drawn, &mut self.aside, Asker::Process)
    }

    /// As [`Self::draw`], for a part of the body, for another's or for nobody.
    #[inline(never)]
    fn draw_for(&mut self, waker: Option<&Waker>) -> Poll<Draw<M>> {
        // Before the lock is taken: it is anybody's, and its clone may do anything.
        let asker = waker.cloned().map_or(Asker::Nobody, Asker::Part);
        draw_any(self.control.inner.lock(), &self.control.head, &mut self.drawn, &mut self.aside, asker)
    }
}

/// Who is to be woken when there is something.
enum Asker {
    /// The process as a whole, whose waker its core has.
    Process,
    /// A part of its body, or another who has got hold of its context.
    Part(Waker),
    Nobody,
}

/// What came out of the shared part.
enum Draw<M> {
    /// The only message there was, for good.
    Taken(M),
    /// One message, which still counts.
    One(M),
    /// All there was, into `drawn`.
    All,
}

/// Whether this is the waker of the process as a whole, and not of a part of its body or of another's.
#[inline]
fn is_own(head: &Head, waker: &Waker) -> bool {
    waker.data().addr() == head.own_waker.load(Ordering::Relaxed)
}

/// Counts what the policy dropped as drawn, so that signals keep their places; true if there was any.
fn skip_dropped<M>(core: &mut Core, head: &Head, drawn: &mut Drawn<M>) -> bool {
    let skipped = core.extra.as_mut().map_or(0, |extra| std::mem::take(&mut extra.skipped));
    drawn.skip(skipped);
    head.took(skipped);
    skipped > 0
}

/// Takes whatever there is. Not inlined: most receives are over before it comes to this.
#[inline(never)]
fn draw_any<M>(
    mut inner: InnerGuard<'_, M>,
    head: &Head,
    drawn: &mut Drawn<M>,
    aside: &mut Option<Box<Aside<M>>>,
    asker: Asker,
) -> Poll<Draw<M>> {
    if inner.core.fate.is_some() {
        return end_of_reception(inner, head, asker);
    }
    let admitted = if inner.nobody_waits() { Vec::new() } else { inner.admit(head) };
    let one_by_one = head.drops_oldest();
    if one_by_one && skip_dropped(&mut inner.core, head, drawn) {
        // A signal that stood behind what was dropped has its turn now.
        return Poll::Ready(Draw::All);
    }
    let one = match (inner.messages.len(), inner.core.signals.take()) {
        (0, None) => return park(inner, head, drawn, aside, asker),
        (1, None) => inner.messages.pop_front(),
        (_, None) if one_by_one => inner.messages.pop_front(),
        (_, signals) => {
            if !one_by_one {
                drawn.swap(&mut inner.messages);
            }
            if let Some(signals) = signals {
                // Whoever has signals sent has a mapping for them, and so this box already.
                aside.get_or_insert_with(|| Box::new(Aside::new())).add_signals(signals);
            }
            None
        }
    };
    // What it has drawn takes its stamp along. (If that was signals alone, nobody asks.)
    head.receiver_since.store(inner.core.mail_since, Ordering::Relaxed);
    if let Some(aside) = aside {
        aside.note_oldest(&mut inner.core);
    }
    if one_by_one {
        let queued = inner.messages.len();
        inner.core.follow(head, queued);
    }
    drop(inner);
    admitted.into_iter().for_each(Waker::wake);
    Poll::Ready(one.map_or(Draw::All, |message| {
        drawn.skip(1);
        Draw::One(message)
    }))
}

/// Nothing is there: the next push is to wake whoever polls.
fn park<M>(
    mut inner: InnerGuard<'_, M>,
    head: &Head,
    drawn: &mut Drawn<M>,
    aside: &mut Option<Box<Aside<M>>>,
    asker: Asker,
) -> Poll<Draw<M>> {
    if let Some(aside) = aside {
        aside.note_oldest(&mut inner.core);
    }
    let mut old = None;
    if !matches!(asker, Asker::Nobody) {
        inner.core.wait();
        head.note_idle();
        if matches!(asker, Asker::Process) {
            drawn.see_empty(head.arrived.load(Ordering::Relaxed));
        } else {
            // The process as a whole, if it comes next, must take the wake-up over.
            drawn.forget_empty();
        }
        old = set_receiver(&mut inner, asker);
    }
    let large =
        if inner.messages.capacity() > MAILBOX_KEEPS { Some(std::mem::take(&mut inner.messages)) } else { None };
    drop(inner);
    drop((old, large));
    drawn.shrink();
    Poll::Pending
}

/// Remembers who polls, if that is not the process as a whole. What was remembered comes out.
fn set_receiver<M>(inner: &mut InnerGuard<'_, M>, asker: Asker) -> Option<Waker> {
    match asker {
        Asker::Process => inner.core.extra.as_mut().and_then(|extra| extra.receiver.take()),
        Asker::Part(waker) => inner.core.extra().receiver.replace(waker),
        Asker::Nobody => None,
    }
}

/// The process is doomed: nothing is received any more, and its next poll ends it.
fn end_of_reception<M>(mut inner: InnerGuard<'_, M>, head: &Head, asker: Asker) -> Poll<Draw<M>> {
    let gone = head.is_gone();
    let unused = if gone { (None, Some(asker)) } else { (set_receiver(&mut inner, asker), None) };
    drop(inner);
    drop(unused);
    assert!(!gone, "process {} has ended, and its Context was moved out of its body", head.pid);
    Poll::Pending
}

/// The future of [`Context::recv`].
#[must_use = "a future does nothing unless awaited"]
pub struct Recv<'a, M> {
    context: &'a mut Context<M>,
}

impl<M: Send + 'static> Future for Recv<'_, M> {
    type Output = M;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Polling<'_>) -> Poll<M> {
        ready!(budget::poll_proceed(cx));
        self.context.poll_message(Some(cx.waker()))
    }
}

/// The future of [`Context::recv_timeout`].
#[must_use = "a future does nothing unless awaited"]
pub struct RecvTimeout<'a, M> {
    context: &'a mut Context<M>,
    timeout: Duration,
    alarm: Option<Alarm>,
}

impl<M: Send + 'static> Future for RecvTimeout<'_, M> {
    type Output = Result<M, TimedOut>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Polling<'_>) -> Poll<Self::Output> {
        ready!(budget::poll_proceed(cx));
        if let Poll::Ready(message) = self.context.poll_message(Some(cx.waker())) {
            return Poll::Ready(Ok(message));
        }
        let this = &mut *self;
        poll_alarm(&mut this.alarm, this.timeout, &this.context.control.head, cx).map(|()| Err(TimedOut))
    }
}

/// Polls the alarm of a receive, which is set when that first has to wait.
fn poll_alarm(alarm: &mut Option<Alarm>, timeout: Duration, head: &Head, cx: &Polling<'_>) -> Poll<()> {
    if timeout.is_zero() {
        return Poll::Ready(());
    }
    alarm.get_or_insert_with(|| Alarm::after(Arc::clone(&head.home), timeout)).poll(cx)
}

/// The future of [`Context::recv_matching`].
#[must_use = "a future does nothing unless awaited"]
pub struct RecvMatching<'a, M, P> {
    context: &'a mut Context<M>,
    wanted: P,
    /// How many of the messages set aside have been looked at.
    looked_at: usize,
}

impl<M, P> Unpin for RecvMatching<'_, M, P> {}

impl<M: Send + 'static, P: FnMut(&M) -> bool> Future for RecvMatching<'_, M, P> {
    type Output = M;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Polling<'_>) -> Poll<M> {
        let Self { context, wanted, looked_at } = &mut *self;
        loop {
            ready!(budget::poll_proceed(cx));
            if context.control.head.drops_oldest() {
                *looked_at = looked_at.saturating_sub(context.catch_up());
            }
            let set_aside = context.aside.as_ref().map_or(0, |aside| aside.saved.len());
            if *looked_at == set_aside {
                // It is set aside before it is looked at: a panic of `wanted` finds it in its place.
                let saved = ready!(context.poll_new(Some(cx.waker()), false));
                context.set_aside(saved);
            }
            let aside = context.aside();
            let at = *looked_at;
            if aside.saved.get(at).is_some_and(|saved| wanted(&saved.message)) {
                let saved = aside.saved.remove(at).expect("it was just looked at");
                return Poll::Ready(context.hand_over_saved(saved));
            }
            *looked_at = (at + 1).min(context.aside().saved.len());
        }
    }
}

impl<M: Send + 'static> Context<M> {
    /// Whether all has been drawn that had arrived when the count stood so (in twos).
    fn has_drawn(&self, arrived: u32) -> bool {
        let signals = self.aside.as_ref().map_or(0, |aside| aside.signals_drawn);
        let drawn = self.drawn.count().wrapping_add(signals).wrapping_mul(2);
        drawn.wrapping_sub(arrived) <= u32::MAX / 2
    }

    /// Keeps a message for later.
    fn set_aside(&mut self, mut saved: Saved<M>) {
        // It was among what was drawn last.
        saved.since = self.control.head.receiver_since.load(Ordering::Relaxed);
        self.aside().saved.push_back(saved);
    }

    /// In a mailbox that drops its oldest: drops those of the set-aside that had to make room; how many.
    #[inline(never)]
    fn catch_up(&mut self) -> usize {
        let head = &self.control.head;
        let mut inner = self.control.inner.lock();
        skip_dropped(&mut inner.core, head, &mut self.drawn);
        let overdue = inner.core.extra.as_mut().map_or(0, |extra| std::mem::take(&mut extra.overdue));
        let saved = self.aside.as_mut().map(|aside| &mut aside.saved);
        let dropped: Vec<Saved<M>> = saved.map_or_else(Vec::new, |saved| {
            let places: Vec<usize> = (0..saved.len()).filter(|at| saved[*at].counted).take(overdue as usize).collect();
            places.into_iter().rev().filter_map(|at| saved.remove(at)).collect()
        });
        let count = u32::try_from(dropped.len()).expect("no more than were overdue");
        head.took(count);
        if let Some(aside) = &mut self.aside {
            aside.note_oldest(&mut inner.core);
        }
        if let Some(extra) = &mut inner.core.extra {
            // One that was received meanwhile did not have to be dropped after all.
            extra.dropped -= u64::from(overdue - count);
        }
        drop(inner);
        dropped.into_iter().for_each(drop_caught);
        count as usize
    }
}

/// The future of [`Context::recv_matching_timeout`].
#[must_use = "a future does nothing unless awaited"]
pub struct RecvMatchingTimeout<'a, M, P> {
    inner: RecvMatching<'a, M, P>,
    timeout: Duration,
    alarm: Option<Alarm>,
    /// The time is over: what had arrived by then is still looked at.
    last: Option<u32>,
}

impl<M, P> Unpin for RecvMatchingTimeout<'_, M, P> {}

impl<M: Send + 'static, P: FnMut(&M) -> bool> Future for RecvMatchingTimeout<'_, M, P> {
    type Output = Result<M, TimedOut>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Polling<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Poll::Ready(message) = Pin::new(&mut this.inner).poll(cx) {
            return Poll::Ready(Ok(message));
        }
        let over = poll_alarm(&mut this.alarm, this.timeout, &this.inner.context.control.head, cx);
        if !budget::is_spent() {
            // All there was has been looked at.
            return over.map(|()| Err(TimedOut));
        }
        // It may have yielded with messages still to be looked at. Those that were there in time come before the time-out.
        let context = &this.inner.context;
        if over.is_ready() && this.last.is_none() {
            this.last = Some(context.control.head.arrived.load(Ordering::Acquire));
        }
        let set_aside = context.aside.as_ref().map_or(0, |aside| aside.saved.len());
        if this.inner.looked_at >= set_aside && this.last.is_some_and(|last| context.has_drawn(last)) {
            return Poll::Ready(Err(TimedOut));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

macro_rules! debug_as_name {
    ($($name:ident<$($param:ident),*>),*) => {$(
        impl<$($param),*> fmt::Debug for $name<'_, $($param),*> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    )*};
}

debug_as_name!(Recv<M>, RecvTimeout<M>, RecvMatching<M, P>, RecvMatchingTimeout<M, P>);
