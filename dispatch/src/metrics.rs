//! Pure: what a group counts: messages a second, how long things take, and what is made of that for those who ask.
use crate::view::{ConsumerId, GroupTotals};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Each power of two has so many classes of equal width: what is read is at most an eighth off.
const PARTS: u64 = 8;
/// Everything longer falls into the last class: some eighteen minutes.
const LONGEST: u64 = (1 << 40) - 1;
const CLASSES: usize = class_of(LONGEST) + 1;

const fn class_of(nanos: u64) -> usize {
    let nanos = if nanos > LONGEST { LONGEST } else { nanos };
    if nanos < PARTS {
        return nanos as usize;
    }
    let power = nanos.ilog2() - PARTS.ilog2();
    (power as u64 * PARTS + (nanos >> power)) as usize
}

/// The longest time of a class.
const fn end_of(class: usize) -> u64 {
    let class = class as u64;
    if class < PARTS {
        return class;
    }
    let power = class / PARTS - 1;
    ((class % PARTS + PARTS + 1) << power) - 1
}

/// How long something took, over many times, in classes that grow with the time: what it tells is at most an eighth off.
/// Times above eighteen minutes count as such.
#[derive(Clone, PartialEq, Eq)]
pub struct LatencyHistogram {
    classes: Box<[u64]>,
    count: u64,
    /// In nanoseconds, as is the longest.
    sum: u64,
    longest: u64,
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        let classes = vec![0; CLASSES].into_boxed_slice();
        Self { classes, count: 0, sum: 0, longest: 0 }
    }
}

impl LatencyHistogram {
    pub(crate) fn add(&mut self, nanos: u64) {
        self.classes[class_of(nanos)] += 1;
        self.count += 1;
        self.sum = self.sum.saturating_add(nanos);
        self.longest = self.longest.max(nanos);
    }

    /// How many times there have been.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// All of them together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum)
    }

    /// The longest, exactly.
    #[must_use]
    pub fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest)
    }

    /// The time that this part of all did not exceed (`0.5`: the median); at most an eighth too long, never too short, and no
    /// longer than the longest. `None` if there were none.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        if self.count == 0 {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 0 and the count")]
        let rank = ((part.clamp(0.0, 1.0) * self.count as f64).ceil() as u64).clamp(1, self.count);
        let mut before = 0;
        let class = self.classes.iter().position(|count| {
            before += count;
            before >= rank
        })?;
        Some(Duration::from_nanos(end_of(class).min(self.longest)))
    }

    /// The classes that are not empty, shortest first: the longest time of each, and how many there are in it.
    pub fn classes(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        let all = self.classes.iter().enumerate().filter(|(_, count)| **count > 0);
        all.map(|(class, count)| (Duration::from_nanos(end_of(class)), *count))
    }
}

impl fmt::Debug for LatencyHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("LatencyHistogram");
        debug.field("count", &self.count).field("p50", &self.quantile(0.5)).field("p99", &self.quantile(0.99));
        debug.field("longest", &self.longest()).finish_non_exhaustive()
    }
}

/// Events in this second of the runtime's time and in the one before.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flow {
    second: u64,
    current: u64,
    last: u64,
}

impl Flow {
    pub(crate) fn add(&mut self, now: Duration) {
        if now.as_secs() != self.second {
            self.last = if now.as_secs() == self.second + 1 { self.current } else { 0 };
            (self.second, self.current) = (now.as_secs(), 0);
        }
        self.current += 1;
    }

    /// How many there were in the second up to now: those of this one, and the share of the last one's that its rest is.
    pub(crate) fn rate(&self, now: Duration) -> f64 {
        let share = 1.0 - f64::from(now.subsec_nanos()) / 1e9;
        match now.as_secs().saturating_sub(self.second) {
            0 => self.current as f64 + self.last as f64 * share,
            1 => self.current as f64 * share,
            _ => 0.0,
        }
    }
}

/// Messages a second, over the last second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Rates {
    /// Let in.
    pub into: f64,
    /// Completed.
    pub out: f64,
    /// Turned away.
    pub shed: f64,
}

/// The times of a delivery that was completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    /// When a handler first began with the message, in nanoseconds of the runtime's time.
    pub(crate) begun: u64,
    /// What the handler took that completed it, in nanoseconds.
    pub(crate) handled: u64,
}

