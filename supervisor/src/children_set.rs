//! Driver: very many short-lived children under one node of the tree, with no process in the way of their starts and ends.
mod holder;

use crate::child::{ChildBuilder, ChildSpec};
use crate::limits::SHUTDOWN;
use crate::roster::Roster;
use crate::shards::{Seat, Shards};
use crate::snapshot::WedgedProcess;
use crate::spec::{ChildKind, Shutdown};
use colloquium_runtime::{
    Address, Context, Dormant, Exit, ExitReason, Handle, IntoExitReason, Pid, ProcessBuilder, SpawnError,
};
use holder::Held;
use parking_lot::{Mutex, RwLock};
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak};
use std::task::Poll;
use thiserror::Error;

/// Children that come and go at a high rate: temporary, never restarted, without order, and told apart by their pids only.
///
/// It is one child of a supervisor ([`ChildSpec::set`]), whose process does nothing but hold the set open and, in the end,
/// stop all that is in it: all at once, one clock for all, who is left is killed, and who is left then is reported as
/// wedged. Members are started by whoever calls [`ChildrenSet::spawn`], right there, and leave the set by themselves when
/// they end. If the holder is killed, so are they. While it is not there, being restarted or not yet started, the set is
/// closed.
///
/// # Examples
///
/// ```
/// use colloquium_runtime::{Context, Runtime};
/// use colloquium_supervisor::{ChildSpec, ChildrenSet, Supervisor};
/// use std::time::Duration;
///
/// async fn serve(runtime: &Runtime) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
///     let requests = ChildrenSet::new();
///     let supervisor = Supervisor::new().child(ChildSpec::set("requests", &requests)).start(runtime).await?;
///     for n in 0..100u32 {
///         requests.spawn(move |_: Context<()>| async move { assert!(n < 100) })?;
///     }
///     supervisor.stop(Duration::from_secs(5)).await;
///     assert_eq!((requests.len(), requests.totals().started), (0, 100));
///     Ok(())
/// }
/// let runtime = Runtime::new()?;
/// runtime.block_on(serve(&runtime))?;
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[derive(Clone)]
pub struct ChildrenSet {
    shared: Arc<Shared>,
}

struct Shared {
    shards: Shards,
    /// Who keeps members of its own.
    roster: OnceLock<Weak<dyn Roster>>,
    shutdown: Shutdown,
    holder: RwLock<Option<Holder>>,
    wedged: Mutex<Vec<WedgedProcess>>,
}

#[derive(Clone)]
struct Holder {
    address: Address<SetMessage>,
    runtime: Handle,
}

/// What the holder of a set receives; only this crate makes any.
pub struct SetMessage(Told);

enum Told {
    Exit(Exit),
    /// The last member may have left.
    Empty,
}

/// Options of a [`ChildrenSet`], ended by [`ChildrenSetBuilder::build`].
#[derive(Debug)]
#[must_use = "options do nothing until the set is built"]
pub struct ChildrenSetBuilder {
    most: usize,
    shutdown: Shutdown,
}

/// Why a member was not started; its body has not been called, unless by a spawn that failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The set's holder is not up: not yet, not again, or not any more.
    #[error("the set is closed")]
    Closed,
    /// There are as many members as there may be. Happens in ordinary life under overload.
    #[error("the limit of {0} members is reached")]
    Full(usize),
    /// There was no process to be had.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

/// What a set has seen so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetTotals {
    /// Members started.
    pub started: u64,
    /// Of these, those that have ended abnormally: by an error, a panic or a kill, or told to end by a signal.
    pub abnormal: u64,
}

impl Default for ChildrenSet {
    fn default() -> Self {
        Self::new()
    }
}

impl ChildrenSet {
    /// A set without a limit of its own (the runtime's on processes holds), whose members have five seconds to stop.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Options for a set.
    pub fn builder() -> ChildrenSetBuilder {
        ChildrenSetBuilder { most: usize::MAX, shutdown: Shutdown::After(SHUTDOWN) }
    }

    /// Starts a member. Its parent is the set's holder.
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    pub fn spawn<M, F, Fut>(&self, body: F) -> Result<Address<M>, JoinError>
    where
        M: Send + 'static,
        F: FnOnce(Context<M>) -> Fut,
        Fut: Future<Output: IntoExitReason> + Send + 'static,
    {
        self.spawn_with(|build| build, body)
    }

