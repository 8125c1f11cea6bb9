//! Driver: the panic hook that notes where a process panicked, and keeps a storm of panics from flooding the terminal.
//!
//! The one thing that is global to the OS process: the hook is. It is chained in front of the hook that was there, once,
//! by the first runtime that wants it, and does nothing for panics outside a process's poll.
use once_cell::sync::OnceCell;
use parking_lot::Mutex;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::time::Duration;

use crate::clock::Clock;
use crate::report::Rate;

thread_local! {
    /// A closure of blocking work runs on this thread.
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    /// Whatever panics on this thread is expected, and said by somebody else.
    static QUIET: Cell<bool> = const { Cell::new(false) };
    /// The last panic of a process on this thread: what it said and where.
    static LAST: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
}

/// Installs the hook, if it is not.
pub(crate) fn install() {
    static INSTALLED: OnceCell<()> = OnceCell::new();
    INSTALLED.get_or_init(|| {
        let previous = std::panic::take_hook();
        let clock = Clock::new();
        let rate = Mutex::new(Rate::default());
        std::panic::set_hook(Box::new(move |panic| {
            let quiet = QUIET.get();
            if !quiet && !crate::budget::is_counting() && !WATCHED.get() {
                return previous(panic);
            }
            let said = text_of(panic.payload()).to_owned();
            LAST.set(panic.location().map(|location| (said, location.to_string())));
            if !quiet && rate.lock().admit(Duration::from_nanos(clock.now())).is_some() {
                previous(panic);
            }
        }));
    });
}

/// Runs something outside any poll whose panics the hook is to see all the same; `act` catches them itself.
pub(crate) fn watched<R>(act: impl FnOnce() -> R) -> R {
    WATCHED.set(true);
    let result = act();
    WATCHED.set(false);
    result
}

/// Runs something on this thread whose panics are not shown, if the hook may be installed for that; where they came from is noted.
pub(crate) fn quietly<R>(may_install: bool, act: impl FnOnce() -> R) -> R {
    struct Loud;
    impl Drop for Loud {
        fn drop(&mut self) {
            QUIET.set(false);
        }
    }
    if may_install {
        install();
    }
    let _loud = Loud;
    QUIET.set(true);
    act()
}

/// Where the panic that was just caught on this thread came from. One that the body caught itself, or that unwinds without
/// having been seen by the hook, is not taken for it, unless it says the same.
pub(crate) fn take_location(payload: &(dyn Any + Send)) -> Option<String> {
    let (said, location) = LAST.take()?;
    (said == text_of(payload)).then_some(location)
}

/// Where what was said by the last panic on this thread came from, if the hook has seen that.
pub(crate) fn location_of(said: &str) -> Option<String> {
    LAST.take().filter(|(other, _)| other == said).map(|(_, location)| location)
}

/// What a panic says.
pub(crate) fn text_of(payload: &(dyn Any + Send)) -> &str {
    match (payload.downcast_ref::<&'static str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => NOT_TEXT,
    }
}

const NOT_TEXT: &str = "a value that is not text";
