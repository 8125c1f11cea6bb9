//! Shared: the only place that looks at a clock; a runtime's time is nanoseconds since it was made.
//!
//! Two atomics hold the latest reading of any worker's tick, `seen` to the millisecond and `tenths` to the tenth of a
//! second. They are written and read relaxed: they serve stamps for people (when a process was spawned), never a deadline.
//! They are written only when they change, so that the readers, one for each message, have them in their own caches.
//!
//! While a worker is awake, that is at most as old as the overseer's last look, a quarter of `stall_limit`. While all sleep
//! nobody ticks: the overseer says so before it sleeps too, by a bit in `tenths`, and whoever needs a stamp then reads the
//! clock himself ([`Clock::stamp`]). The first worker to wake takes the bit away, and so does the overseer.
//!
//! [`Clock::reckoned`] is for stamps of which a dispatch takes three: most of them come from the processor's counter (0080).
//!
//! In a simulation nothing reads a clock: `seen` is the time, to the nanosecond, and the simulation moves it.
use crate::reckoning::{Count, Reckoning};
use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

const MILLISECOND: u64 = 1_000_000;
/// In `tenths`: nobody keeps it up to date.
const AT_REST: u32 = 1 << 31;

/// Numbers of clocks, of this operating-system process.
static CLOCKS: AtomicU32 = AtomicU32::new(1);

std::thread_local! {
    /// Of the clock that this thread has last reckoned by.
    static RECKONING: Cell<Reckoning> = const { Cell::new(Reckoning::NONE) };
}

/// The processor's counter, once it is known how fast that counts: which takes some of the time of a core, up to 200 ms where much
/// comes in between, and is found out on a thread of its own, when the first stamp is asked for.
static COUNTER: OnceLock<quanta::Clock> = OnceLock::new();
static IS_WANTED: AtomicBool = AtomicBool::new(false);

/// The system's clock as one runtime sees it.
#[derive(Debug)]
struct System {
    /// When the runtime was made.
    base: Instant,
    number: u32,
}

#[cold]
#[expect(clippy::disallowed_methods, reason = "once in a process, and nobody waits for it")]
fn want_counter() {
    if !IS_WANTED.swap(true, Ordering::Relaxed) {
        let find_out = || drop(COUNTER.set(quanta::Clock::new()));
        // Where no thread is to be had, it is the clock that tells.
        drop(std::thread::Builder::new().name("colloquium-clock".to_owned()).spawn(find_out));
    }
}

impl Count for &quanta::Clock {
    #[inline]
    fn nanos(self, from: u64, to: u64) -> u64 {
        self.delta_as_nanos(from, to)
    }
}

#[derive(Debug)]
pub(crate) struct Clock {
    /// `None` in a simulation.
    system: Option<System>,
    base_system: SystemTime,
    seen: AtomicU64,
    tenths: AtomicU32,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn new() -> Self {
        Self {
            system: Some(System { base: Instant::now(), number: CLOCKS.fetch_add(1, Ordering::Relaxed) }),
            base_system: SystemTime::now(),
            seen: AtomicU64::new(0),
            tenths: AtomicU32::new(tenths_of(0)),
        }
    }

    /// A clock that stands at 0 until it is moved. For people, a simulation begins with the year 1970.
    pub(crate) fn simulated() -> Self {
        Self {
            system: None,
            base_system: SystemTime::UNIX_EPOCH,
            seen: AtomicU64::new(0),
            tenths: AtomicU32::new(tenths_of(0)),
        }
    }

    /// Moves a simulated clock; never back.
    pub(crate) fn pass_to(&self, moment: u64) {
        debug_assert!(self.system.is_none(), "nobody moves the real time");
        if moment > self.seen() {
            self.note(moment);
        }
    }

    /// Nanoseconds since the runtime was made.
    pub(crate) fn now(&self) -> u64 {
        let now = self.peek();
        self.take_note(now);
        now
    }

    /// As [`Clock::now`], for those who reckon in durations: two divisions less.
    #[inline]
    pub(crate) fn uptime(&self) -> Duration {
        let Some(system) = &self.system else { return Duration::from_nanos(self.seen()) };
        let uptime = system.base.elapsed();
        self.take_note(nanos(uptime));
        uptime
    }

