//! Driver: a tokio runtime as a guest, whose context surrounds whatever of a process runs or is dropped.
//!
//! The runtime's own threads enter it once, for their lives, so that no poll and no drop on them pays for it. What reaches user
//! code of a process on somebody else's thread (the making of a body, a timer's cancellation, what is discarded after a
//! shutdown) enters for that moment.
use crate::error::BuildError;

/// The tokio runtime that the builder was told of.
#[derive(Clone, Debug, Default)]
pub(crate) enum Wanted {
    #[default]
    None,
    #[cfg(feature = "tokio")]
    Current,
    #[cfg(feature = "tokio")]
    Given(tokio::runtime::Handle),
}

impl Wanted {
    pub(crate) fn find(self) -> Result<Guest, BuildError> {
        match self {
            Self::None => Ok(Guest::default()),
            #[cfg(feature = "tokio")]
            Self::Current => {
                let current = tokio::runtime::Handle::try_current().map_err(|_| BuildError::NoTokio)?;
                Ok(Guest { handle: Some(current) })
            }
            #[cfg(feature = "tokio")]
            Self::Given(handle) => Ok(Guest { handle: Some(handle) }),
        }
    }
}

/// The guest of a runtime, if it has one.
#[derive(Clone, Default)]
pub(crate) struct Guest {
    #[cfg(feature = "tokio")]
    handle: Option<tokio::runtime::Handle>,
}

impl Guest {
    /// Runs `act` within the guest's context.
    #[cfg(feature = "tokio")]
    #[inline]
    pub(crate) fn with<R>(&self, act: impl FnOnce() -> R) -> R {
        let Some(handle) = &self.handle else { return act() };
        // A thread that is ending may have no place for a context any more; what is dropped there is dropped without.
        let entered = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| handle.enter())).ok();
        let result = act();
        drop(entered);
        result
    }

    /// Runs `act`.
    #[cfg(not(feature = "tokio"))]
    #[inline]
    #[expect(clippy::unused_self, reason = "it stands for the guest that there is with the feature")]
    pub(crate) fn with<R>(&self, act: impl FnOnce() -> R) -> R {
        act()
    }
}
