//! Pure: how eagerly workers without work take from the others: tried both ways, and judged by what gets done.
//!
//! Whether it pays to move a woken process to another core cannot be told by looking at it: for a hundred that hand messages on to each
//! other by themselves it does; where one sends to a few and waits for their answers, each move costs more than it brings. So where
//! processes are stolen often, a trial is made: for some milliseconds one and the other manner take turns, and what gets done meanwhile
//! (reductions of all workers together) decides for the next while (decision 0084).
use crate::clock::nanos;
use crate::limits::{
    EPOCH, LOOK, OFTEN, PATIENT_LOOK, PATIENT_STUCK, PAYS_PERCENT, REST, REST_LONGEST, STUCK, TUNED, WOKEN_PATIENCE,
    WOKEN_PATIENCE_LONG,
};
use std::time::Duration;

/// How a worker without work goes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// What the others have is taken at sight, but by who has just taken some.
    Eager,
    /// Who has taken some leaves the others alone for longer.
    Patient,
}

impl Manner {
    /// How long who has taken some takes no more.
    pub(crate) fn patience(self) -> Duration {
        if self == Self::Eager { WOKEN_PATIENCE } else { WOKEN_PATIENCE_LONG }
    }

    /// How long a poll may last before what is in that worker's LIFO slot is taken.
    pub(crate) fn stuck(self) -> Duration {
        if self == Self::Eager { STUCK } else { PATIENT_STUCK }
    }

    /// The time between two looks at what is mostly left to the others.
    pub(crate) fn look(self) -> Duration {
        if self == Self::Eager { LOOK } else { PATIENT_LOOK }
    }
}

/// What all workers have done by some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) reductions: u64,
    pub(crate) steals: u64,
}

/// The turns of a trial: so that what grows or falls meanwhile counts for both alike.
const TURNS: [Manner; 8] = [
    Manner::Patient,
    Manner::Eager,
    Manner::Eager,
    Manner::Patient,
    Manner::Eager,
    Manner::Patient,
    Manner::Patient,
    Manner::Eager,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Eager; no trial before that moment.
    Waits(u64),
    /// The turn of a trial, and what was done in a second so far with either manner.
    Tries { turn: usize, patient: u64, eager: u64 },
    /// Patient, until the next trial.
    Patient,
}

#[derive(Debug)]
pub(crate) struct Tuning {
    phase: Phase,
    /// When the present epoch began, and what had been done by then.
    since: u64,
    done: Done,
    /// How long no trial is made after one that has changed nothing.
    rest: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { phase: Phase::Waits(0), since: 0, done: Done::default(), rest: REST }
    }
}

impl Tuning {
    /// An epoch is over: the manner of the next, and when that is to end.
    pub(crate) fn step(&mut self, now: u64, done: Done) -> (Manner, u64) {
        let elapsed = now.saturating_sub(self.since).max(1);
        let reductions = done.reductions.wrapping_sub(self.done.reductions);
        let steals = done.steals.wrapping_sub(self.done.steals);
        (self.since, self.done) = (now, done);
        let rate = reductions.saturating_mul(nanos(Duration::from_secs(1))) / elapsed;
        let begins = Phase::Tries { turn: 0, patient: 0, eager: 0 };
        self.phase = match self.phase {
            Phase::Waits(until) if now >= until && elapsed < nanos(4 * EPOCH) && steals > elapsed / nanos(OFTEN) => {
                begins
            }
            Phase::Waits(until) => Phase::Waits(until),
            // Nobody was awake to end it: what was done in it says nothing.
            Phase::Tries { .. } | Phase::Patient if elapsed > nanos(2 * TUNED) => Phase::Waits(now),
            Phase::Tries { .. } if elapsed > nanos(4 * EPOCH) => Phase::Waits(now.saturating_add(nanos(self.rest))),
            Phase::Tries { turn, mut patient, mut eager } => {
                match TURNS[turn] {
                    Manner::Patient => patient = patient.saturating_add(rate),
                    Manner::Eager => eager = eager.saturating_add(rate),
                }
                if turn + 1 < TURNS.len() {
                    Phase::Tries { turn: turn + 1, patient, eager }
                } else {
                    self.judge(now, patient, eager)
                }
            }
            Phase::Patient => begins,
        };
        match self.phase {
            Phase::Waits(_) => (Manner::Eager, now.saturating_add(nanos(2 * EPOCH))),
            Phase::Tries { turn, .. } => (TURNS[turn], now.saturating_add(nanos(EPOCH))),
            Phase::Patient => (Manner::Patient, now.saturating_add(nanos(TUNED))),
        }
    }

