//! Shared: the only place that looks at a clock; a runtime's time is nanoseconds since it was made.
//!
//! Two atomics hold the latest reading of any worker's tick, `seen` to the millisecond and `tenths` to the tenth of a
//! second. They are written and read relaxed: they serve stamps for people (when a process was spawned), never a deadline.
//! They are written only when they change, so that the readers, one for each message, have them in their own caches.
//!
//! In a simulation nothing reads a clock: `seen` is the time, to the nanosecond, and the simulation moves it.
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

const MILLISECOND: u64 = 1_000_000;

#[derive(Debug)]
pub(crate) struct Clock {
    /// When the runtime was made; `None` in a simulation.
    base: Option<Instant>,
    base_system: SystemTime,
    seen: AtomicU64,
    tenths: AtomicU32,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn new() -> Self {
        Self {
            base: Some(Instant::now()),
            base_system: SystemTime::now(),
            seen: AtomicU64::new(0),
            tenths: AtomicU32::new(0),
        }
    }

    /// A clock that stands at 0 until it is moved. For people, a simulation begins with the year 1970.
    pub(crate) fn simulated() -> Self {
        Self { base: None, base_system: SystemTime::UNIX_EPOCH, seen: AtomicU64::new(0), tenths: AtomicU32::new(0) }
    }

    /// Moves a simulated clock; never back.
    pub(crate) fn pass_to(&self, moment: u64) {
        debug_assert!(self.base.is_none(), "nobody moves the real time");
        if moment > self.seen() {
            self.note(moment);
        }
    }

    /// Nanoseconds since the runtime was made.
    pub(crate) fn now(&self) -> u64 {
        let Some(base) = self.base else { return self.seen() };
        let now = nanos(base.elapsed());
        if now.saturating_sub(self.seen.load(Ordering::Relaxed)) >= MILLISECOND {
            self.note(now);
        }
        now
    }

    /// As [`Clock::now`], by one who reads it over and over: without telling the others.
    pub(crate) fn peek(&self) -> u64 {
        self.base.map_or_else(|| self.seen(), |base| nanos(base.elapsed()))
    }

    #[cold]
    fn note(&self, now: u64) {
        self.seen.store(now, Ordering::Relaxed);
        #[expect(clippy::cast_possible_truncation, reason = "13 years of tenths of a second")]
        let tenths = (now / (100 * MILLISECOND)) as u32;
        if tenths != self.tenths.load(Ordering::Relaxed) {
            self.tenths.store(tenths, Ordering::Relaxed);
        }
    }

    /// A recent `now`, to the millisecond, without the cost of a reading.
    pub(crate) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// As [`Clock::seen`], in tenths of a second.
    #[inline]
    pub(crate) fn tenths(&self) -> u32 {
        self.tenths.load(Ordering::Relaxed)
    }

    /// The deadline that lies `after` from now; far ones are cut to the end of time.
    pub(crate) fn deadline(&self, after: Duration) -> u64 {
        self.now().saturating_add(nanos(after))
    }

    /// The deadline so many nanoseconds from now; `u64::MAX` stands for none.
    pub(crate) fn after(&self, nanos: u64) -> u64 {
        if nanos == u64::MAX { nanos } else { self.now().saturating_add(nanos) }
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
