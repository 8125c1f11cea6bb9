//! Shared: a value that can be taken out and not looked at, and may therefore be shared whatever it is made of.
use parking_lot::Mutex;

/// The lock is never taken: it is there since it makes a `Send` value `Sync`.
pub(crate) struct Sealed<T>(Mutex<T>);

impl<T> Sealed<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub(crate) fn into_inner(self) -> T {
        self.0.into_inner()
    }
}
