//! Driver: slots as users hold them: room in a group for a message that is still to come.
use crate::dispatcher::{Dispatch, DispatchConversation};
use crate::group::Group;
use crate::outcome::DispatchErrorKind;
use crate::slots::{SlotNumber, SlotState};
use crate::yard::Refusal;
use colloquium_runtime::poll_charged;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

/// Room in a group for one message that is still to come ([`DispatchConversation::try_reserve`],
/// [`DispatchConversation::reserve`]).
///
/// A message that is dispatched with it is never [`Overloaded`](DispatchErrorKind::Overloaded): it is let in, and it may wait
/// for as long as its deadline allows, whatever the waiting room's bounds say. Until then the room is refused to others. It can
/// still end in every other way.
///
/// The room is held for the group's [deadline](crate::GroupBuilder::deadline) (30 s unless given), so that one who forgets a
/// slot does not keep it for ever: after that the slot is worth nothing, and a message that is dispatched with it is one like
/// any other. Dropped unused, it gives the room back at once. It keeps nothing alive, and goes where you like: into a task, or
/// through a request's extensions.
///
/// # Examples
///
/// A service says that it is overloaded before it reads what it could not handle:
///
/// ```
/// use colloquium_dispatch::{ConsumerGroup, ConsumerRegistration, Delivery, DispatchErrorKind, Failure, Rooted};
/// use colloquium_runtime::Runtime;
///
/// let runtime = Runtime::new()?;
/// runtime.block_on(async {
///     let length = ConsumerRegistration::function(async |text: Delivery<String>| Ok::<_, Failure>(text.len()));
///     let group = ConsumerGroup::alike("lengths", 1, &length).waiting_room(0).start(&runtime.root()).await?;
///     let slot = group.try_reserve()?;
///     let refused = group.try_reserve().unwrap_err();
///     assert_eq!(refused.kind(), DispatchErrorKind::Overloaded); // there is one place, and it is kept
///     let body = String::from("read only now");
///     assert_eq!(*slot.dispatch(body).await?.output(), 13);
///     assert!(group.try_reserve().is_ok());
///     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[must_use = "dropped, it gives its room back"]
pub struct Slot<M: Send + Sync + 'static, R: Send + 'static> {
    dispatcher: DispatchConversation<M, R>,
    number: SlotNumber,
    spent: bool,
}

/// Why there is no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReserveError {
    kind: DispatchErrorKind,
    retry_after: Option<Duration>,
}

impl ReserveError {
    fn new(refusal: Refusal) -> Self {
        let retry_after = if let Refusal::Overloaded { retry_after } = refusal { Some(retry_after) } else { None };
        Self { kind: refusal.kind(), retry_after }
    }

    /// What a dispatch would have ended with: [`Overloaded`](DispatchErrorKind::Overloaded),
    /// [`Closed`](DispatchErrorKind::Closed), [`NoConsumerAvailable`](DispatchErrorKind::NoConsumerAvailable), or
    /// [`WouldDeadlock`](DispatchErrorKind::WouldDeadlock) for a consumer of the group that holds a delivery.
    #[must_use]
    pub fn kind(&self) -> DispatchErrorKind {
        self.kind
    }

    /// When it may be worth trying again, after [`Overloaded`](DispatchErrorKind::Overloaded).
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Display for ReserveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl std::error::Error for ReserveError {}

impl<M: Send + Sync + 'static, R: Send + 'static> DispatchConversation<M, R> {
    /// Room for one message, if there is any now that is promised to nobody: a free place at a consumer, or in the waiting room.
    ///
    /// # Errors
    ///
    /// [`ReserveError`]: no room, or nobody to take a message. Also while others wait in [`DispatchConversation::reserve`].
    pub fn try_reserve(&self) -> Result<Slot<M, R>, ReserveError> {
        let group = self.shared();
        let (now, caller) = (group.runtime.now(), group.runtime.current());
        let until = now.saturating_add(group.options.deadline);
        let (reserved, hastened) = {
            let mut yard = group.yard();
            (yard.try_reserve(caller, until, now), yard.take_hastened())
        };
        group.hasten(hastened);
        let number = reserved.map_err(ReserveError::new)?;
        Ok(Slot { dispatcher: self.clone(), number, spent: false })
    }

