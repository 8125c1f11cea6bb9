//! Pure: why a process ended, and the table that says what an exit signal does to its receiver.
use crate::process::ending::{drop_caught, drop_payload};
use std::any::Any;
use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// Why a process ended, or is told to end.
///
/// Cheap to clone: the cause is shared, and travels unchanged through links, monitors and supervisors. A reason is
/// data; it also implements [`Error`], so that a body can hand on the reason of another process with `?` or
/// `Err(down.reason.into())`: the process then ends with that very reason, not with one wrapped around it.
///
/// Two reasons are equal when they are of one kind and their causes are the same object or print the same.
///
/// The words are OTP's: `normal`, `shutdown`, `{shutdown, Term}`, `kill`, `killed`, `noproc`, `noconnection`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ExitReason {
    /// The process did what it was there for.
    Normal,
    /// It was asked to stop and did, as part of an orderly stop.
    Shutdown,
    /// As [`ExitReason::Shutdown`], with something to say about it.
    ShutdownWith(Cause),
    /// As a *signal*, ends its receiver whether that traps exits or not; the receiver then ends with
    /// [`ExitReason::Killed`]. As the reason with which a process ended *itself* it goes along links like any other
    /// reason and can be trapped.
    Kill,
    /// It was killed.
    Killed,
    /// Its body panicked.
    Panicked(Panic),
    /// Its body returned an error, or it was told to end with one.
    Error(Cause),
    /// There was no such process when it was linked or monitored (OTP's `noproc`).
    NoProcess,
    /// The connection to the process's node was lost (OTP's `noconnection`).
    NoConnection,
}

impl ExitReason {
    /// An abnormal reason from an error, a `String` or a `&str`.
    pub fn error(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::from_boxed(cause.into())
    }

    /// An orderly stop that says why.
    pub fn shutdown_with(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::ShutdownWith(Cause::new(cause.into()))
    }

    /// What a panic that was just caught on this thread is as the reason of an end, for those who catch panics of what runs in a
    /// process themselves. The payload is dropped; should that panic, too, nobody learns of it.
    ///
    /// ```
    /// # use colloquium_runtime::{Context, ExitReason, Runtime};
    /// # use std::panic::{AssertUnwindSafe, catch_unwind};
    /// # let runtime = Runtime::new()?;
    /// let process = runtime.spawn(async |mut ctx: Context<()>| {
    ///     let job = || panic!("no such job");
    ///     if let Err(payload) = catch_unwind(AssertUnwindSafe(job)) {
    ///         ctx.exit(ExitReason::from_panic(payload)).await;
    ///     }
    /// })?;
    /// let reason = runtime.block_on(process.ended());
    /// assert!(matches!(reason, ExitReason::Panicked(panic) if panic.message() == "no such job"));
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    #[must_use]
    pub fn from_panic(payload: Box<dyn Any + Send>) -> Self {
        let panic = Panic::read(&*payload, crate::hook::take_location(&*payload));
        drop_payload(payload);
        Self::Panicked(panic)
    }

    /// Whether this is one of the reasons of an orderly end: normal, shutdown, shutdown with a cause. These are not
    /// reported, and a transient child that ends with one is not restarted.
    #[must_use]
    pub fn is_orderly(&self) -> bool {
        matches!(self, Self::Normal | Self::Shutdown | Self::ShutdownWith(_))
    }

    /// A reason that was boxed on its way (by `?` in a body) comes out as itself.
    fn from_boxed(cause: Box<dyn Error + Send + Sync>) -> Self {
        match cause.downcast::<ExitReason>() {
            Ok(reason) => *reason,
            Err(cause) => Self::Error(Cause::new(cause)),
        }
    }
}

impl PartialEq for ExitReason {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::ShutdownWith(a), Self::ShutdownWith(b)) | (Self::Error(a), Self::Error(b)) => a == b,
            (Self::Panicked(a), Self::Panicked(b)) => a == b,
            (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
        }
    }
}