/// How long messages took, in the three ways that are counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies {
    pub(crate) wait: LatencyHistogram,
    pub(crate) handling: LatencyHistogram,
    pub(crate) whole: LatencyHistogram,
}

/// What is counted of messages as they come and go out, where they are dispatched: a line of memory, which mostly stays there.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Coming {
    pub(crate) dispatched: u64,
    pub(crate) delivered: u64,
    /// The next number that is given to a message.
    pub(crate) numbers: u64,
    /// Conversations that began in a berth.
    pub(crate) berthed: u64,
    pub(crate) into: Flow,
}

/// What is counted of them as they leave, where they are handled: another line.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Going {
    pub(crate) completed: u64,
    /// Conversations that ended in their berths, or left them.
    pub(crate) unberthed: u64,
    pub(crate) out: Flow,
    /// The times of the last completions (wait, handling, whole, in nanoseconds), not counted yet: so a message touches one line
    /// or two rather than six. No more than [`UNCOUNTED`].
    recent: Vec<[u64; 3]>,
}

/// What else the yard counts.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) shed: Flow,
    latencies: Latencies,
    /// Since when messages are turned away, and when the last one was.
    pub(crate) shedding: Option<(Duration, Duration)>,
}

/// As long after the last refusal a group counts as turning messages away.
const SHEDDING: Duration = Duration::from_secs(2);

/// So many completions are counted at one go.
const UNCOUNTED: usize = 32;

/// Five hundred years fit.
pub(crate) fn nanos(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(time.subsec_nanos()))
}

impl Going {
    /// A message that was let in at `entered` is completed. True if what is known of such is to be [counted](Counted::count).
    #[must_use]
    pub(crate) fn completed(&mut self, entered: Duration, timing: Timing, now: Duration) -> bool {
        self.out.add(now);
        let (entered, now) = (nanos(entered), nanos(now));
        self.recent.push([timing.begun.saturating_sub(entered), timing.handled, now.saturating_sub(entered)]);
        self.recent.len() >= UNCOUNTED
    }
}

impl Counted {
    /// Counts the times of the last completions. How long messages have taken so far.
    #[cold]
    pub(crate) fn count(&mut self, going: &mut Going) -> &Latencies {
        let Latencies { wait, handling, whole } = &mut self.latencies;
        for [waited, handled, all] in going.recent.drain(..) {
            wait.add(waited);
            handling.add(handled);
            whole.add(all);
        }
        &self.latencies
    }

    /// A message is turned away.
    pub(crate) fn refused(&mut self, now: Duration) {
        self.shed.add(now);
        let since = self.shedding(now).unwrap_or(now);
        self.shedding = Some((since, now));
    }

    /// Since when messages are turned away, if they are.
    pub(crate) fn shedding(&self, now: Duration) -> Option<Duration> {
        self.shedding.filter(|(_, last)| now.saturating_sub(*last) < SHEDDING).map(|(since, _)| since)
    }
}

/// What a group and its consumers have done so far, see [`ConsumerGroup::metrics`](crate::ConsumerGroup::metrics).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GroupMetrics {
    /// What it is called.
    pub name: Arc<str>,
    /// What it has counted since it was made. `delivered` is `completed`, `failed`, `crashed`, `lost` and what is at consumers
    /// now; a message that was tried more than once counts in each of its deliveries.
    pub totals: GroupTotals,
    /// Messages that ended as dead letters, of whatever kind.
    pub dead_letters: u64,
    /// Of these, those that crashed or failed too often.
    pub poisoned: u64,
    /// Messages that wait for room or for their key.
    pub waiting: usize,
    /// Messages that are in, waiting or not.
    pub in_flight: usize,
    /// Messages a second.
    pub rates: Rates,
    /// From a message's being let in to a handler's first beginning with it; of those that were completed.
    pub wait: LatencyHistogram,
    /// What the handler took that completed the message.
    pub handling: LatencyHistogram,
    /// From a message's being let in to its completion: all waiting, retries and handlers.
    pub whole: LatencyHistogram,
    /// The consumers that are in the group now, in the order in which they joined.
    pub consumers: Vec<ConsumerMetrics>,
}

