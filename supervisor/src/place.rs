//! Shared: the place of a child, as those see it who send to whoever holds it.
//!
//! One lock around who is there and who waits for somebody to be. The child's supervisor alone changes who is there; what
//! was there, and those to be woken, come out from under the lock before they are dropped or woken.
use crate::event::Place;
use colloquium_runtime::{Address, Handle, Pid};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use thiserror::Error;

/// There is one for each child of a dynamic supervisor, so that what most have none of is in boxes.
pub(crate) struct Spot<M> {
    tenure: Tenure,
    inner: Mutex<Inner<M>>,
}

/// Who may take the place after its first holder.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tenure {
    /// Nobody: it is that of one process.
    Fixed,
    /// Its successors, as long as its supervisor lives.
    Child,
    /// Those that another supervisor puts there, too.
    Kept,
}

struct Inner<M> {
    occupant: Occupant<M>,
    queue: Option<Box<Queue>>,
}

/// Those who wait for a change, by their tickets; each takes itself out.
#[derive(Default)]
struct Queue {
    waiting: BTreeMap<u64, Waker>,
    tickets: u64,
}

enum Occupant<M> {
    Up(Address<M>),
    Vacant(Option<Box<(Duration, Handle)>>),
    Stopped,
    Gone,
}

/// Why nobody is in a child's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// It is being started, or will be. Happens in ordinary life: what was not sent can be sent again later.
    #[error("the child is being restarted")]
    Restarting {
        /// In how long at the latest; `None` if that is not known: mostly at once.
        next: Option<Duration>,
    },
    /// It was stopped, or has ended and is not restarted; it can be started again by hand.
    #[error("the child is stopped")]
    Stopped,
    /// It was deleted, or its supervisor has ended.
    #[error("the child is gone")]
    Gone,
}

impl<M: Send + 'static> Spot<M> {
    pub(crate) fn child() -> Self {
        Self::new(Tenure::Child)
    }

    pub(crate) fn kept() -> Self {
        Self::new(Tenure::Kept)
    }

    pub(crate) fn fixed() -> Self {
        Self::new(Tenure::Fixed)
    }

    fn new(tenure: Tenure) -> Self {
        let inner = Mutex::new(Inner { occupant: Occupant::Vacant(None), queue: None });
        Self { inner, tenure }
    }

    /// Whether the end of the process that is in the place is the end of it all.
    pub(crate) fn ends_with_process(&self) -> bool {
        self.tenure == Tenure::Fixed
    }

    /// Shows who is in the place; a process that was started last, if it is up.
    pub(crate) fn show(&self, started: Option<Address<M>>, place: Place<Pid>, runtime: &Handle) {
        self.change(match (place, started) {
            (Place::Up(_), Some(address)) => Occupant::Up(address),
            (Place::Vacant(at), _) => Occupant::Vacant(at.map(|at| Box::new((at, runtime.clone())))),
            (Place::Stopped, _) => Occupant::Stopped,
            (Place::Gone | Place::Up(_), _) => Occupant::Gone,
        });
    }

    /// Somebody is there.
    pub(crate) fn occupy(&self, address: Address<M>) {
        self.change(Occupant::Up(address));
    }

    /// Changes who is there; who was goes when the lock is free.
    fn change(&self, occupant: Occupant<M>) {
        let mut inner = self.inner.lock();
        let old = std::mem::replace(&mut inner.occupant, occupant);
        let waiting = inner.queue.as_mut().map(|queue| std::mem::take(&mut queue.waiting));
        drop(inner);
        drop(old);
        if let Some(waiting) = waiting {
            waiting.into_values().for_each(Waker::wake);
        }
    }

    pub(crate) fn address(&self) -> Result<Address<M>, Unavailable> {
        let inner = self.inner.lock();
        match &inner.occupant {
            Occupant::Up(address) => Ok(address.clone()),
            Occupant::Vacant(None) => Err(Unavailable::Restarting { next: None }),
            Occupant::Vacant(Some(next)) => {
                let (at, runtime) = &**next;
                let next = Some(at.saturating_sub(runtime.now()));
                Err(Unavailable::Restarting { next })
            }
            Occupant::Stopped => Err(Unavailable::Stopped),
            Occupant::Gone => Err(Unavailable::Gone),
        }
    }

    /// A place among those who wait.
    pub(crate) fn wait(&self) -> Waiting<'_, M> {
        let mut inner = self.inner.lock();
        let queue = inner.queue.get_or_insert_default();
        queue.tickets += 1;
        Waiting { spot: self, ticket: queue.tickets }
    }
}

/// Somebody who waits for a live occupant; gives its place up when it is dropped.
pub(crate) struct Waiting<'a, M> {
    spot: &'a Spot<M>,
    ticket: u64,
}

impl<M: Send + 'static> Waiting<'_, M> {
    /// A live occupant, or that there will be none.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<Result<Address<M>, Unavailable>> {
        let waker = cx.waker().clone();
        let mut inner = self.spot.inner.lock();
        match &inner.occupant {
            Occupant::Up(address) if address.is_alive() => return Poll::Ready(Ok(address.clone())),
            Occupant::Gone if self.spot.tenure != Tenure::Kept => return Poll::Ready(Err(Unavailable::Gone)),
            // One that is dead has not been seen to by its supervisor yet.
            Occupant::Up(_) | Occupant::Vacant(_) | Occupant::Stopped | Occupant::Gone => {}
        }
        let old = inner.queue.get_or_insert_default().waiting.insert(self.ticket, waker);
        drop(inner);
        drop(old);
        Poll::Pending
    }
}

impl<M> Drop for Waiting<'_, M> {
    fn drop(&mut self) {
        let waker = self.spot.inner.lock().queue.as_mut().and_then(|queue| queue.waiting.remove(&self.ticket));
        drop(waker);
    }
}