impl Eq for ExitReason {}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("normal"),
            Self::Shutdown => f.write_str("shutdown"),
            Self::ShutdownWith(cause) => write!(f, "shutdown: {cause}"),
            Self::Kill => f.write_str("kill"),
            Self::Killed => f.write_str("killed"),
            Self::Panicked(panic) => write!(f, "panicked {panic}"),
            Self::Error(cause) => write!(f, "{cause}"),
            Self::NoProcess => f.write_str("no such process"),
            Self::NoConnection => f.write_str("no connection"),
        }
    }
}

impl Error for ExitReason {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::ShutdownWith(cause) | Self::Error(cause) => cause.error().source(),
            _ => None,
        }
    }
}

/// The error behind an [`ExitReason`], shared by everyone who is told of it.
#[derive(Clone)]
pub struct Cause(Arc<Caught>);

/// Whoever drops the last copy of a cause may be the runtime at work, which no destructor of a user's may disturb.
struct Caught(Box<dyn Error + Send + Sync>);

impl Drop for Caught {
    fn drop(&mut self) {
        // What takes its place has no size, and so no place.
        drop_caught(std::mem::replace(&mut self.0, Box::new(fmt::Error)));
    }
}

impl Cause {
    fn new(error: Box<dyn Error + Send + Sync>) -> Self {
        Self(Arc::new(Caught(error)))
    }

    /// The error itself.
    #[must_use]
    pub fn error(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0.0
    }

    /// The error as the type it was made of, if it is that.
    #[must_use]
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        self.error().downcast_ref()
    }
}

impl PartialEq for Cause {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.to_string() == other.to_string()
    }
}

impl Eq for Cause {}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.error(), f)
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.error(), f)
    }
}

/// What is known of a panic that ended a process: its message, and where it happened if the runtime's panic hook saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panic(Arc<PanicFacts>);

#[derive(Debug, PartialEq, Eq)]
struct PanicFacts {
    /// Borrowed from the program if that is all it says, as most do.
    message: Cow<'static, str>,
    location: Option<String>,
}

impl Panic {
    /// Reads a panic's payload. The payload is given back, since dropping it may run (and panic in) user code.
    pub(crate) fn read(payload: &(dyn Any + Send), location: Option<String>) -> Self {
        let message = match payload.downcast_ref::<&'static str>() {
            Some(text) => Cow::Borrowed(*text),
            None => Cow::Owned(crate::hook::text_of(payload).to_owned()),
        };
        Self(Arc::new(PanicFacts { message, location }))
    }

    /// What the panic said.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// `file:line:column` of the panic; `None` when the hook is off ([`Builder::panic_hook`](crate::Builder::panic_hook)).
    #[must_use]
    pub fn location(&self) -> Option<&str> {
        self.0.location.as_deref()
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.message())?;
        self.location().map_or(Ok(()), |location| write!(f, " at {location}"))
    }
}

/// What the body of a process may return: everything that says why it ended.
///
/// Implemented for `()` and for bodies that never return ([`ExitReason::Normal`]), for [`ExitReason`] itself, and for
/// `Result<T, E>` of these with any error that `?` accepts ([`ExitReason::Error`], or the reason itself if the error is
/// an [`ExitReason`]). It cannot be implemented outside this crate: bodies with other outcomes return an [`ExitReason`].
pub trait IntoExitReason {
    /// The reason this outcome stands for.
    fn into_exit_reason(self) -> ExitReason;
}

impl IntoExitReason for () {
    fn into_exit_reason(self) -> ExitReason {
        ExitReason::Normal
    }
}

impl IntoExitReason for ExitReason {
    fn into_exit_reason(self) -> ExitReason {
        self
    }
}

impl IntoExitReason for std::convert::Infallible {
    fn into_exit_reason(self) -> ExitReason {
        match self {}
    }
}

impl<T: IntoExitReason, E: Into<Box<dyn Error + Send + Sync>>> IntoExitReason for Result<T, E> {
    fn into_exit_reason(self) -> ExitReason {
        match self {
            Ok(value) => value.into_exit_reason(),
            Err(error) => ExitReason::error(error),
        }
    }
}

/// Names `!`, which cannot be written on stable Rust outside a return type, by what a function pointer returns.
pub trait Returns {
    /// What it returns.
    type Output;
}

impl<R> Returns for fn() -> R {
    type Output = R;
}

impl IntoExitReason for <fn() -> ! as Returns>::Output {
    fn into_exit_reason(self) -> ExitReason {
        self
    }
}

