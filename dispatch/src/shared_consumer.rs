//! Driver: consumers that handle several messages at a time, in one process.
use crate::consumer::{Delivery, Open};
use crate::crew::Crew;
use crate::failure::Failure;
use crate::inbox::{Came, Deliveries};
use colloquium_runtime::ExitReason;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

/// Handles messages of a group side by side, up to its room, in one process: for handlers that mostly wait (for a database,
/// for another service) and share what they need for that. For work that computes, more consumers are better: the handlers of
/// one process take turns on one worker.
///
/// # What happens in a crash
///
/// All its handlers share the fate of the process. If one panics, the process ends and a new one is started; the panic is
/// blamed on that message alone. The others that had begun are tried elsewhere at once, at no charge to them; they have been
/// begun with, so that one which was dispatched at most once ends as
/// [`MaybeCompleted`](crate::DispatchErrorKind::MaybeCompleted). A handler that does not stop when its time is over has the
/// whole process killed, with the same consequences. An abnormal exit along a link of the process makes every message that it
/// had begun with suspect.
///
/// After a restart it gets one message at a time until one is completed.
///
/// # Examples
///
/// ```
/// use colloquium_dispatch::{ConsumerGroup, ConsumerRegistration, Delivery, Failure, Rooted, SharedConsumer};
/// use colloquium_runtime::Runtime;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// struct Counter { total: AtomicU64 }
///
/// impl SharedConsumer for Counter {
///     type Message = u64;
///     type Output = u64;
///     async fn handle(&self, n: Delivery<u64>) -> Result<u64, Failure> {
///         Ok(self.total.fetch_add(*n, Ordering::Relaxed) + *n)
///     }
/// }
///
/// let runtime = Runtime::new()?;
/// runtime.block_on(async {
///     let start = async || Ok::<_, std::io::Error>(Counter { total: AtomicU64::new(0) });
///     let registration = ConsumerRegistration::shared(start).room(100);
///     let counter = ConsumerGroup::alike("counter", 1, &registration).start(&runtime.root()).await?;
///     assert_eq!(*counter.dispatch(7).await?.output(), 7);
///     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub trait SharedConsumer: Send + Sync + 'static {
    /// What it is given.
    type Message: Send + Sync + 'static;
    /// What it makes of that.
    type Output: Send + 'static;

    /// Handles one message, while others are handled. As
    /// [`Consumer::handle`](crate::Consumer::handle), but for what the type says of crashes.
    fn handle(&self, message: Delivery<Self::Message>) -> impl Future<Output = Result<Self::Output, Failure>> + Send;
}

pub(crate) async fn serve_shared<C: SharedConsumer>(
    mut inbox: Deliveries<C::Message, C::Output>,
    consumer: C,
) -> ExitReason {
    let consumer = Arc::new(consumer);
    // Dropped before the consumer and the inbox.
    let mut crew = Crew::new();
    loop {
        let came = poll_fn(|cx| {
            crew.poll(cx);
            if inbox.is_stopping() && crew.is_empty() {
                return Poll::Ready(Came::Stop);
            }
            inbox.poll_beside(cx)
        });
        match came.await {
            Came::Work(work) => {
                let (delivery, open) = work.split();
                let consumer = Arc::clone(&consumer);
                crew.join(Box::pin(async move { consumer.handle(delivery).await }), open);
            }
            Came::Cancel => crew.opens().for_each(|open| open.record.wake_handler()),
            Came::Stop if crew.is_empty() => return ExitReason::Shutdown,
            // What has begun is finished.
            Came::Stop => {}
            Came::End(reason) => {
                crew.opens().for_each(Open::suspected);
                inbox.end(reason).await;
            }
        }
    }
}