/// What one consumer has done, across its restarts.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct ConsumerMetrics {
    /// Who.
    pub id: ConsumerId,
    /// Deliveries that were sent to it.
    pub delivered: u64,
    /// Of these, those that it completed.
    pub completed: u64,
    /// Those that it returned an error for.
    pub failed: u64,
    /// Those that are blamed for its end.
    pub crashed: u64,
    /// Those that were lost with it, or taken back, through no fault of theirs.
    pub lost: u64,
    /// Those that are with it now.
    pub in_flight: u32,
    /// Processes that it has had.
    pub starts: u64,
    /// Completions a second.
    pub out: f64,
}

/// The deliveries of one consumer that did not end well, by their ends.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) failed: u64,
    pub(crate) crashed: u64,
    pub(crate) lost: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn classes_follow_each_other_and_are_an_eighth_wide_at_most() {
        let mut next = 0;
        for class in 0..CLASSES {
            let end = end_of(class);
            assert_eq!((class_of(next), class_of(end)), (class, class), "{next}..={end}");
            assert!((end - next) * PARTS <= next.max(PARTS), "{next}..={end}");
            next = end + 1;
        }
        assert_eq!((next, class_of(u64::MAX)), (LONGEST + 1, CLASSES - 1));
    }

    proptest! {
        /// Against the plainest way: sort them all and look.
        #[test]
        fn quantiles_are_those_of_the_sorted_times(
            mut times in prop::collection::vec(0..1u64 << 39, 1..200), part in 0.0..=1.0f64,
        ) {
            let mut histogram = LatencyHistogram::default();
            times.iter().for_each(|nanos| histogram.add(*nanos));
            times.sort_unstable();
            let rank = ((part * times.len() as f64).ceil() as usize).clamp(1, times.len());
            let exact = times[rank - 1];
            let told = u64::try_from(histogram.quantile(part).expect("some").as_nanos()).expect("short");
            prop_assert!(told >= exact && told <= exact + exact / PARTS + 1, "{} for {}", told, exact);
            prop_assert_eq!(histogram.count(), times.len() as u64);
            prop_assert_eq!(histogram.classes().map(|(_, count)| count).sum::<u64>(), histogram.count());
            prop_assert_eq!(histogram.sum().as_nanos(), u128::from(times.iter().sum::<u64>()));
        }
    }

    #[test]
    fn completions_are_counted_when_there_are_many_and_when_somebody_asks() {
        let (mut counted, mut going) = (Counted::default(), Going::default());
        let ns = Duration::from_nanos;
        for done in 1..=1000 {
            let timing = Timing { begun: 5, handled: 7 };
            if going.completed(ns(2), timing, ns(13)) {
                counted.count(&mut going);
            }
            assert!(going.recent.len() < UNCOUNTED);
            if done % 77 == 0 {
                assert_eq!(counted.count(&mut going).whole.count(), done);
            }
        }
        let Latencies { wait, handling, whole } = counted.count(&mut going);
        assert_eq!(
            [wait, handling, whole].map(|times| (times.count(), times.sum())),
            [3, 7, 11].map(|n| (1000, ns(1000 * n)))
        );
    }

    #[test]
    fn a_rate_is_that_of_the_last_second_and_goes_to_nothing() {
        let ms = Duration::from_millis;
        let mut flow = Flow::default();
        (0..1000).for_each(|n| flow.add(ms(5000 + n)));
        assert_eq!(flow.rate(ms(6000)), 1000.0);
        assert_eq!(flow.rate(ms(6500)), 500.0);
        (0..250).for_each(|n| flow.add(ms(6000 + 2 * n)));
        assert_eq!(flow.rate(ms(6500)), 750.0);
        assert_eq!((flow.rate(ms(7750)), flow.rate(ms(8000))), (62.5, 0.0));
        flow.add(ms(20_000));
        assert_eq!(flow.rate(ms(20_000)), 1.0, "what was long ago is forgotten");
    }

    #[test]
    fn a_group_sheds_from_its_first_refusal_until_a_while_after_the_last() {
        let ms = Duration::from_millis;
        let mut counted = Counted::default();
        assert_eq!(counted.shedding(ms(1)), None);
        [1000, 2500, 4000].into_iter().for_each(|at| counted.refused(ms(at)));
        assert_eq!((counted.shedding(ms(5999)), counted.shedding(ms(6000))), (Some(ms(1000)), None));
        counted.refused(ms(7000));
        assert_eq!(counted.shedding(ms(7000)), Some(ms(7000)), "it begins anew");
    }
}
