//! Driver: the process that watches over a group's deadlines, and over what takes asking its supervisors.
use crate::group::Group;
use crate::limits::TICK;
use crate::outcome::DispatchErrorKind;
use crate::view::ConsumerId;
use colloquium_runtime::{Context, ExitReason};
use colloquium_supervisor::SupervisorRef;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What a group's keeper receives; only this crate makes any.
pub struct KeeperMessage(Told);

enum Told {
    Look,
    Wedged(ConsumerId),
    /// Every consumer has been given up.
    Over,
}

impl KeeperMessage {
    pub(crate) const LOOK: Self = Self(Told::Look);
    pub(crate) const OVER: Self = Self(Told::Over);

    pub(crate) fn wedged(consumer: ConsumerId) -> Self {
        Self(Told::Wedged(consumer))
    }
}

/// Sleeps until something is due. It ends, and the group with it, when no consumer is left.
pub(crate) async fn keep<M: Send + Sync + 'static, R: Send + 'static>(
    mut ctx: Context<KeeperMessage>,
    group: Arc<Group<M, R>>,
) -> ExitReason {
    let runtime = ctx.runtime();
    loop {
        let now = runtime.now();
        let (late, waited, grants, next) = group.yard().due(now);
        group.grant(grants);
        late.iter().for_each(|record| record.decide(DispatchErrorKind::DeadlineExceeded));
        waited.iter().for_each(|record| record.decide_parked(DispatchErrorKind::Overloaded));
        drop((late, waited));
        // Waking up for each of many that fall due one after the other would take the time of all.
        let told = match next {
            Duration::MAX => Ok(ctx.recv().await),
            next => ctx.recv_timeout(next.saturating_sub(now).max(TICK)).await,
        };
        match told {
            Ok(KeeperMessage(Told::Look)) | Err(_) => {}
            Ok(KeeperMessage(Told::Wedged(consumer))) => {
                let group = Arc::clone(&group);
                // It takes as long as the supervisor waits for the wedged one. If there is no process for it, it stays so.
                drop(ctx.spawn(move |_: Context<()>| async move { refill(&group, consumer).await }));
            }
            Ok(KeeperMessage(Told::Over)) => {
                return ExitReason::shutdown_with(format!("every consumer of {} has been given up", group.name));
            }
        }
    }
}

/// Gives the place of a wedged process to a new one.
async fn refill<M: Send + Sync + 'static, R: Send + 'static>(group: &Group<M, R>, consumer: ConsumerId) {
    let Ok(address) = group.consumers.address() else { return };
    let Ok(supervisor) = SupervisorRef::of(&address).await else { return };
    let id = consumer.to_string();
    // The supervisor kills it once more, waits for a while, and reports it as wedged.
    if let Err(error) = supervisor.terminate_child(&id).await {
        tracing::warn!(group = %group.name, %consumer, %error, "a wedged consumer was not replaced");
        return;
    }
    if let Err(error) = supervisor.restart_child(&id).await {
        tracing::warn!(group = %group.name, %consumer, %error, "a wedged consumer was not replaced");
    }
}

impl fmt::Debug for KeeperMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeeperMessage")
    }
}
