//! Pure: the words for how it stands with something: one list for dumps, metrics and documents.
use serde::{Deserialize, Serialize};
use std::fmt;

/// How it stands with a process, a supervisor, or whatever else a dump shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum State {
    /// It initialises.
    Starting,
    /// It is there; nothing more is known, or to be known.
    Up,
    /// It waits for a message.
    Idle,
    /// It works: it is polled, is about to be, waits for blocking work or for something outside.
    Busy,
    /// It waits for another: for the answer to a call, for its group to be started, for its turn.
    Waiting,
    /// It was told to stop, and has not ended.
    Draining,
    /// It has ended, and is started again.
    Restarting,
    /// It has failed, and is started again after a pause.
    BackOff,
    /// More comes in than goes out: its mailbox is half full or worse.
    Overloaded,
    /// It could not be read in time.
    Unread,
    /// It is in one poll for so long that it holds up its worker.
    Stuck,
    /// It was killed and is still there, since its poll does not return.
    Wedged,
    /// It failed too often and was given up.
    Failed,
    /// It is not there, and none is due.
    Stopped,
}

impl State {
    /// The whole list.
    pub const ALL: [Self; 14] = [
        Self::Starting,
        Self::Up,
        Self::Idle,
        Self::Busy,
        Self::Waiting,
        Self::Draining,
        Self::Restarting,
        Self::BackOff,
        Self::Overloaded,
        Self::Unread,
        Self::Stuck,
        Self::Wedged,
        Self::Failed,
        Self::Stopped,
    ];

    /// The word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Waiting => "waiting",
            Self::Draining => "draining",
            Self::Restarting => "restarting",
            Self::BackOff => "back-off",
            Self::Overloaded => "overloaded",
            Self::Unread => "unread",
            Self::Stuck => "stuck",
            Self::Wedged => "wedged",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }

    /// Whether somebody should look: such a state is shown in capitals.
    #[must_use]
    pub fn is_trouble(self) -> bool {
        matches!(self, Self::BackOff | Self::Overloaded | Self::Unread | Self::Stuck | Self::Wedged | Self::Failed)
    }

    /// Troubles are listed by this: who is stopped is only listed if it is a root, who is wedged cannot be helped, who is stuck holds others up, who has failed is not there.
    pub(crate) fn rank(self) -> u8 {
        match self {
            Self::Stopped => 0,
            Self::Wedged => 1,
            Self::Stuck => 2,
            Self::Failed => 3,
            Self::BackOff => 4,
            Self::Overloaded => 5,
            Self::Unread => 6,
            _ => 7,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_one_list_for_text_and_json() {
        for state in State::ALL {
            assert_eq!(serde_json::to_string(&state).ok(), Some(format!("\"{state}\"")));
        }
        let mut words = State::ALL.map(State::word).to_vec();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), State::ALL.len());
    }
}
