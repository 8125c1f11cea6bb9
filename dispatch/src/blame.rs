//! Pure: whether a delivery is to blame for the end of its consumer.
//!
//! A delivery is blamed only for what its own handler did: it panicked, or it did not stop when told to and the consumer had to
//! be killed for it. What came along a link while it was started makes it suspect. Everything else is nobody's fault.

/// How far a delivery had come when its consumer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    Queued,
    Started,
}

/// What its consumer ended by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The delivery's own handler panicked.
    OwnPanic,
    /// It was killed, since this delivery did not stop when its time was over.
    Overdue,
    /// An abnormal exit signal came along a link of the consumer's.
    ByLink,
    /// It was stopped, killed by others, or ended by itself.
    Otherwise,
}

/// What is held against the delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// Nothing: it is routed again at once and free of charge.
    None,
    /// It may have been the cause.
    Suspect,
    /// It was.
    Blamed,
}

pub(crate) fn blame(reached: Reached, end: End) -> Blame {
    match (reached, end) {
        (Reached::Queued, _) | (Reached::Started, End::Otherwise) => Blame::None,
        (Reached::Started, End::ByLink) => Blame::Suspect,
        (Reached::Started, End::OwnPanic | End::Overdue) => Blame::Blamed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_started_delivery_is_blamed_and_only_for_its_own_doing() {
        let table = [
            (Reached::Queued, End::OwnPanic, Blame::None),
            (Reached::Queued, End::Overdue, Blame::None),
            (Reached::Queued, End::ByLink, Blame::None),
            (Reached::Queued, End::Otherwise, Blame::None),
            (Reached::Started, End::OwnPanic, Blame::Blamed),
            (Reached::Started, End::Overdue, Blame::Blamed),
            (Reached::Started, End::ByLink, Blame::Suspect),
            (Reached::Started, End::Otherwise, Blame::None),
        ];
        for (reached, end, expected) in table {
            assert_eq!(blame(reached, end), expected, "{reached:?} {end:?}");
        }
    }
}