    /// As [`ChildrenSet::spawn`], with options for the process.
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    pub fn spawn_with<M, F, Fut>(
        &self,
        options: impl FnOnce(ProcessBuilder<'static>) -> ProcessBuilder<'static>,
        body: F,
    ) -> Result<Address<M>, JoinError>
    where
        M: Send + 'static,
        F: FnOnce(Context<M>) -> Fut,
        Fut: Future<Output: IntoExitReason> + Send + 'static,
    {
        let (build, place) = self.begin()?;
        let (build, mut place) = (options(build), Some(place));
        let mut refused = false;
        let spawned = build.spawn(|ctx: Context<M>| {
            let pid = ctx.pid();
            let Some(seat) = self.shared.shards.enter(pid) else {
                refused = true;
                return Member { body: None, membership: None };
            };
            std::mem::forget(place.take());
            // Before the body is made: should that panic, the membership ends with it.
            let membership = self.member(pid, Standing::Seat(seat));
            Member { body: Some(body(ctx)), membership: Some(membership) }
        });
        if refused { Err(JoinError::Closed) } else { Ok(spawned?) }
    }

    /// Starts a member that has no body yet, see [`Handle::spawn_dormant`]. What comes with its pid is to be given back when it ends:
    /// to [`ChildrenSet::leave`], or, once it has a body, as its [`ChildrenSet::membership`].
    ///
    /// # Errors
    ///
    /// [`JoinError`]; [`SpawnError::Ending`] if the set is held open in another runtime.
    pub fn spawn_dormant<D: Dormant>(&self, dormant: &Arc<D>) -> Result<(Pid, DormantSeat), JoinError> {
        let place = self.place()?;
        let made = self.shared.shards.enter_made(|holder| dormant.runtime().spawn_dormant(dormant, Some(holder)));
        let (pid, seat) = made.ok_or(JoinError::Closed)??;
        std::mem::forget(place);
        Ok((pid, DormantSeat(Standing::Seat(seat))))
    }

    /// Has somebody keep dormant members of its own, who is asked for them from now on, as long as there is one. Not for a set with a
    /// limit: these members are not counted towards it.
    ///
    /// # Panics
    ///
    /// If the set has a roster.
    pub fn set_roster(&self, roster: Weak<dyn Roster>) {
        assert!(self.shared.roster.set(roster).is_ok(), "a set has one roster");
    }

    /// What stands for a member that the roster keeps, to be given back like others' ([`ChildrenSet::spawn_dormant`]) once it is
    /// not dormant in its berth any more.
    pub fn rostered(&self) -> DormantSeat {
        DormantSeat(Standing::Rostered)
    }

    /// The last of the roster's members may have left.
    pub fn roster_emptied(&self) {
        self.shared.tell_empty();
    }

    /// A dormant member has ended, in an orderly way.
    #[expect(clippy::needless_pass_by_value, reason = "it is given back, once")]
    pub fn leave(&self, pid: Pid, seat: DormantSeat) {
        self.shared.leave(pid, seat.0, false);
    }

    /// What stands for a member's being one, now that it has a body; it is to be dropped with that.
    #[expect(clippy::needless_pass_by_value, reason = "it is given back, once")]
    pub fn membership(&self, pid: Pid, seat: DormantSeat) -> Membership {
        self.member(pid, seat.0)
    }

    fn place(&self) -> Result<Place<'_>, JoinError> {
        if !self.shared.shards.take_place() {
            return Err(JoinError::Full(self.shared.shards.most()));
        }
        Ok(Place(&self.shared))
    }

    /// A place for a member, and the options that it has in any case.
    fn begin(&self) -> Result<(ProcessBuilder<'static>, Place<'_>), JoinError> {
        let build = match &*self.shared.holder.read() {
            Some(holder) => holder.runtime.build().parent(holder.address.pid()),
            None => return Err(JoinError::Closed),
        };
        Ok((build, self.place()?))
    }

    fn member(&self, pid: Pid, seat: Standing) -> Membership {
        Membership { set: Arc::clone(&self.shared), pid, seat, orderly: false }
    }

    /// Whether this is the same set.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// How many members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.len()
    }

    /// The process that holds it open; `None` while it is closed.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        self.shared.holder.read().as_ref().map(|holder| holder.address.pid())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether members can be started.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.shared.holder.read().is_some()
    }

    /// The members, in no order.
    #[must_use]
    pub fn members(&self) -> Vec<Pid> {
        self.shared.pids()
    }

    /// What the set has seen so far.
    #[must_use]
    pub fn totals(&self) -> SetTotals {
        let (started, abnormal) = self.shared.shards.totals();
        let kept = self.shared.roster().map(|roster| roster.totals()).unwrap_or_default();
        SetTotals { started: started + kept.0, abnormal: abnormal + kept.1 }
    }

    /// Members that were killed when the set was stopped, and were still there: their polls do not return.
    #[must_use]
    pub fn wedged(&self) -> Vec<WedgedProcess> {
        self.shared.wedged.lock().clone()
    }
}

