//! Driver: how a child that has to initialise tells its supervisor what came of that.
use crate::event::Word;
use crate::message::{Msg, SupervisorMessage};
use colloquium_runtime::{Address, Pid};
use std::fmt;

/// The means of a child to say that it is ready; its supervisor waits for that before it goes on to the next.
///
/// A body that fails before it is ready just returns its error: that is then why the start failed. One that drops this
/// unused and lives on is killed a second later, and its start has failed with
/// [`StartFailure::NotReady`](crate::StartFailure::NotReady).
#[must_use = "a child that never says that it is ready is killed"]
pub struct Ready {
    to: To,
    child: Pid,
}

enum To {
    Supervisor(Address<SupervisorMessage>),
    /// Who has started a server by hand; it sees itself when that ends.
    Starter(Box<dyn FnOnce() + Send>),
    Nobody,
}

impl Ready {
    pub(crate) fn new(supervisor: Address<SupervisorMessage>, child: Pid) -> Self {
        Self { to: To::Supervisor(supervisor), child }
    }

    pub(crate) fn to_starter(child: Pid, up: impl FnOnce() + Send + 'static) -> Self {
        Self { to: To::Starter(Box::new(up)), child }
    }

    /// Nobody waits.
    pub(crate) fn to_nobody(child: Pid) -> Self {
        Self { to: To::Nobody, child }
    }

    /// The child is up.
    pub fn up(mut self) {
        self.say(Word::Ready);
    }

    /// The child is not wanted (OTP's `ignore`): that is no failure. Its process is told to stop; its specification stays
    /// (unless it is temporary), and it can be started by hand.
    pub fn ignore(mut self) {
        self.say(Word::Ignore);
    }

    fn say(&mut self, word: Word) {
        match std::mem::replace(&mut self.to, To::Nobody) {
            // A supervisor that is dead has other ways to let its children know.
            To::Supervisor(to) => drop(to.send(SupervisorMessage(Msg::Said(self.child, word)))),
            To::Starter(up) if word == Word::Ready => up(),
            To::Starter(_) | To::Nobody => {}
        }
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        self.say(Word::Nothing);
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ready({})", self.child)
    }
}
