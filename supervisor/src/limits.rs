//! Pure: every bound and default of supervision, in one place, with its reason.
use std::time::Duration;

/// Restarts that a supervisor carries out within [`PERIOD`] before it gives up: OTP's 1 lets one bad message end a tree.
pub(crate) const INTENSITY: u32 = 3;
/// The length of that window: OTP's default.
pub(crate) const PERIOD: Duration = Duration::from_secs(5);
/// What a child has to initialise in.
pub(crate) const INIT: Duration = Duration::from_secs(30);
/// What a worker has to stop in before it is killed: OTP's default.
pub(crate) const SHUTDOWN: Duration = Duration::from_secs(5);
/// What a killed child has to be gone in. One that is not has a poll that does not return, and is reported as wedged.
pub(crate) const KILL_PATIENCE: Duration = Duration::from_secs(1);
/// Back-off: the delay after the second unhealthy start in a row; the first is made good at once.
pub(crate) const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// Back-off: the longest delay.
pub(crate) const BACKOFF_CAP: Duration = Duration::from_secs(30);
/// Back-off: how long a child has to be up to count as healthy.
pub(crate) const HEALTHY_AFTER: Duration = Duration::from_secs(60);
/// Back-off: unhealthy starts in a row before the supervisor gives the child up.
pub(crate) const GIVE_UP_AFTER: u32 = 10;
/// Exits that are kept of each child: enough to see a pattern.
pub(crate) const EXITS_KEPT: usize = 10;
/// Reports of one supervisor in one second; more are counted and told with the next.
pub(crate) const REPORTS_PER_SECOND: u32 = 10;
/// How long a request to a supervisor waits for its answer, unless told otherwise: a child's time to initialise, and what it
/// takes to stop one before.
pub(crate) const REQUEST: Duration = Duration::from_secs(60);
/// Children that are looked at in one go, under the lock of their supervisor: some microseconds' worth.
pub(crate) const PAGE: usize = 256;
/// A supervisor that is given very many children asks the allocator for the memory of so many together.
pub(crate) const AHEAD_EVERY: usize = 256;
/// In bytes: so many children before they are started.
pub(crate) const AHEAD: usize = 44 * 1024;

const _: () = assert!(REQUEST.as_nanos() > INIT.as_nanos() + SHUTDOWN.as_nanos() + KILL_PATIENCE.as_nanos());
