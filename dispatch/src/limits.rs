//! Pure: every bound and default of dispatch, in one place, with its reason.
use std::time::Duration;

/// From the call of `dispatch` to its outcome, waiting and all attempts included, unless told otherwise.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// Deliveries of one message that may be started: more tries of what has failed five times only hold a place.
pub(crate) const ATTEMPTS: u32 = 5;
/// Crashes that are blamed on one message before it counts as poisoned.
pub(crate) const POISON: u32 = 3;
/// Deliveries of one message that may be lost through no fault of its own.
pub(crate) const FREE_REROUTES: u32 = 64;
/// The longest delay before the second retry; it doubles from there.
pub(crate) const RETRY_FIRST: Duration = Duration::from_millis(50);
/// What no retry delay exceeds.
pub(crate) const RETRY_CAP: Duration = Duration::from_secs(5);
/// How long a handler has for finishing after its dispatch has ended; then its consumer is killed.
pub(crate) const CANCEL_GRACE: Duration = Duration::from_secs(5);
/// How long a killed consumer has for going; then it counts as wedged, and its place is filled anew.
pub(crate) const KILL_PATIENCE: Duration = Duration::from_secs(1);
/// Deliveries that a consumer holds, queued and started, unless told otherwise.
pub(crate) const ROOM: u32 = 1;
/// Conversations of a group whose places in the process table are kept from the start, at most: a hundred bytes each.
pub(crate) const BERTHS: usize = 64;
/// Messages that wait for room.
pub(crate) const WAITING_ROOM: usize = 1024;
/// How long a message waits for room.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(5);
/// Of the messages that wait, those of one key.
pub(crate) const WAITING_PER_KEY: usize = 64;
/// How long the oldest must have waited too long before newcomers are refused: a burst passes.
pub(crate) const PRESSURE: Duration = Duration::from_millis(100);
/// Finished deliveries that the breaker looks back on.
pub(crate) const BREAKER_WINDOW: usize = 20;
/// Different messages that must have crashed consumers for the breaker to open: one alone is poison and not an outage.
pub(crate) const BREAKER_MESSAGES: usize = 3;
/// Failures in a row that eject a consumer.
pub(crate) const EJECT_AFTER: u32 = 5;
/// The longest first ejection; it doubles from there.
pub(crate) const EJECT_FIRST: Duration = Duration::from_secs(1);
/// What no ejection exceeds.
pub(crate) const EJECT_CAP: Duration = Duration::from_secs(30);
/// The longest pause before the second charged restart of a consumer in a row; it doubles from there.
pub(crate) const REVIVE_FIRST: Duration = Duration::from_millis(100);
/// What no pause before a restart exceeds.
pub(crate) const REVIVE_CAP: Duration = Duration::from_secs(30);
/// Charged failures in a row after which a consumer is given up.
pub(crate) const GIVE_UP_AFTER: u32 = 10;
/// A crash that soon after a start that completed nothing is charged to the consumer.
pub(crate) const YOUNG: Duration = Duration::from_secs(1);
/// Dead letters kept.
pub(crate) const DEAD_LETTERS: usize = 1000;
/// And their size.
pub(crate) const DEAD_LETTER_BYTES: usize = 64 << 20;
/// Ends of processes that it is remembered of which message is to blame: as many as a dump lists, for some groups.
pub(crate) const BLAMES: usize = 64;
/// The keeper looks at deadlines no oftener than this: what falls due together is seen to together.
pub(crate) const TICK: Duration = Duration::from_millis(1);
/// Links to conversations that are over which a consumer removes at one go, unless it waits before.
pub(crate) const UNLINKED: usize = 32;
/// How deep a predicate may be nested: compiling it takes as many frames of the stack.
pub(crate) const PREDICATE_DEPTH: usize = 64;
/// Parts of a predicate: a routing function looks at them on every dispatch.
pub(crate) const PREDICATE_NODES: usize = 4096;

const _: () = assert!(POISON <= ATTEMPTS && WAITING_PER_KEY <= WAITING_ROOM && BREAKER_MESSAGES <= BREAKER_WINDOW / 2);
const _: () = assert!(PRESSURE.as_nanos() < MAX_WAIT.as_nanos() / 2 && MAX_WAIT.as_nanos() < DEADLINE.as_nanos());