/// An exit signal as it stands before its receiver.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// Sent because of a link rather than by a call of `exit`.
    pub(crate) by_link: bool,
    /// The link it was sent for is still there at the receiver.
    pub(crate) linked: bool,
    /// The receiver sent it itself.
    pub(crate) from_self: bool,
    /// The receiver traps exits, now, when the signal is handled.
    pub(crate) trapping: bool,
}

/// What becomes of an exit signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Effect {
    /// Nothing happens.
    Ignored,
    /// It becomes a message.
    Trapped,
    /// The receiver ends with the signal's reason.
    Fatal,
    /// The receiver ends, killed.
    Killed,
}

/// OTP's table (conformance/otp.md §2), in its order of tests.
pub(crate) fn judge(reason: &ExitReason, arrival: Arrival) -> Effect {
    if arrival.by_link && !arrival.linked {
        return Effect::Ignored;
    }
    if !arrival.by_link && matches!(reason, ExitReason::Kill) {
        return Effect::Killed;
    }
    if arrival.trapping {
        return Effect::Trapped;
    }
    if matches!(reason, ExitReason::Normal) && (arrival.by_link || !arrival.from_self) {
        return Effect::Ignored;
    }
    Effect::Fatal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons() -> Vec<ExitReason> {
        let panic = Panic::read(&"p", None);
        vec![
            ExitReason::Normal,
            ExitReason::Shutdown,
            ExitReason::shutdown_with("s"),
            ExitReason::Kill,
            ExitReason::Killed,
            ExitReason::Panicked(panic),
            ExitReason::error("e"),
            ExitReason::NoProcess,
            ExitReason::NoConnection,
        ]
    }

    /// Written separately from `judge`: row by row of the page, without early returns.
    fn by_the_page(reason: &ExitReason, a: Arrival) -> Effect {
        let (kill, normal) = (*reason == ExitReason::Kill, *reason == ExitReason::Normal);
        match (a.by_link, a.linked, a.trapping, a.from_self) {
            (true, false, _, _) => Effect::Ignored,
            (true, true, true, _) => Effect::Trapped,
            (true, true, false, _) if normal => Effect::Ignored,
            (true, true, false, _) => Effect::Fatal,
            (false, _, _, _) if kill => Effect::Killed,
            (false, _, true, _) => Effect::Trapped,
            (false, _, false, false) if normal => Effect::Ignored,
            (false, _, false, _) => Effect::Fatal,
        }
    }

    #[test]
    fn every_exit_signal_is_judged_as_the_table_says() {
        for reason in reasons() {
            for bits in 0..16 {
                let [by_link, linked, from_self, trapping] = [1, 2, 4, 8].map(|bit| bits & bit != 0);
                let arrival = Arrival { by_link, linked, from_self, trapping };
                assert_eq!(judge(&reason, arrival), by_the_page(&reason, arrival), "{reason:?} {arrival:?}");
            }
        }
    }

    #[test]
    fn link_borne_kill_is_an_ordinary_reason() {
        let arrival = Arrival { by_link: true, linked: true, from_self: false, trapping: false };
        assert_eq!(judge(&ExitReason::Kill, arrival), Effect::Fatal);
        assert_eq!(judge(&ExitReason::Kill, Arrival { trapping: true, ..arrival }), Effect::Trapped);
    }

    #[test]
    fn a_reason_handed_on_as_an_error_stays_itself() {
        let handed_on: Result<(), Box<dyn Error + Send + Sync>> = Err(ExitReason::Killed.into());
        assert_eq!(handed_on.into_exit_reason(), ExitReason::Killed);
        let other: Result<(), &str> = Err("late");
        assert_eq!(other.into_exit_reason(), ExitReason::error("late"));
    }

    #[test]
    fn only_orderly_reasons_are_orderly() {
        let orderly: Vec<bool> = reasons().iter().map(ExitReason::is_orderly).collect();
        assert_eq!(orderly, [true, true, true, false, false, false, false, false, false]);
    }

    #[test]
    fn a_reason_takes_two_words() {
        assert_eq!(size_of::<Option<ExitReason>>(), 16);
    }
}