    fn judge(&mut self, now: u64, patient: u64, eager: u64) -> Phase {
        if u128::from(patient) * 100 > u128::from(eager) * u128::from(100 + PAYS_PERCENT) {
            self.rest = REST;
            return Phase::Patient;
        }
        let until = now.saturating_add(nanos(self.rest));
        self.rest = (2 * self.rest).min(REST_LONGEST);
        Phase::Waits(until)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Workers that do so much in a second with either manner, and steal so often.
    struct World {
        tuning: Tuning,
        now: u64,
        done: Done,
        manner: Manner,
        due: u64,
    }

    impl World {
        fn new() -> Self {
            Self { tuning: Tuning::default(), now: 0, done: Done::default(), manner: Manner::Eager, due: 0 }
        }

        /// Ticks every 100 µs for so long; the part of the time that went by with patience.
        fn runs(&mut self, time: Duration, patient: u64, eager: u64, steals_each_tick: u64) -> f64 {
            let (tick, mut patiently, ticks) = (100_000, 0, nanos(time) / 100_000);
            for _ in 0..ticks {
                self.now += tick;
                let rate = if self.manner == Manner::Patient { patient } else { eager };
                self.done.reductions += rate * tick / 1_000_000_000;
                self.done.steals += steals_each_tick;
                patiently += u64::from(self.manner == Manner::Patient);
                if self.now >= self.due {
                    (self.manner, self.due) = self.tuning.step(self.now, self.done);
                    assert!(self.due > self.now && self.due <= self.now + nanos(TUNED));
                }
            }
            patiently as f64 / ticks as f64
        }
    }

    #[test]
    fn where_nothing_is_stolen_nothing_is_tried() {
        let mut world = World::new();
        let patiently = world.runs(Duration::from_secs(10), 2_000_000, 1_000_000, 1);
        assert!(patiently < 1e-9, "{patiently}");
    }

    #[test]
    fn patience_is_kept_where_more_gets_done_with_it_and_tried_ever_less_where_not() {
        for (patient, eager, expected) in [
            (20_000_000, 10_000_000, 0.92..1.0),
            (11_000_000, 10_000_000, 0.92..1.0),
            (10_500_000, 10_000_000, 0.0..0.01),
            (10_000_000, 10_000_000, 0.0..0.01),
            (5_000_000, 10_000_000, 0.0..0.01),
            (0, 0, 0.0..0.01),
        ] {
            let mut world = World::new();
            world.runs(Duration::from_secs(5), patient, eager, 10);
            let patiently = world.runs(Duration::from_secs(20), patient, eager, 10);
            assert!(expected.contains(&patiently), "{patient} against {eager}: patient for {patiently} of the time");
        }
    }

    /// What grows all the time, and what is done at moments that have nothing to do with the turns, is held for no one's.
    #[test]
    fn what_changes_by_itself_counts_for_both() {
        let mut world = World::new();
        let mut patiently = 0.0;
        for step in 0..2000 {
            let rate = 1_000_000 + 2_000 * step;
            patiently += world.runs(Duration::from_millis(2), rate, rate, 10) / 2000.0;
        }
        assert!(patiently < 0.05, "{patiently}");
    }

    #[test]
    fn when_the_load_changes_so_does_the_manner() {
        let mut world = World::new();
        world.runs(Duration::from_secs(1), 20_000_000, 10_000_000, 10);
        assert_eq!(world.manner, Manner::Patient);
        let patiently = world.runs(Duration::from_secs(1), 10_000_000, 20_000_000, 10);
        assert!(patiently < 0.25, "{patiently}");
        // Within the longest rest.
        world.runs(REST_LONGEST, 20_000_000, 10_000_000, 10);
        let patiently = world.runs(Duration::from_secs(1), 20_000_000, 10_000_000, 10);
        assert!(patiently > 0.9, "{patiently}");
    }

    #[test]
    fn what_was_found_before_all_slept_is_forgotten() {
        let mut world = World::new();
        world.runs(Duration::from_secs(1), 20_000_000, 10_000_000, 10);
        assert_eq!(world.manner, Manner::Patient);
        world.now += nanos(Duration::from_secs(60));
        world.runs(Duration::from_millis(1), 0, 0, 0);
        assert_eq!(world.manner, Manner::Eager);
        let patiently = world.runs(Duration::from_secs(1), 0, 0, 0);
        assert!(patiently < 1e-9, "{patiently}");
    }

    /// Ticks may come late: a turn that has lasted too long for what it is says nothing.
    #[test]
    fn a_trial_that_was_interrupted_is_given_up() {
        let mut tuning = Tuning::default();
        let (mut now, mut done) = (nanos(EPOCH), Done { reductions: 1000, steals: 1000 });
        assert_eq!(tuning.step(now, done).0, TURNS[0]);
        now += nanos(5 * EPOCH);
        done.reductions += 1_000_000;
        assert_eq!(tuning.step(now, done).0, Manner::Eager);
        done.steals += 1000;
        assert_eq!(tuning.step(now + nanos(EPOCH), done).0, Manner::Eager, "and not begun anew at once");
    }
}
