//! Driver: a socket that the runtime's poller watches: tries, and waits when it would block.
use crate::budget;
use crate::info::Whereabouts;
use crate::io::readiness::{Chance, Direction, Readiness};
use crate::io::runtime_is_over;
use crate::runtime::Handle;
use crate::scheduler::Home;
use mio::event::Source;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// A socket with its place in the poller. Dropping it gives the place back and closes the socket.
pub(crate) struct Socket<S: Source> {
    inner: S,
    readiness: Arc<Readiness>,
    place: usize,
    home: Arc<Home>,
}

/// What an attempt has come to.
pub(crate) enum Done<T> {
    /// All that was asked for, or as much as that tells nothing of.
    Full(T),
    /// Less than was asked for: a socket that had more would have given it.
    Short(T),
}

impl<S: Source> Socket<S> {
    /// Makes a socket and takes it in; `connected` unless it is still to be. Where sockets are refused none is made.
    pub(crate) fn new(runtime: &Handle, connected: bool, make: impl FnOnce() -> io::Result<S>) -> io::Result<Self> {
        let home = Arc::clone(runtime.home());
        let poller = home.shared.scheduler.io.poller(&home.shared)?;
        let mut inner = make()?;
        let readiness = Arc::new(if connected { Readiness::new() } else { Readiness::unready() });
        let place = poller.register(&mut inner, &readiness)?;
        Ok(Self { inner, readiness, place, home })
    }

    pub(crate) fn get(&self) -> &S {
        &self.inner
    }

    pub(crate) fn runtime(&self) -> Handle {
        Handle::new(Arc::clone(&self.home))
    }

    /// Tries, once the socket is ready; waits when it would block after all. An interrupt is tried again.
    pub(crate) fn poll_try<T>(
        &self,
        direction: Direction,
        cx: &Context<'_>,
        attempt: impl FnMut(&S) -> io::Result<Done<T>>,
    ) -> Poll<io::Result<T>> {
        self.poll_numbered(direction, cx, &mut None, attempt)
    }

    /// [`Socket::poll_try`]; `number` is that of the waker it has left.
    fn poll_numbered<T>(
        &self,
        direction: Direction,
        cx: &Context<'_>,
        number: &mut Option<u64>,
        mut attempt: impl FnMut(&S) -> io::Result<Done<T>>,
    ) -> Poll<io::Result<T>> {
        ready!(budget::poll_proceed(cx));
        loop {
            let told = match self.readiness.chance(direction) {
                Chance::Try(told) => told,
                Chance::Over => return Poll::Ready(Err(runtime_is_over())),
                Chance::Wait => {
                    if let Some(waits) = self.readiness.wait(direction, cx.waker()) {
                        *number = Some(waits);
                        budget::note_await(Whereabouts::Io);
                        return Poll::Pending;
                    }
                    continue;
                }
            };
            match attempt(&self.inner) {
                Ok(Done::Full(done)) => return Poll::Ready(Ok(done)),
                Ok(Done::Short(done)) => {
                    self.readiness.drained(direction, told);
                    return Poll::Ready(Ok(done));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readiness.refused(direction, told),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// [`Socket::poll_try`] as a future; its waker is taken back when it is dropped.
    pub(crate) async fn attempt<T>(
        &self,
        direction: Direction,
        mut attempt: impl FnMut(&S) -> io::Result<Done<T>>,
    ) -> io::Result<T> {
        let mut waits = Waits { readiness: &self.readiness, direction, number: None };
        poll_fn(|cx| self.poll_numbered(direction, cx, &mut waits.number, &mut attempt)).await
    }
}

/// Takes the waker back, lest a socket that is kept for long keep the process of who gave up waiting for it.
struct Waits<'a> {
    readiness: &'a Readiness,
    direction: Direction,
    number: Option<u64>,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.readiness.stop_waiting(self.direction, number);
        }
    }
}

impl<S: Source> Drop for Socket<S> {
    fn drop(&mut self) {
        let shared = &self.home.shared;
        if let Ok(poller) = shared.scheduler.io.poller(shared) {
            poller.deregister(&mut self.inner, self.place);
        }
    }
}

impl<S: Source + fmt::Debug> fmt::Debug for Socket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
