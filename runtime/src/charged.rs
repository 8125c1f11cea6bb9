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
