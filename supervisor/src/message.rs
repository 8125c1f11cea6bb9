//! Driver: what a supervisor receives.
use crate::board::{Board, Permit};
use crate::child::Start;
use crate::children::Key;
use crate::event::{Answer, Request, Word};
use colloquium_runtime::{Down, Exit, Pid, ReplyTo};
use std::fmt;
use std::time::Duration;

/// What a supervisor's process receives; only this crate makes any.
pub struct SupervisorMessage(pub(crate) Msg);

pub(crate) enum Msg {
    Exit(Exit),
    Down(Down),
    Said(Pid, Word),
    /// The supervisor's own: a start is to be tried again.
    Turn(Key, u64),
    Ask(Ask),
    /// The supervisor is to end, within that time if one is given.
    Stop(Option<Duration>),
    /// Who wants to talk to it has only its address.
    Introduce(ReplyTo<Board>),
}

pub(crate) struct Ask {
    pub(crate) request: Request<Pid>,
    /// How to start the child that is to be added.
    pub(crate) start: Option<Box<dyn Start>>,
    pub(crate) reply_to: ReplyTo<Answer<Pid>>,
    pub(crate) permit: Permit,
}

impl SupervisorMessage {
    pub(crate) fn exit(exit: Exit) -> Self {
        Self(Msg::Exit(exit))
    }

    pub(crate) fn down(down: Down) -> Self {
        Self(Msg::Down(down))
    }
}

impl fmt::Debug for SupervisorMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SupervisorMessage")
    }
}
