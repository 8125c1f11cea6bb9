//! Driver: a foreign future that counts as an operation of ours.
use crate::budget;
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

pin_project! {
    /// The future of [`charged`].
    #[derive(Debug)]
    #[must_use = "a future does nothing unless awaited"]
    pub struct Charged<F> {
        #[pin]
        inner: F,
        charged: bool,
    }
}

/// Makes a future that is not of this crate cost its process a reduction, so that a loop over it lets others run.
///
/// A process yields when it has used its reductions up, at the next await of ours: a receive, a call, a sleep. A loop that only
/// awaits others' futures (a channel or socket of tokio's, say) and always finds them ready never comes to one, and holds its
/// worker up. Wrapped, each costs what a receive does. Outside a process this does nothing.
///
/// # Cancel safety
///
/// That of the future: dropped before it is polled first, nothing has happened.
///
/// # Examples
///
/// ```
/// # use colloquium_runtime::{Context, Runtime, charged};
/// # let foreign = || std::future::ready(Some(1));
/// # let runtime = Runtime::new()?;
/// # let process = runtime.spawn(async move |_: Context<()>| {
/// let mut sum = 0;
/// while let Some(number) = charged(foreign()).await {
///     sum += number;
/// #   if sum > 1_000 { break }
/// }
/// # })?;
/// # runtime.block_on(process.ended());
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub fn charged<F: Future>(future: F) -> Charged<F> {
    Charged { inner: future, charged: false }
}

/// As [`charged`], for futures that are written by hand: polls once, unless the process has used its reductions up. Then it
/// yields: it is woken at once, and this is pending, without `poll` having been called. What is ready costs a reduction; what is
/// pending does not, so that one that polls many others comes to each of them. Outside a process it polls, and no more.
/// Another library's `block_on` inside a process gets no reductions by being woken; after a thousand yields it gets some all the
/// same. It holds the worker up, as whatever blocks does: await instead.
///
/// ```
/// # use colloquium_runtime::poll_charged;
/// # use std::future::Future;
/// # use std::pin::Pin;
/// # use std::task::{Context, Poll};
/// /// A ticket from a machine that never runs out.
/// struct Ticket<'a>(&'a std::sync::atomic::AtomicU64);
///
/// impl Future for Ticket<'_> {
///     type Output = u64;
///     fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u64> {
///         poll_charged(cx, |_| Poll::Ready(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed)))
///     }
/// }
/// ```
#[inline]
pub fn poll_charged<T>(cx: &mut Context<'_>, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    if budget::is_spent() {
        return budget::poll_yield(cx);
    }
    let polled = poll(cx);
    if polled.is_ready() {
        budget::charge();
    }
    polled
}

impl<F: Future> Future for Charged<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if !*this.charged {
            ready!(budget::poll_proceed(cx));
            *this.charged = true;
        }
        this.inner.poll(cx)
    }
}
