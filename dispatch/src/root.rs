//! Driver: where a group can be started: on its own, under a supervisor, or under the runtime's root.
use crate::builder::StartGroupError;
use colloquium_runtime::{Handle, Pid, Runtime};
use colloquium_supervisor::tree::{Attached, RunningRoot, Section};
use colloquium_supervisor::{
    ChildRef, ChildSpec, DeleteChildError, Observer, RootSupervisor, Supervisor, SupervisorMessage, SupervisorRef,
    Unavailable, WedgedProcess,
};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// How often one who waits for a node to be started anew looks whether the group is there still.
const LOOK: Duration = Duration::from_secs(1);

type Making = Box<dyn FnMut() -> Supervisor + Send>;
type Started<'a> = Pin<Box<dyn Future<Output = Result<Stem, StartGroupError>> + Send + 'a>>;

/// How a group hangs in the tree.
#[derive(Clone)]
pub(crate) enum Stem {
    Alone(SupervisorRef),
    /// Its parent may start it anew: then another than the first is in its place.
    Under {
        parent: SupervisorRef,
        id: Arc<str>,
        place: ChildRef<SupervisorMessage>,
        first: SupervisorRef,
    },
}

impl Stem {
    /// Its node, which may be about to be started anew.
    pub(crate) fn pid(&self) -> Pid {
        match self {
            Self::Alone(tree) => tree.pid(),
            Self::Under { place, first, .. } => place.address().map_or(first.pid(), |address| address.pid()),
        }
    }

    /// Has dumps show the group wherever they show its parent, or itself if it has none.
    pub(crate) fn attach(&self, section: impl Section) -> Attached {
        match self {
            Self::Alone(tree) => tree.add_section(section),
            Self::Under { parent, .. } => parent.add_section(section),
        }
    }

    pub(crate) fn observe(&self) -> Observer {
        let (parent, own, first) = match self {
            Self::Alone(tree) => return tree.observe(),
            Self::Under { parent, id, first, .. } => (parent, id, first),
        };
        let child = parent.observe().children().find(|child| child.id == *own);
        child.and_then(|child| child.subtree).unwrap_or_else(|| first.observe())
    }

    /// Who answers for its node now.
    async fn tree(&self) -> SupervisorRef {
        match self {
            Self::Alone(tree) => tree.clone(),
            Self::Under { place, first, .. } => match place.address() {
                Ok(address) if address.pid() != first.pid() => {
                    SupervisorRef::of(&address).await.unwrap_or_else(|_| first.clone())
                }
                _ => first.clone(),
            },
        }
    }

    /// Waits until its node has ended, and nobody will start another or the group is `closed` until then.
    pub(crate) async fn ended(&self, runtime: &Handle, closed: impl Fn() -> bool) {
        let place = match self {
            Self::Alone(tree) => {
                tree.address().ended().await;
                return;
            }
            Self::Under { place, .. } => place,
        };
        loop {
            if !place.address().is_ok_and(|address| address.is_alive()) && closed() {
                return;
            }
            match place.up(runtime, LOOK).await {
                Ok(address) => drop(address.ended().await),
                Err(Unavailable::Gone) => return,
                Err(_) => {}
            }
        }
    }

    /// Stops it; who could not be stopped.
    pub(crate) async fn stop(&self, deadline: Duration) -> Vec<WedgedProcess> {
        let report = self.tree().await.stop(deadline).await;
        if let Self::Under { parent, id, .. } = self {
            // Its parent may be about to start it again, or have ended itself.
            while parent.terminate_child(id).await.is_ok() {
                match parent.delete_child(id).await {
                    Err(DeleteChildError::Running | DeleteChildError::Restarting) => {}
                    _ => break,
                }
            }
        }
        report.wedged
    }
}

/// Whatever a group can be started under: a runtime's root ([`RootSupervisor`], [`RunningRoot`]), any supervisor, or a runtime
/// itself and then nobody.
pub trait Parent: sealed::Sealed + Sync {
    #[doc(hidden)]
    fn start_tree(&self, grip: Grip) -> Begun<'_>;
    #[doc(hidden)]
    fn grip(&self) -> Handle;
}

/// A tree to be started; opaque to users.
#[doc(hidden)]
pub struct Grip(pub(crate) Arc<str>, pub(crate) Making);

/// A tree that is being started; opaque to users.
#[doc(hidden)]
pub struct Begun<'a>(pub(crate) Started<'a>);

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::RootSupervisor {}
    impl Sealed for super::RunningRoot {}
    impl Sealed for super::SupervisorRef {}
    impl Sealed for super::Handle {}
    impl Sealed for super::Runtime {}
}

async fn alone(runtime: &Handle, mut grip: Grip) -> Result<Stem, StartGroupError> {
    Ok(Stem::Alone((grip.1)().start(runtime).await?))
}

async fn under(parent: SupervisorRef, grip: Grip) -> Result<Stem, StartGroupError> {
    let Grip(id, make) = grip;
    let spec = ChildSpec::supervisor(Arc::clone(&id), make).build()?;
    let place = parent.start_child(spec).await?;
    let address = place.address().map_err(|_| StartGroupError::Gone)?;
    let first = SupervisorRef::of(&address).await.map_err(|_| StartGroupError::Gone)?;
    Ok(Stem::Under { parent, id, place, first })
}

impl Parent for Handle {
    fn start_tree(&self, grip: Grip) -> Begun<'_> {
        Begun(Box::pin(alone(self, grip)))
    }

    fn grip(&self) -> Handle {
        self.clone()
    }
}

impl Parent for Runtime {
    fn start_tree(&self, grip: Grip) -> Begun<'_> {
        Begun(Box::pin(alone(self, grip)))
    }

    fn grip(&self) -> Handle {
        self.handle()
    }
}

impl Parent for RootSupervisor {
    fn start_tree(&self, grip: Grip) -> Begun<'_> {
        Begun(Box::pin(async move { under(self.supervisor().await?, grip).await }))
    }

    fn grip(&self) -> Handle {
        self.runtime().clone()
    }
}

impl Parent for RunningRoot {
    fn start_tree(&self, grip: Grip) -> Begun<'_> {
        self.supervisor().start_tree(grip)
    }

    fn grip(&self) -> Handle {
        self.supervisor().grip()
    }
}

impl Parent for SupervisorRef {
    fn start_tree(&self, grip: Grip) -> Begun<'_> {
        Begun(Box::pin(under(self.clone(), grip)))
    }

    fn grip(&self) -> Handle {
        self.runtime().clone()
    }
}
