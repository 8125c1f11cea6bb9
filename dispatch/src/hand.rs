//! Driver: a delivery in the hand of a body that takes deliveries by itself, handled as a consumer's handler handles its own.
use crate::consumer::{Delivery, Work};
use crate::failure::Failure;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

impl<M: Send + Sync + 'static, R: Send + 'static> Work<M, R> {
    /// Handles the delivery as [`Consumer::handle`](crate::Consumer::handle) would, and answers it with what `handler` returns.
    ///
    /// Calls and dispatches that the handler makes inherit the dispatch's deadline, its number and its span, and with
    /// [`OnCancel::Stop`](crate::OnCancel::Stop) it is dropped when nobody wants its result any more. A panic in it ends the
    /// consumer's process and is blamed on this message, unless the body catches it. Exit signals of the process are seen to
    /// when the body asks for its next delivery, not meanwhile.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the delivery unanswered: it has failed and is tried elsewhere.
    ///
    /// # Examples
    ///
    /// ```
    /// use colloquium_dispatch::{ConsumerGroup, ConsumerRegistration, Deliveries, Delivery, Failure, Rooted};
    /// use colloquium_runtime::Runtime;
    ///
    /// async fn length(text: Delivery<String>) -> Result<usize, Failure> {
    ///     Ok(text.len())
    /// }
    ///
    /// async fn one_by_one(mut inbox: Deliveries<String, usize>) {
    ///     while let Some(work) = inbox.next().await {
    ///         work.handle(length).await;
    ///     }
    /// }
    ///
    /// let runtime = Runtime::new()?;
    /// runtime.block_on(async {
    ///     let registration = ConsumerRegistration::process(one_by_one);
    ///     let group = ConsumerGroup::alike("lengths", 1, &registration).start(&runtime.root()).await?;
    ///     assert_eq!(*group.dispatch("four".to_owned()).await?.output(), 4);
    ///     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    pub async fn handle<F, Fut>(self, handler: F)
    where
        F: FnOnce(Delivery<M>) -> Fut,
        Fut: Future<Output = Result<R, Failure>>,
    {
        let (delivery, open) = self.split();
        let result = {
            let mut handler = pin!(Some(open.within(|| handler(delivery))));
            poll_fn(|cx| {
                if let Some(handler) = handler.as_mut().as_pin_mut()
                    && let Poll::Ready(result) = open.within(|| handler.poll(cx))
                {
                    return Poll::Ready(Some(result));
                }
                if open.stops() && open.record.poll_cancelled(cx).is_ready() {
                    // Its closures on other threads are waited for: they were told by this.
                    open.within(|| handler.set(None));
                    return open.record.poll_unblocked(cx).map(|()| None);
                }
                Poll::Pending
            })
            .await
        };
        match result {
            Some(result) => open.answer_by_hand(result),
            None => open.stopped(),
        }
    }
}