    /// As [`Clock::uptime`], but mostly reckoned by the processor's counter from this thread's last look.
    #[inline]
    pub(crate) fn reckoned(&self) -> Duration {
        let Some(System { number, .. }) = &self.system else { return Duration::from_nanos(self.seen()) };
        let Some(counter) = COUNTER.get() else { return self.look_first() };
        let count = counter.raw();
        RECKONING.get().told(*number, count, counter).unwrap_or_else(|| self.look(*number, count, counter))
    }

    #[cold]
    fn look(&self, number: u32, before: u64, counter: &quanta::Clock) -> Duration {
        let at = self.uptime();
        let mut reckoning = RECKONING.get();
        reckoning.look(number, before, at, counter.raw(), counter);
        RECKONING.set(reckoning);
        at
    }

    /// As long as the counter cannot be told by.
    #[cold]
    fn look_first(&self) -> Duration {
        if !IS_WANTED.load(Ordering::Relaxed) {
            want_counter();
        }
        self.uptime()
    }

    #[inline]
    fn take_note(&self, now: u64) {
        if now.saturating_sub(self.seen()) >= MILLISECOND {
            self.note(now);
        }
    }

    /// As [`Clock::now`], by one who reads it over and over: without telling the others.
    pub(crate) fn peek(&self) -> u64 {
        self.system.as_ref().map_or_else(|| self.seen(), |system| nanos(system.base.elapsed()))
    }

