//! Driver: handlers that run side by side in one process, each polled when it was woken.
use crate::consumer::Open;
use crate::failure::Failure;
use crate::record::seen::remember;
use parking_lot::Mutex;
use slab::Slab;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

type Handler<R> = Pin<Box<dyn Future<Output = Result<R, Failure>> + Send>>;

/// The handlers of one process. When the process unwinds, only the one that was being polled is to blame.
pub(crate) struct Crew<M: Send + Sync + 'static, R: Send + 'static> {
    members: Slab<Member<M, R>>,
    door: Arc<Door>,
    polling: Option<usize>,
}

struct Member<M: Send + Sync + 'static, R: Send + 'static> {
    /// Before `open`: what the handler holds is dropped before its end is told. `None` once it was stopped.
    handler: Option<Handler<R>>,
    open: Open<M, R>,
    bell: Arc<Bell>,
}

/// Where those ring who want to be polled.
#[derive(Default)]
struct Door(Mutex<Rung>);

#[derive(Default)]
struct Rung {
    /// Each bell stands in it once, and there are as many as handlers.
    members: Vec<usize>,
    process: Option<Waker>,
}

/// One handler's waker.
struct Bell {
    member: usize,
    rung: AtomicBool,
    door: Arc<Door>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut rung = self.door.0.lock();
        rung.members.push(self.member);
        let process = rung.process.clone();
        drop(rung);
        if let Some(process) = process {
            process.wake();
        }
    }
}

impl Door {
    /// The process comes to look: who has rung. From now on that waker is woken.
    fn look(&self, waker: &Waker) -> Vec<usize> {
        let mut fresh = None;
        loop {
            let mut rung = self.0.lock();
            if remember(&mut rung.process, waker, &mut fresh) {
                let members = std::mem::take(&mut rung.members);
                drop(rung);
                return members;
            }
            drop(rung);
            fresh = Some(waker.clone());
        }
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> Crew<M, R> {
    pub(crate) fn new() -> Self {
        Self { members: Slab::new(), door: Arc::default(), polling: None }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// One more, polled when the process comes to it next.
    pub(crate) fn join(&mut self, handler: Handler<R>, open: Open<M, R>) {
        let entry = self.members.vacant_entry();
        let bell = Arc::new(Bell { member: entry.key(), rung: AtomicBool::new(false), door: Arc::clone(&self.door) });
        bell.wake_by_ref();
        entry.insert(Member { handler: Some(handler), open, bell });
    }

    pub(crate) fn opens(&self) -> impl Iterator<Item = &Open<M, R>> {
        self.members.iter().map(|(_, member)| &member.open)
    }

    /// Polls each that was woken, once: who wakes itself comes again with the process's next turn. Answers for those that have
    /// finished.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) {
        for number in self.door.look(cx.waker()) {
            // A bell of one that has left may have rung for this number.
            let Some(member) = self.members.get_mut(number) else { continue };
            member.bell.rung.store(false, Ordering::Release);
            let waker = Waker::from(Arc::clone(&member.bell));
            self.polling = Some(number);
            if let Poll::Ready(result) = member.poll(&mut Context::from_waker(&waker)) {
                let Member { handler, open, bell } = self.members.remove(number);
                // It rings no more.
                bell.rung.store(true, Ordering::Release);
                drop(handler);
                match result {
                    Some(result) => open.answer_beside(result),
                    None => open.stopped(),
                }
            }
            self.polling = None;
        }
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> Member<M, R> {
    /// What its handler returns; `None` if it was stopped, since nobody wants that.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<R, Failure>>> {
        if let Some(handler) = &mut self.handler
            && let Poll::Ready(result) = self.open.within(|| handler.as_mut().poll(cx))
        {
            return Poll::Ready(Some(result));
        }
        if self.open.stops() && self.open.record.poll_cancelled(cx).is_ready() {
            // Its closures on other threads are waited for: they were told by this.
            self.open.within(|| self.handler = None);
            return self.open.record.poll_unblocked(cx).map(|()| None);
        }
        Poll::Pending
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> Drop for Crew<M, R> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let others = self.members.iter().filter(|(number, _)| Some(*number) != self.polling);
            others.for_each(|(_, member)| member.open.unblamed());
        }
    }
}
