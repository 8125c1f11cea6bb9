//! Pure: OTP's two tables: who is restarted at all, and who together with it.
use crate::spec::{Restart, Strategy};
use colloquium_runtime::ExitReason;

/// Whether a child that ended by itself for this reason is started again.
pub(crate) fn restarts(restart: Restart, reason: &ExitReason) -> bool {
    match restart {
        Restart::Permanent => true,
        Restart::Transient => !reason.is_orderly(),
        Restart::Temporary => false,
    }
}

/// Who takes part in the restart of a child: those from it on, or from the very first, and not further than itself or to
/// the very last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) earlier: bool,
    pub(crate) later: bool,
}

/// The extent of a restart.
pub(crate) fn extent(strategy: Strategy) -> Extent {
    match strategy {
        Strategy::OneForOne => Extent { earlier: false, later: false },
        Strategy::OneForAll => Extent { earlier: true, later: true },
        Strategy::RestForOne => Extent { earlier: false, later: true },
    }
}
