//! Driver: what the tests of supervisors share: children that do as they are told, and a log of their lives.
#![allow(dead_code, reason = "each test file is a program of its own and uses a part of this")]
use colloquium::{
    Address, ChildBuilder, ChildRef, ChildSnapshot, ChildSpec, ChildState, Context, Exit, ExitReason, Handle, Mailbox,
    Supervisor, SupervisorRef,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What has not come by then will not come.
pub(crate) const LONG: Duration = Duration::from_secs(50);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// What children have done, in their order: "+a" when the process of `a` begins, "-a" when its state is dropped.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn note(&self, what: impl Into<String>) {
        self.0.lock().expect("nobody panics with it").push(what.into());
    }

    pub(crate) fn take(&self) -> String {
        std::mem::take(&mut *self.0.lock().expect("nobody panics with it")).join(" ")
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().expect("nobody panics with it").len()
    }
}

pub(crate) struct Life(Log, &'static str);

impl Life {
    pub(crate) fn begin(log: &Log, id: &'static str) -> Self {
        log.note(format!("+{id}"));
        Self(log.clone(), id)
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.0.note(format!("-{}", self.1));
    }
}

/// A child that ends with the reason that it is sent.
pub(crate) fn mortal(id: &'static str, log: &Log) -> ChildBuilder<ExitReason> {
    let log = log.clone();
    ChildSpec::worker(id, move |mut ctx: Context<ExitReason>| {
        let life = Life::begin(&log, id);
        async move {
            let _life = life;
            ctx.recv().await
        }
    })
}

/// A child that traps exits and ends of none; a kill ends it, and so does a reason that it is sent.
pub(crate) fn deaf(id: &'static str, log: &Log) -> ChildBuilder<Option<ExitReason>> {
    let log = log.clone();
    ChildSpec::worker(id, move |mut ctx: Context<Option<ExitReason>>| {
        let life = Life::begin(&log, id);
        ctx.trap_exits(|_: Exit| None);
        async move {
            let _life = life;
            loop {
                if let Some(reason) = ctx.recv().await {
                    return reason;
                }
            }
        }
    })
    .mailbox(Mailbox::unbounded())
}

/// The three of most tests, with their places.
pub(crate) fn three(log: &Log, supervisor: Supervisor) -> (Supervisor, [ChildRef<ExitReason>; 3]) {
    let specs = ["a", "b", "c"].map(|id| mortal(id, log).build().expect("a good specification"));
    let places = [0, 1, 2].map(|at: usize| specs[at].reference());
    (specs.into_iter().fold(supervisor, Supervisor::child), places)
}

pub(crate) fn bad() -> ExitReason {
    ExitReason::error("bad")
}

/// Makes a child end by itself.
pub(crate) async fn fall(child: &ChildRef<ExitReason>, reason: ExitReason) -> Address<ExitReason> {
    let process = child.address().expect("it is up");
    process.send(reason.clone()).expect("it lives");
    assert_eq!(process.ended().await, reason);
    process
}

/// The process that has taken the place of a dead one.
pub(crate) async fn successor<M: Send + 'static>(
    runtime: &Handle,
    child: &ChildRef<M>,
    old: &Address<M>,
) -> Address<M> {
    let new = child.up(runtime, LONG).await.expect("a successor");
    assert_ne!(new, *old);
    new
}

/// How it stands with the children: each id with its state.
pub(crate) fn picture(supervisor: &SupervisorRef) -> String {
    let children = supervisor.observe().children().map(|child| format!("{} {}", child.id, child.state));
    children.collect::<Vec<_>>().join(", ")
}

pub(crate) fn seen(supervisor: &SupervisorRef, id: &str) -> Option<ChildSnapshot> {
    supervisor.observe().children().find(|child| *child.id == *id)
}

pub(crate) fn state(supervisor: &SupervisorRef, id: &str) -> Option<ChildState> {
    seen(supervisor, id).map(|child| child.state)
}

/// How many children a test of very many has: the number of the requirements on two workers, a few thousand on others, since
/// a debug build is slow; or what `COLLOQUIUM_CHILDREN` says.
pub(crate) fn very_many(runtime: &Handle) -> usize {
    let told = std::env::var("COLLOQUIUM_CHILDREN").ok().and_then(|n| n.parse().ok());
    told.unwrap_or(if runtime.runtime_info().workers.len() == 2 { 100_000 } else { 5000 })
}
