//! Shared: how a worker sleeps: on a token of its own, or in the poller of sockets.
//!
//! One word: `AWAKE`, `PARKED`, `POLLING`, or `NOTIFIED`. The sleeper goes from `AWAKE` to where it sleeps by compare-and-swap,
//! and back by an exchange; whoever wakes it exchanges in `NOTIFIED` and, by what was there, wakes it where it sleeps, or not
//! at all: then the sleeper finds `NOTIFIED` instead of `AWAKE`, and does not sleep. So an unpark that comes before the sleep
//! is not lost. One that comes when the sleeper wakes by itself leaves a token or an event behind, by which a later sleep is
//! cut short; all who sleep here look around then and sleep again.
use crate::sync::Token;
use crate::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

const AWAKE: u8 = 0;
const PARKED: u8 = 1;
const POLLING: u8 = 2;
const NOTIFIED: u8 = 3;

/// Where a sleeper sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Parked,
    Polling,
}

/// The word.
pub(crate) struct Sleeper(AtomicU8);

impl Sleeper {
    pub(crate) fn new() -> Self {
        Self(AtomicU8::new(AWAKE))
    }

    /// Is about to sleep there; false if it has been woken already.
    #[must_use]
    pub(crate) fn enter(&self, place: Place) -> bool {
        let word = if place == Place::Parked { PARKED } else { POLLING };
        self.0.compare_exchange(AWAKE, word, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Is awake, whatever woke it.
    pub(crate) fn leave(&self) {
        self.0.swap(AWAKE, Ordering::AcqRel);
    }

    /// Where it has to be woken, if anywhere.
    #[must_use]
    pub(crate) fn notify(&self) -> Option<Place> {
        match self.0.swap(NOTIFIED, Ordering::AcqRel) {
            PARKED => Some(Place::Parked),
            POLLING => Some(Place::Polling),
            _ => None,
        }
    }
}

pub(crate) struct Parker {
    sleeper: Sleeper,
    token: Token,
}

impl Parker {
    pub(crate) fn new() -> Self {
        Self { sleeper: Sleeper::new(), token: Token::new() }
    }

    /// Sleeps until unparked, or for so long.
    pub(crate) fn park(&self, at_most: Duration) {
        if self.sleeper.enter(Place::Parked) {
            self.token.park_timeout(at_most);
        }
        self.sleeper.leave();
    }

    /// Sleeps in the poller, which `poll` asks; without waiting if it is told that it has been woken already.
    pub(crate) fn sleep_in(&self, poll: impl FnOnce(bool)) {
        poll(!self.sleeper.enter(Place::Polling));
        self.sleeper.leave();
    }

    /// Wakes the worker; with `wake_poller` if it sleeps there.
    pub(crate) fn unpark(&self, wake_poller: impl FnOnce()) {
        match self.sleeper.notify() {
            Some(Place::Parked) => self.token.unpark(),
            Some(Place::Polling) => wake_poller(),
            None => {}
        }
    }
}