    /// Room for one message, waited for as long as it takes: first come, first served, and before whoever comes without a slot.
    /// For those who pull messages from elsewhere, and are to take no more than there is room for.
    ///
    /// ```
    /// # use colloquium_dispatch::{ConsumerGroup, ConsumerRegistration, Delivery, DispatchConversation, Failure, Rooted};
    /// # use colloquium_runtime::Runtime;
    /// # use std::sync::mpsc::Receiver;
    /// async fn pull(broker: Receiver<String>, group: &DispatchConversation<String, usize>) {
    ///     while let Ok(slot) = group.reserve().await {
    ///         let Ok(message) = broker.recv() else { break };
    ///         slot.dispatch(message).start().detach(); // never refused for lack of room
    ///     }
    /// }
    /// # let runtime = Runtime::new()?;
    /// # runtime.block_on(async {
    /// #     let length = ConsumerRegistration::function(async |text: Delivery<String>| Ok::<_, Failure>(text.len()));
    /// #     let group = ConsumerGroup::alike("lengths", 1, &length).waiting_room(0).start(&runtime.root()).await?;
    /// #     let (give, broker) = std::sync::mpsc::channel();
    /// #     (0..100).for_each(|n| drop(give.send(n.to_string())));
    /// #     drop(give);
    /// #     pull(broker, &group).await;
    /// #     let report = group.drain(std::time::Duration::from_secs(10)).await;
    /// #     assert_eq!((report.left, group.group().snapshot().totals.completed), (0, 100));
    /// #     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    ///
    /// The line of those who wait has no bound of its own: each of them is a future that somebody holds.
    ///
    /// # Errors
    ///
    /// [`ReserveError`]: nobody will take a message any more, the group's end included. Never
    /// [`Overloaded`](DispatchErrorKind::Overloaded).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the place in the line, or the room, back.
    pub async fn reserve(&self) -> Result<Slot<M, R>, ReserveError> {
        loop {
            let group = self.shared();
            let slot = Slot { dispatcher: self.clone(), number: group.stand_in_line()?, spent: false };
            // The group's tree may end without anybody to say so: with its runtime, or by a kill.
            let mut ended = pin!(group.ended());
            let state = poll_fn(|cx| {
                poll_charged(cx, |cx| match group.poll_slot(slot.number, cx) {
                    Poll::Ready(state) => Poll::Ready(Some(state)),
                    Poll::Pending => ended.as_mut().poll(cx).map(|()| None),
                })
            });
            match state.await {
                Some(SlotState::Held) => return Ok(slot),
                // Refused for good, or held too long before anybody looked: asking anew tells.
                Some(_) => {}
                None => return Err(ReserveError::new(Refusal::Closed)),
            }
        }
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> Group<M, R> {
    /// Waits until its node has ended. Started anew by its own supervisor, it goes on.
    async fn ended(&self) {
        match self.stem.get() {
            Some(stem) => {
                let closed = || !self.keeper.address().is_ok_and(|keeper| keeper.is_alive());
                stem.ended(&self.runtime, closed).await;
            }
            None => std::future::pending().await,
        }
    }

    fn stand_in_line(&self) -> Result<SlotNumber, ReserveError> {
        let (now, caller) = (self.runtime.now(), self.runtime.current());
        let until = now.saturating_add(self.options.deadline);
        let mut yard = self.yard();
        let reserved = yard.reserve(caller, until, now);
        // Under the lock, so that whoever makes room afterwards sees it.
        self.reserving.store(yard.slots.waiting() > 0, Ordering::Relaxed);
        let hastened = yard.take_hastened();
        drop(yard);
        self.hasten(hastened);
        reserved.map_err(ReserveError::new)
    }

    /// Waits until the slot waits no more.
    fn poll_slot(&self, number: SlotNumber, cx: &Context<'_>) -> Poll<SlotState> {
        // First the waker and then the look: who admits it in between finds the waker.
        let waker = cx.waker().clone();
        let old = self.reservers.lock().insert(number, waker);
        drop(old);
        let state = self.yard().slots.state(number);
        if state == SlotState::Waits {
            return Poll::Pending;
        }
        let own = self.reservers.lock().swap_remove(&number);
        drop(own);
        Poll::Ready(state)
    }

    /// There may be room for those in line, or none any more for ever.
    #[inline]
    pub(crate) fn admit(&self) {
        if self.reserving.load(Ordering::Relaxed) {
            self.admit_some();
        }
    }

    #[cold]
    fn admit_some(&self) {
        let now = self.runtime.now();
        let mut yard = self.yard();
        let admitted = yard.admit(now.saturating_add(self.options.deadline), now);
        self.reserving.store(yard.slots.waiting() > 0, Ordering::Relaxed);
        let hastened = yard.take_hastened();
        drop(yard);
        self.hasten(hastened);
        for number in admitted {
            let waker = self.reservers.lock().swap_remove(&number);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// A slot is given back, or the wait for it given up.
    fn give_back(&self, number: SlotNumber) {
        self.yard().slots.give_back(number);
        self.admit();
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> Slot<M, R> {
    /// Dispatches a message in this room: as [`DispatchConversation::dispatch`], but that it is never refused for lack of room.
    /// Dropped before it has begun, it gives the room back.
    ///
    /// # Errors
    ///
    /// As [`DispatchConversation::dispatch`], without [`Overloaded`](DispatchErrorKind::Overloaded) unless the slot was held for
    /// too long.
    pub fn dispatch(self, message: impl Into<Arc<M>>) -> Dispatch<'static, M, R> {
        Dispatch::with_slot(self, message.into())
    }

    pub(crate) fn dispatcher(&self) -> &DispatchConversation<M, R> {
        &self.dispatcher
    }

    pub(crate) fn number(&self) -> SlotNumber {
        self.number
    }

    /// A message came with it.
    pub(crate) fn spent(mut self) {
        self.spent = true;
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> Drop for Slot<M, R> {
    fn drop(&mut self) {
        if self.spent {
            return;
        }
        let group = self.dispatcher.shared();
        group.give_back(self.number);
        // It is there if it was waited for.
        let waker = group.reservers.lock().swap_remove(&self.number);
        drop(waker);
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> fmt::Debug for Slot<M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot({})", self.number)
    }
}
