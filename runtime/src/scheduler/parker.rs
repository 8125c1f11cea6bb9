//! Shared: how a worker sleeps; the one place to change when it shall sleep in the poller of sockets.
//!
//! crossbeam's parker holds a token: an unpark that comes before the park is not lost.
use crossbeam_utils::sync::{Parker as Token, Unparker};
use parking_lot::Mutex;
use std::time::Duration;

pub(crate) struct Parker {
    /// Locked by the worker for as long as it sleeps; no other takes it.
    token: Mutex<Token>,
    unparker: Unparker,
}

impl Parker {
    pub(crate) fn new() -> Self {
        let token = Token::new();
        let unparker = token.unparker().clone();
        Self { token: Mutex::new(token), unparker }
    }

    /// Sleeps until unparked, or for so long.
    pub(crate) fn park(&self, at_most: Duration) {
        self.token.lock().park_timeout(at_most);
    }

    pub(crate) fn unpark(&self) {
        self.unparker.unpark();
    }
}
