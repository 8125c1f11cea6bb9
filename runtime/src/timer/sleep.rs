//! Driver: waiting for a moment.
use crate::budget;
use crate::clock::nanos;
use crate::info::Whereabouts;
use crate::scheduler::Home;
use crate::timer::{Entry, TimerId};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// A deadline that wakes whoever polls it. Dropping it removes its timer. On a runtime that has shut down, all time is over.
pub(crate) struct Alarm {
    home: Arc<Home>,
    deadline: u64,
    timer: Option<TimerId>,
}

impl Alarm {
    pub(crate) fn after(home: Arc<Home>, duration: Duration) -> Self {
        let deadline = home.shared.clock.deadline(duration);
        Self { home, deadline, timer: None }
    }

    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        let shared = &self.home.shared;
        if let Some(timer) = self.timer
            && shared.timers.set_waker(timer, cx.waker())
        {
            return Poll::Pending;
        }
        self.timer = None;
        if shared.clock.now() >= self.deadline || shared.lifecycle.is_closed() {
            return Poll::Ready(());
        }
        self.timer = Some(self.home.arm(self.deadline, Entry::Wake(cx.waker().clone())));
        if shared.lifecycle.is_closed() {
            // Nobody may have seen it any more.
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            let entry = self.home.shared.timers.remove(timer);
            drop(entry);
        }
    }
}

/// The future of [`Context::sleep`](crate::Context::sleep).
#[must_use = "a future does nothing unless awaited"]
pub struct Sleep {
    home: Arc<Home>,
    duration: Duration,
    alarm: Option<Alarm>,
}

impl Sleep {
    pub(crate) fn new(home: Arc<Home>, duration: Duration) -> Self {
        Self { home, duration, alarm: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        ready!(budget::poll_proceed(cx));
        if self.alarm.is_none() && nanos(self.duration) > 0 {
            let alarm = Alarm::after(Arc::clone(&self.home), self.duration);
            self.alarm = Some(alarm);
        }
        let polled = self.alarm.as_mut().map_or(Poll::Ready(()), |alarm| alarm.poll(cx));
        if polled.is_pending() {
            budget::note_await(Whereabouts::Sleep);
        }
        polled
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sleep({:?})", self.duration)
    }
}
