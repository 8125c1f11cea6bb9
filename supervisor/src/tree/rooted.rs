//! Driver: the root that every runtime can have, found by its name and started when something first needs it.
use crate::handle::SupervisorRef;
use crate::message::SupervisorMessage;
use crate::supervisor::{StartError, Supervisor};
use crate::tree::{Root, RootError, Tree};
use colloquium_runtime::{Handle, SpawnError};

/// The name under which a runtime's root is registered.
pub(crate) const ROOT: &str = "root";

/// A runtime's root supervisor: the one that was started by [`Root`], or else one that is started when something is first started
/// under it, as by [`Root::new`] with a supervisor without children, one for one. A cheap handle; it keeps nothing alive.
///
/// When the root ends by itself (it gives up on what it supervises), the runtime is shut down, and a dump is printed to standard
/// error, unless [`Root::dumps_to`] says otherwise. In a simulation it is a supervisor like any other.
#[derive(Clone, Debug)]
pub struct RootSupervisor(Handle);

/// Gives each runtime its root.
///
/// # Examples
///
/// ```
/// use colloquium_runtime::{Context, Runtime};
/// use colloquium_supervisor::{ChildSpec, Rooted, tree::Look};
///
/// let runtime = Runtime::new()?;
/// runtime.block_on(async {
///     let idle = ChildSpec::worker("idle", async |mut ctx: Context<()>| ctx.recv().await).build()?;
///     runtime.root().supervisor().await?.start_child(idle).await?;
///     let dump = runtime.root().tree().await?.look(&Look::new());
///     assert_eq!((&*dump.trees[0].id, &*dump.trees[0].children[0].id), ("root", "idle"));
///     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub trait Rooted {
    /// The root supervisor of this runtime, registered as `root`.
    fn root(&self) -> RootSupervisor;
}

impl Rooted for Handle {
    fn root(&self) -> RootSupervisor {
        RootSupervisor(self.clone())
    }
}

impl RootSupervisor {
    /// The runtime.
    #[must_use]
    pub fn runtime(&self) -> &Handle {
        &self.0
    }

    /// The supervisor itself.
    ///
    /// # Errors
    ///
    /// [`RootError`] if it was not there and did not start.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future undoes a start that was not complete.
    pub async fn supervisor(&self) -> Result<SupervisorRef, RootError> {
        loop {
            if let Ok(address) = self.0.whereis::<SupervisorMessage>(ROOT)
                && let Ok(supervisor) = SupervisorRef::of(&address).await
            {
                return Ok(supervisor);
            }
            let supervisor = Supervisor::new().name(ROOT).label(ROOT);
            let started = if self.0.is_simulated() {
                supervisor.start(&self.0).await.map_err(RootError::from)
            } else {
                Root::new(supervisor).start(&self.0).await.map(|root| root.supervisor().clone())
            };
            match started {
                // Somebody else was first.
                Err(RootError::Start(StartError::Spawn(SpawnError::Name(_))))
                    if self.0.whereis::<SupervisorMessage>(ROOT).is_ok() => {}
                other => return other,
            }
        }
    }

    /// Its dumps, started if it was not there: the same as [`RunningRoot::tree`](crate::tree::RunningRoot::tree). Take it when the
    /// program starts: then it needs no process to answer when all are stuck.
    ///
    /// # Errors
    ///
    /// As [`RootSupervisor::supervisor`].
    pub async fn tree(&self) -> Result<Tree, RootError> {
        let supervisor = self.supervisor().await?;
        let make = || {
            let tree = Tree::new(&self.0);
            tree.add_root(ROOT, supervisor.observe());
            tree
        };
        Ok(supervisor.board().dumps_or(make))
    }
}
