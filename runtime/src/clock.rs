//! Shared: the only place that looks at a clock; a runtime's time is nanoseconds since it was made.
//!
//! One atomic, `seen`, holds the latest reading of any worker's tick. It is written and read relaxed: it serves stamps
//! for people (when a process was spawned), never a deadline. A simulated clock takes this file's place.
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

#[derive(Debug)]
pub(crate) struct Clock {
    base: Instant,
    base_system: SystemTime,
    seen: AtomicU64,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn new() -> Self {
        Self { base: Instant::now(), base_system: SystemTime::now(), seen: AtomicU64::new(0) }
    }

    /// Nanoseconds since the runtime was made.
    pub(crate) fn now(&self) -> u64 {
        let now = nanos(self.base.elapsed());
        self.seen.store(now, Ordering::Relaxed);
        now
    }

    /// As [`Clock::now`], by one who reads it over and over: without telling the others.
    pub(crate) fn peek(&self) -> u64 {
        nanos(self.base.elapsed())
    }

    /// A recent `now`, without the cost of a reading.
    pub(crate) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// The deadline that lies `after` from now; far ones are cut to the end of time.
    pub(crate) fn deadline(&self, after: Duration) -> u64 {
        self.now().saturating_add(nanos(after))
    }

    /// The wall-clock time of an instant, for reports.
    pub(crate) fn system(&self, at: u64) -> SystemTime {
        self.base_system + Duration::from_nanos(at)
    }
}

/// A duration in nanoseconds; 584 years and more are for ever.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