impl ChildrenSetBuilder {
    /// The most members there may be.
    pub fn max_children(mut self, most: usize) -> Self {
        self.most = most;
        self
    }

    /// How the members are stopped.
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// Makes the set, closed as long as no supervisor holds it.
    #[must_use]
    pub fn build(self) -> ChildrenSet {
        let shared = Shared {
            shards: Shards::new(self.most),
            roster: OnceLock::new(),
            shutdown: self.shutdown,
            holder: RwLock::new(None),
            wedged: Mutex::new(Vec::new()),
        };
        ChildrenSet { shared: Arc::new(shared) }
    }
}

/// A place among the members that nobody has taken yet.
struct Place<'a>(&'a Shared);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.shards.give_place();
    }
}

/// That a process belongs to a [`ChildrenSet`]: it leaves when this is dropped, with the member's state, before anybody is told of its
/// end. Dropped as it is, it counts as an abnormal end.
#[must_use = "dropped, the member has left its set"]
pub struct Membership {
    set: Arc<Shared>,
    pid: Pid,
    seat: Standing,
    orderly: bool,
}

impl Membership {
    /// Leaves the set, by an orderly end.
    pub fn leave(mut self) {
        self.orderly = true;
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Membership({})", self.pid)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.set.leave(self.pid, self.seat, !self.orderly);
    }
}

/// Who keeps a member.
#[derive(Clone, Copy, Debug)]
enum Standing {
    Seat(Seat),
    Rostered,
}

impl Shared {
    fn roster(&self) -> Option<Arc<dyn Roster>> {
        self.roster.get()?.upgrade()
    }

    /// Lets members in, below that holder, or none any more.
    fn open(&self, holder: Option<Pid>) {
        match holder {
            Some(holder) => self.shards.open(holder),
            None => self.shards.close(),
        }
        if let Some(roster) = self.roster() {
            roster.open(holder);
        }
    }

    fn pids(&self) -> Vec<Pid> {
        let mut pids = self.shards.pids();
        pids.extend(self.roster().into_iter().flat_map(|roster| roster.pids()));
        pids
    }

    fn len(&self) -> usize {
        self.shards.len() + self.roster().map_or(0, |roster| roster.len())
    }

    fn leave(&self, pid: Pid, seat: Standing, abnormal: bool) {
        let emptied = match seat {
            Standing::Seat(seat) => self.shards.leave(seat, abnormal),
            Standing::Rostered => self.roster().is_some_and(|roster| roster.leave(pid, abnormal)),
        };
        if emptied {
            self.tell_empty();
        }
    }

    fn tell_empty(&self) {
        let holder = self.holder.read().clone();
        if let Some(holder) = holder {
            // A holder that is dead waits for nobody.
            drop(holder.address.send(SetMessage(Told::Empty)));
        }
    }
}

/// The place of a dormant member in its [`ChildrenSet`] ([`ChildrenSet::spawn_dormant`]). It does nothing when it is dropped: the
/// set then counts a member that is not there.
#[derive(Debug)]
#[must_use = "the set has the member until this is given back"]
pub struct DormantSeat(Standing);

pin_project! {
    /// A body with its membership. (An async block would hold the body twice.)
    struct Member<F> {
        #[pin]
        body: Option<F>,
        membership: Option<Membership>,
    }
}

impl<F: Future<Output: IntoExitReason>> Future for Member<F> {
    type Output = ExitReason;

    fn poll(self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<ExitReason> {
        let this = self.project();
        // One that was refused: the set was closed in between.
        let Some(body) = this.body.as_pin_mut() else { return Poll::Ready(ExitReason::Shutdown) };
        let reason = std::task::ready!(body.poll(cx)).into_exit_reason();
        if let Some(membership) = this.membership {
            membership.orderly = reason.is_orderly();
        }
        Poll::Ready(reason)
    }
}

impl ChildSpec<SetMessage> {
    /// A [`ChildrenSet`] as a child, of one supervisor at a time. It is stopped as the set says, and so is given as long as
    /// that takes.
    pub fn set(id: impl Into<Arc<str>>, set: &ChildrenSet) -> ChildBuilder<SetMessage> {
        ChildBuilder::new(id.into(), ChildKind::Supervisor, Held::new(set))
    }
}

impl fmt::Debug for ChildrenSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildrenSet").field("members", &self.len()).field("open", &self.is_open()).finish()
    }
}

impl fmt::Debug for SetMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SetMessage")
    }
}
