//! Shared: reductions, counted in one cell of the thread that polls; no other thread ever touches it.
//!
//! A worker refills it before each poll. Sends cannot yield, so they only charge; the next await of ours finds nothing
//! left, wakes its own process and yields.
use crate::info::Whereabouts;
use crate::limits::{REDUCTIONS, YIELDS_IN_VAIN};
use std::cell::Cell;
use std::task::{Context, Poll};

thread_local! {
    /// What each poll gets; less in a simulation, so that processes yield in many places.
    static ALLOWANCE: Cell<u32> = const { Cell::new(REDUCTIONS) };
    static LEFT: Cell<u32> = const { Cell::new(REDUCTIONS) };
    /// Outside a worker nothing refills the budget, so nothing may yield for want of it.
    static COUNTING: Cell<bool> = const { Cell::new(false) };
    /// Yields of this poll. More than one: it has not ended for the first, so something in it polls and polls again.
    static YIELDS: Cell<u32> = const { Cell::new(0) };
    /// What this poll awaited last.
    static AWAITED: Cell<u8> = const { Cell::new(Whereabouts::Other.code()) };
}

/// Begins the budget of one poll.
pub(crate) fn refill() {
    LEFT.set(ALLOWANCE.get());
    YIELDS.set(0);
    COUNTING.set(true);
    AWAITED.set(Whereabouts::Other.code());
}

/// Notes what is awaited, for those who ask where a process hangs.
#[inline]
pub(crate) fn note_await(what: Whereabouts) {
    AWAITED.set(what.code());
}

/// What the poll that ends awaited last.
#[inline]
pub(crate) fn awaited() -> u8 {
    AWAITED.get()
}

/// Ends it: the reductions spent.
pub(crate) fn settle() -> u32 {
    COUNTING.set(false);
    used()
}

/// Of all that this poll was given.
fn used() -> u32 {
    let given = ALLOWANCE.get().saturating_mul(1 + YIELDS.get() / YIELDS_IN_VAIN);
    given - LEFT.get()
}

/// The reductions of the poll that ended last.
pub(crate) fn last_used() -> u32 {
    used() + 1
}

/// What the next polls on this thread get.
pub(crate) fn set_allowance(reductions: u32) {
    ALLOWANCE.set(reductions);
}

/// Whether a process is being polled on this thread.
pub(crate) fn is_counting() -> bool {
    COUNTING.get()
}

/// One operation.
pub(crate) fn charge() {
    LEFT.set(LEFT.get().saturating_sub(1));
}

/// Whether the next await of ours would yield.
pub(crate) fn is_spent() -> bool {
    COUNTING.get() && LEFT.get() == 0
}

/// Spends what is left, so that the next await yields.
pub(crate) fn exhaust() {
    LEFT.set(0);
}

/// Wakes the caller, which thereby goes to the end of the queue.
///
/// An executor of somebody else's within the poll (its `block_on`) polls again instead, for ever, as only the end of the poll brings
/// reductions: after many yields there are some without. `join_all` over thousands comes here as often, and may go on a little longer.
#[cold]
pub(crate) fn poll_yield<T>(cx: &Context<'_>) -> Poll<T> {
    let yields = YIELDS.get().saturating_add(1);
    YIELDS.set(yields);
    if yields.is_multiple_of(YIELDS_IN_VAIN) {
        LEFT.set(ALLOWANCE.get());
    }
    cx.waker().wake_by_ref();
    note_await(Whereabouts::Yield);
    Poll::Pending
}

/// Ready while there is budget; else it yields.
pub(crate) fn poll_proceed(cx: &Context<'_>) -> Poll<()> {
    let left = LEFT.get();
    if left == 0 && COUNTING.get() {
        return poll_yield(cx);
    }
    LEFT.set(left.saturating_sub(1));
    Poll::Ready(())
}