    #[cold]
    fn note(&self, now: u64) {
        self.seen.store(now, Ordering::Relaxed);
        let before = self.tenths.load(Ordering::Relaxed);
        let tenths = tenths_of(now) | (before & AT_REST);
        // Never back: who was held up between his reading and here leaves what others have seen. Who comes in between has
        // read a clock as well, or has changed the bit, which must not be lost.
        if tenths > before {
            let _ = self.tenths.compare_exchange(before, tenths, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Nobody looks at the clock from now on.
    pub(crate) fn rest(&self) {
        self.tenths.fetch_or(AT_REST, Ordering::Relaxed);
    }

    /// Somebody does again.
    pub(crate) fn end_rest(&self) {
        if self.tenths.load(Ordering::Relaxed) & AT_REST > 0 {
            self.note(self.peek());
            self.tenths.fetch_and(!AT_REST, Ordering::Relaxed);
        }
    }

    /// A recent `now`, to the millisecond, without the cost of a reading.
    pub(crate) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// As [`Clock::seen`], in tenths of a second counted from 1, for who knows that a worker is awake: himself.
    /// [`elapsed`] does without the bit that it may have in the instant in which that worker has woken.
    #[inline]
    pub(crate) fn tenths(&self) -> u32 {
        self.tenths.load(Ordering::Relaxed)
    }

    /// As [`Clock::tenths`], for whoever it may be; while all sleep, by a reading of the clock.
    #[inline]
    pub(crate) fn stamp(&self) -> u32 {
        let tenths = self.tenths.load(Ordering::Relaxed);
        if tenths & AT_REST == 0 { tenths } else { self.stamp_at_rest() }
    }

    #[cold]
    fn stamp_at_rest(&self) -> u32 {
        tenths_of(self.peek())
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

/// The stamp of a moment: its tenth of a second, counted from 1, so that 0 is none.
#[expect(clippy::cast_possible_truncation, reason = "6 years of tenths of a second")]
pub(crate) const fn tenths_of(moment: u64) -> u32 {
    (moment / (100 * MILLISECOND) + 1) as u32 & !AT_REST
}

/// How long ago a stamp was taken: a tenth of a second more than it was at most, and no less.
pub(crate) fn elapsed(now: u64, stamp: u32) -> Duration {
    let tenths = u64::from((stamp & !AT_REST).saturating_sub(1));
    Duration::from_nanos(now.saturating_sub(tenths * 100 * MILLISECOND))
}

/// A duration in nanoseconds; 584 years and more are for ever.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::Runtime;
    use crate::testing::wait_for;

    const TENTH: u64 = 100 * MILLISECOND;

    /// One that was made 10 seconds ago and has not been looked at since.
    #[expect(clippy::disallowed_methods, reason = "a clock's own test")]
    fn neglected() -> Clock {
        let base = Instant::now().checked_sub(Duration::from_secs(10));
        let mut clock = Clock::new();
        clock.system.as_mut().expect("it is no simulation's").base = base.expect("the system is up for so long");
        clock
    }

    #[test]
    fn a_stamp_tells_the_time_that_has_passed_and_a_tenth_more_at_most() {
        assert_eq!(tenths_of(0), 1, "0 is no stamp");
        for moment in [0, 1, TENTH - 1, TENTH, 7 * TENTH + 3, 1_000_000 * TENTH] {
            for passed in [0, 1, TENTH - 1, TENTH, 864_000 * TENTH] {
                let told = nanos(elapsed(moment + passed, tenths_of(moment)));
                assert!(passed <= told && told < passed + TENTH, "{passed} since {moment}: {told}");
                assert_eq!(told, nanos(elapsed(moment + passed, tenths_of(moment) | AT_REST)));
            }
        }
        assert_eq!(elapsed(0, tenths_of(TENTH)), Duration::ZERO, "of what came after the look began");
    }

    #[test]
    fn while_nobody_looks_at_the_clock_a_stamp_does_and_else_it_does_not() {
        let clock = neglected();
        assert_eq!((clock.tenths(), clock.stamp()), (1, 1));
        clock.rest();
        assert!(clock.stamp() > 100);
        assert_eq!(clock.seen(), 0, "that is for nobody else");
        clock.now();
        assert!(
            clock.seen() > 0 && clock.tenths() & AT_REST > 0,
            "one who looks in passing does not keep it up to date"
        );
        clock.end_rest();
        assert!(clock.tenths() > 100 && clock.tenths() == clock.stamp());
        let clock = neglected();
        clock.rest();
        clock.end_rest();
        assert!(clock.tenths() > 100 && clock.tenths() & AT_REST == 0, "whoever wakes up has looked");
    }

    /// Until the counter is known, and in the 5 ms after that, it is the clock that tells; afterwards mostly the counter.
    #[test]
    fn what_is_reckoned_is_the_time_to_a_microsecond() {
        let (clock, other) = (Clock::new(), Clock::new());
        let number = clock.system.as_ref().expect("it is no simulation's").number;
        let slack = Duration::from_micros(1);
        let mut reckoned = 0;
        while reckoned < 100_000 && clock.uptime() < Duration::from_secs(60) {
            let is_told = |counter: &quanta::Clock| RECKONING.get().told(number, counter.raw(), counter).is_some();
            reckoned += u32::from(COUNTER.get().is_some_and(is_told));
            let before = clock.uptime();
            let told = clock.reckoned();
            let after = clock.uptime();
            assert!(before <= told + slack && told <= after + slack, "{before:?}, {told:?}, {after:?}");
        }
        assert!(reckoned > 0, "the counter never kept time");
        // A thread may look at several clocks in turn: each is told as itself.
        for _ in 0..1000 {
            assert!(other.reckoned() <= other.uptime() + slack);
            assert!(clock.reckoned() <= clock.uptime() + slack);
        }
        assert_eq!(Clock::simulated().reckoned(), Duration::ZERO);
    }

    #[test]
    fn the_tenths_never_go_back() {
        let clock = Clock::simulated();
        clock.note(5 * TENTH);
        clock.note(3 * TENTH);
        assert_eq!(clock.tenths(), 6);
        clock.rest();
        clock.note(4 * TENTH);
        assert_eq!(clock.tenths(), 6 | AT_REST);
    }

    #[test]
    fn the_clock_is_at_rest_when_all_sleep_and_not_when_something_runs() {
        let runtime = Runtime::builder().workers(2).build().expect("two workers");
        let at_rest = || runtime.shared().clock.tenths() & AT_REST > 0;
        for _ in 0..3 {
            wait_for(|| at_rest().then_some(()));
            // The worker that is woken ends it before it runs anything; the overseer, which may just be going to sleep, follows.
            let process = runtime.spawn(async |_: crate::Context<()>| ()).expect("room for a process");
            runtime.block_on(process.ended());
            let (entered, release) = (std::sync::mpsc::channel(), std::sync::mpsc::channel::<()>());
            let stuck = runtime.spawn(async move |_: crate::Context<()>| {
                entered.0.send(()).expect("the test waits");
                let _ = release.1.recv_timeout(Duration::from_secs(60));
            });
            stuck.expect("room for a process");
            entered.1.recv().expect("it runs");
            wait_for(|| (!at_rest()).then_some(()));
            drop(release.0);
        }
    }
}
