//! Driver: the future that the scheduler polls: the user's body, and the end of the process around it.
//!
//! Written by hand rather than as an async block, which would hold the body twice. The task cell must never drop the
//! body itself, since it aborts the program when a destructor panics: the body is dropped here, each time caught.
use crate::budget;
use crate::exit::{ExitReason, IntoExitReason};
use crate::process::control::{AnyProcess, Control, Process};
use crate::process::ending::{self, Walk};
use crate::process::reply::tell_lost;
use crate::scheduler::worker::Local;
use crate::sync::atomic::Ordering;
use pin_project_lite::pin_project;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

pin_project! {
    pub(crate) struct Wrapper<F, M>
    where
        M: Send,
        M: 'static,
    {
        #[pin]
        body: Option<F>,
        control: Arc<Control<M>>,
        walk: Option<Box<Walk>>,
    }

    impl<F, M> PinnedDrop for Wrapper<F, M>
    where
        M: Send,
        M: 'static,
    {
        /// Dropped before its end: the runtime is gone. Whoever waits for the process learns of it all the same.
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if let Some(walk) = this.walk.as_mut() {
                walk.complete();
            } else if !this.control.head.is_gone() {
                let process: AnyProcess = this.control.clone();
                ending::settle_fate(&process, ExitReason::Killed);
                drop_body(this.body.as_mut());
                ending::finish(&process).complete();
            }
        }
    }
}

impl<F, M: Send + 'static> Wrapper<F, M> {
    /// `None` stands for a body whose making panicked; its process is doomed already.
    pub(crate) fn new(body: Option<F>, control: Arc<Control<M>>) -> Self {
        Self { body, control, walk: None }
    }
}

/// Drops the body where it stands.
fn drop_body<F>(mut body: Pin<&mut Option<F>>) {
    ending::caught(|| body.set(None));
}

impl<F, M> Future for Wrapper<F, M>
where
    F: Future,
    F::Output: IntoExitReason,
    M: Send + 'static,
{
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        if this.walk.is_none() {
            let was_polled = this.control.head.is_alive();
            let own = if was_polled {
                match poll_body(this.body.as_mut(), this.control, cx) {
                    Poll::Pending if this.control.head.is_alive() => {
                        tell_lost();
                        return Poll::Pending;
                    }
                    Poll::Pending => None,
                    Poll::Ready(reason) => Some(reason),
                }
            } else {
                None
            };
            let process: AnyProcess = this.control.clone();
            if let Some(reason) = own {
                ending::settle_fate(&process, reason);
            }
            tell_lost();
            let has_body = this.body.is_some();
            let hands_over = was_polled && has_body && leaves_work(&process);
            if !hands_over {
                drop_body(this.body.as_mut());
            }
            if hands_over || has_body && leaves_work(&process) {
                Local::note_end();
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut walk = ending::finish(&process);
            if walk.step() {
                return Poll::Ready(());
            }
            *this.walk = Some(Box::new(walk));
        } else if this.walk.as_mut().is_none_or(|walk| walk.step()) {
            *this.walk = None;
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Whether somebody waits for this worker whom a process has woken that ends abnormally: with its last words, or by what its body held.
/// Whoever takes over goes before all that is still to be done about its end: the drop of the body in the first case, what its links and
/// its supervisor are told in both.
fn leaves_work(process: &AnyProcess) -> bool {
    Local::has_woken() && process.core().fate.as_ref().is_some_and(|fate| !fate.is_orderly())
}

/// One poll of the body, with its budget, its panics caught, and what it used put down.
#[inline]
fn poll_body<F, M>(body: Pin<&mut Option<F>>, control: &Control<M>, cx: &mut Context<'_>) -> Poll<ExitReason>
where
    F: Future,
    F::Output: IntoExitReason,
    M: Send + 'static,
{
    let Some(body) = body.as_pin_mut() else { return Poll::Ready(ExitReason::Killed) };
    budget::refill();
    let polled = catch_unwind(AssertUnwindSafe(|| body.poll(cx).map(IntoExitReason::into_exit_reason)));
    let head = &control.head;
    let used = u64::from(budget::settle()) + 1;
    head.reductions.store(head.reductions.load(Ordering::Relaxed) + used, Ordering::Relaxed);
    head.whereabouts.store(budget::awaited(), Ordering::Relaxed);
    if head.unsettled.load(Ordering::Relaxed) {
        head.unsettled.store(false, Ordering::Relaxed);
        control.admit_waiting();
    }
    polled.unwrap_or_else(|payload| Poll::Ready(ExitReason::from_panic(payload)))
}
