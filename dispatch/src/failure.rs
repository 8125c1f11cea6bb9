//! Pure: what a handler returns that has not completed its message, and what it wants done with that.
use crate::conversation::Wanted;
use colloquium_runtime::ExitReason;
use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// A handler has not completed its message, and says what is to become of that.
///
/// Any error becomes one by `?`, and then the message is tried elsewhere after a while. (So this is no
/// [`Error`] itself.) See [`OrFailure`] for the other ways.
pub struct Failure {
    pub(crate) wanted: Wanted,
    pub(crate) cause: Box<dyn Error + Send + Sync>,
}

impl Failure {
    /// The message is tried again, after a delay that grows.
    pub fn retry(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { wanted: Wanted::Retry, cause: cause.into() }
    }

    /// The message is tried again after that time.
    pub fn retry_after(time: Duration, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { wanted: Wanted::RetryAfter(time), cause: cause.into() }
    }

    /// The message will never do: it is not tried again, and becomes a dead letter.
    pub fn discard(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { wanted: Wanted::Discard, cause: cause.into() }
    }

    pub(crate) fn into_reason(self) -> ExitReason {
        ExitReason::error(self.cause)
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for Failure {
    fn from(cause: E) -> Self {
        Self::retry(cause)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure").field("wanted", &self.wanted).field("cause", &self.cause).finish()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

/// Says of an error what a handler wants done with its message.
///
/// ```
/// use colloquium_dispatch::{Failure, OrFailure};
///
/// fn parse(text: &str) -> Result<u32, Failure> {
///     let number = text.parse().or_discard()?; // trying again would not help
///     Ok(number)
/// }
/// assert_eq!(parse("7").unwrap(), 7);
/// assert_eq!(parse("x").unwrap_err().to_string(), "invalid digit found in string");
/// ```
pub trait OrFailure<T>: Sized {
    /// An error discards the message.
    ///
    /// # Errors
    ///
    /// The error, as a [`Failure`].
    fn or_discard(self) -> Result<T, Failure>;

    /// After an error the message is tried again, after that time.
    ///
    /// # Errors
    ///
    /// The error, as a [`Failure`].
    fn or_retry_after(self, time: Duration) -> Result<T, Failure>;
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> OrFailure<T> for Result<T, E> {
    fn or_discard(self) -> Result<T, Failure> {
        self.map_err(Failure::discard)
    }

    fn or_retry_after(self, time: Duration) -> Result<T, Failure> {
        self.map_err(|cause| Failure::retry_after(time, cause))
    }
}

/// Calls a function of a user's; `None` if it panics. What the panic carried is the user's as well.
pub(crate) fn caught<T>(function: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(function)) {
        Ok(value) => Some(value),
        Err(payload) => {
            drop(catch_unwind(AssertUnwindSafe(|| drop(payload))));
            None
        }
    }
}
