//! Shared: the only place that looks at a clock; a runtime's time is nanoseconds since it was made.
//!
//! One atomic, `seen`, holds the latest reading of any worker's tick. It is written and read relaxed: it serves stamps
//! for people (when a process was spawned), never a deadline. In a simulation nothing reads a clock: `seen` is the time, and
//! the simulation moves it.
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

#[derive(Debug)]
pub(crate) struct Clock {
    /// When the runtime was made; `None` in a simulation.
    base: Option<Instant>,
    base_system: SystemTime,
    seen: AtomicU64,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn new() -> Self {
        Self { base: Some(Instant::now()), base_system: SystemTime::now(), seen: AtomicU64::new(0) }
    }

    /// A clock that stands at 0 until it is moved. For people, a simulation begins with the year 1970.
    pub(crate) fn simulated() -> Self {
        Self { base: None, base_system: SystemTime::UNIX_EPOCH, seen: AtomicU64::new(0) }
    }

    /// Moves a simulated clock; never back.
    pub(crate) fn pass_to(&self, moment: u64) {
        debug_assert!(self.base.is_none(), "nobody moves the real time");
        self.seen.fetch_max(moment, Ordering::Relaxed);
    }

    /// Nanoseconds since the runtime was made.
    pub(crate) fn now(&self) -> u64 {
        let Some(base) = self.base else { return self.seen() };
        let now = nanos(base.elapsed());
        self.seen.store(now, Ordering::Relaxed);
        now
    }

    /// As [`Clock::now`], by one who reads it over and over: without telling the others.
    pub(crate) fn peek(&self) -> u64 {
        self.base.map_or_else(|| self.seen(), |base| nanos(base.elapsed()))
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
