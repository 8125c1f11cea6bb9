//! Pure: the choices of a simulation: drawn by its seed, noted while they are drawn, or given.
//!
//! A choice is noted by the step in which it is made, what it is about, and how many of that were made before in the step; as a
//! number that is 0 for what is the calmest: the one that has waited longest runs, with its whole budget and in no time, timers
//! wait until nothing else can run, nothing goes wrong. So a few numbers tell a whole run, and a run is made calmer by leaving some
//! of them out. What is noted does not depend on how the seed draws it (by priorities, say).
use crate::chance::Rng;
use std::error::Error;
use std::fmt;
use std::str::FromStr;

/// What a choice is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Who runs: so many have waited for longer; system processes count as such that have.
    Run,
    /// The budget of a poll.
    Budget,
    /// How long a poll takes.
    Time,
    /// Whether timers that are due fire before a process runs.
    Fire,
    /// The order of timers that fire at once.
    Order,
    /// Whether a signal is held back.
    Hold,
    /// Whether one that was arrives before a process runs.
    Arrive,
    /// Which queue of those it is from.
    Queue,
    /// Whether a process is killed.
    Kill,
    /// Whether one is stalled.
    Stall,
    /// For how long.
    Length,
    /// Which one.
    Whom,
}

/// Each with its letter.
const KINDS: [(Kind, char); 12] = [
    (Kind::Run, 'r'),
    (Kind::Budget, 'b'),
    (Kind::Time, 't'),
    (Kind::Fire, 'f'),
    (Kind::Order, 'o'),
    (Kind::Hold, 'h'),
    (Kind::Arrive, 'a'),
    (Kind::Queue, 'q'),
    (Kind::Kill, 'k'),
    (Kind::Stall, 's'),
    (Kind::Length, 'l'),
    (Kind::Whom, 'w'),
];

/// One that is not the calmest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Choice {
    step: u64,
    pub(super) kind: Kind,
    /// How many of its kind were made in the step before.
    nth: u32,
    value: u64,
}

/// The choices of a simulation that differ from the calmest: what [`Simulation::shrink`](crate::Simulation::shrink) finds, and
/// [`Simulation::choices`](crate::Simulation::choices) repeats.
///
/// It is written as a list such as `3r1,12b2`: in step 3 the second of those that could run runs, in step 12 a poll gets the third of
/// the budgets there are. `docs/simulation.md` has all the letters.
///
/// # Examples
///
/// ```
/// use colloquium_runtime::simulation::Choices;
///
/// let choices: Choices = "3r1,12b2".parse()?;
/// assert_eq!((choices.len(), choices.to_string().as_str()), (2, "3r1,12b2"));
/// assert!("3r".parse::<Choices>().is_err());
/// # Ok::<(), colloquium_runtime::simulation::NotChoices>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices(Vec<Choice>);

impl Choices {
    /// In the order in which they are made.
    pub(super) fn new(mut all: Vec<Choice>) -> Self {
        all.sort_unstable();
        all.dedup_by_key(|choice| choice.key());
        Self(all)
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none: the calmest run.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn as_slice(&self) -> &[Choice] {
        &self.0
    }
}

impl Choice {
    fn key(&self) -> (u64, Kind, u32) {
        (self.step, self.kind, self.nth)
    }

    #[cfg(test)]
    pub(super) fn of(step: u64, kind: Kind) -> Self {
        Self { step, kind, nth: 0, value: 1 }
    }
}

impl fmt::Display for Choices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, Choice { step, kind, nth, value }) in self.0.iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            let letter = KINDS.iter().find(|(other, _)| other == kind).map_or(' ', |(_, letter)| *letter);
            write!(f, "{comma}{step}{letter}")?;
            if *nth > 0 {
                write!(f, "{nth}.")?;
            }
            write!(f, "{value}")?;
        }
        Ok(())
    }
}

/// A text is no list of [`Choices`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotChoices {
    /// The part that is none.
    pub part: String,
}

impl fmt::Display for NotChoices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no choice of a simulation", self.part)
    }
}

impl Error for NotChoices {}

impl FromStr for Choices {
    type Err = NotChoices;

    fn from_str(text: &str) -> Result<Self, NotChoices> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let choice = |part: &str| parse(part).ok_or_else(|| NotChoices { part: part.to_owned() });
        Ok(Self::new(parts.map(choice).collect::<Result<_, _>>()?))
    }
}

fn parse(part: &str) -> Option<Choice> {
    let at = part.find(|c: char| c.is_ascii_lowercase())?;
    let (step, rest) = (part.get(..at)?, part.get(at + 1..)?);
    let kind = KINDS.iter().find(|(_, letter)| part[at..].starts_with(*letter))?.0;
    let (nth, value) = rest.split_once('.').unwrap_or(("0", rest));
    Some(Choice { step: step.parse().ok()?, kind, nth: nth.parse().ok()?, value: value.parse().ok()? })
}

/// How a run comes to its choices.
#[derive(Clone, Debug)]
pub(super) enum How {
    Drawn,
    /// Drawn, and noted.
    Noted,
    Given(Choices),
}

/// Makes the choices of a run.
pub(super) struct Chooser {
    rng: Rng,
    how: How,
    step: u64,
    /// Of each kind, how many were made in this step.
    made: [u32; KINDS.len()],
    taken: Vec<Choice>,
}

impl Chooser {
    pub(super) fn new(rng: Rng, how: How) -> Self {
        Self { rng, how, step: 0, made: [0; KINDS.len()], taken: Vec::new() }
    }

    /// The next step begins.
    pub(super) fn begin(&mut self, step: u64) {
        self.step = step;
        if !matches!(self.how, How::Drawn) {
            self.made = [0; KINDS.len()];
        }
    }

    pub(super) fn is_given(&self) -> bool {
        matches!(self.how, How::Given(_))
    }

    pub(super) fn is_noted(&self) -> bool {
        matches!(self.how, How::Noted)
    }

    /// The seed's numbers, for what the choices do not depend on if they are given.
    pub(super) fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// Those that were made and are not the calmest, unless they were drawn only.
    pub(super) fn take(&mut self) -> Choices {
        Choices::new(std::mem::take(&mut self.taken))
    }

    pub(super) fn note(&mut self, kind: Kind, value: u64) {
        let made = &mut self.made[kind as usize];
        if value > 0 {
            self.taken.push(Choice { step: self.step, kind, nth: *made, value });
        }
        *made += 1;
    }

    /// What is given for the next choice of this kind.
    fn given(&self, kind: Kind) -> Option<u64> {
        let How::Given(Choices(all)) = &self.how else { return None };
        let key = (self.step, kind, self.made[kind as usize]);
        Some(all.binary_search_by_key(&key, Choice::key).map_or(0, |at| all[at].value))
    }

    /// A number below `bound`, which is not noted if there is one only.
    #[inline]
    pub(super) fn below(&mut self, kind: Kind, bound: u64) -> u64 {
        if bound < 2 {
            return 0;
        }
        if matches!(self.how, How::Drawn) {
            return self.rng.below(bound);
        }
        let value = self.given(kind).unwrap_or_else(|| self.rng.below(bound)).min(bound - 1);
        self.note(kind, value);
        value
    }

    /// A place in a slice of so many.
    #[inline]
    pub(super) fn place(&mut self, kind: Kind, len: usize) -> usize {
        usize::try_from(self.below(kind, len as u64)).expect("below a usize")
    }

    /// The one there is, counted as a choice of its kind.
    pub(super) fn only(&mut self, kind: Kind) -> usize {
        self.note(kind, 0);
        0
    }

    /// True one time in so many.
    #[inline]
    pub(super) fn chance(&mut self, kind: Kind, one_in: u64) -> bool {
        if one_in < 2 {
            return true;
        }
        if matches!(self.how, How::Drawn) {
            return self.rng.chance(1, one_in);
        }
        let holds = self.given(kind).map_or_else(|| self.rng.chance(1, one_in), |value| value > 0);
        self.note(kind, u64::from(holds));
        holds
    }

    /// Any order; the calmest is the one in which they are.
    pub(super) fn shuffle<T>(&mut self, kind: Kind, all: &mut [T]) {
        if matches!(self.how, How::Drawn) {
            return self.rng.shuffle(all);
        }
        for end in (2..=all.len()).rev() {
            let last = end as u64 - 1;
            let back = self.given(kind).unwrap_or_else(|| last - self.rng.below(end as u64)).min(last);
            self.note(kind, back);
            all.swap(end - 1, end - 1 - usize::try_from(back).expect("below a usize"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some choices of each kind, in two steps.
    fn run(how: How) -> (Vec<u64>, Choices) {
        let mut chooser = Chooser::new(Rng::from_seed(3), how);
        let mut made = Vec::new();
        for step in [4, 9] {
            chooser.begin(step);
            made.extend((0..5).map(|_| chooser.below(Kind::Time, 3)));
            made.extend((0..5).map(|_| u64::from(chooser.chance(Kind::Fire, 2))));
            made.extend([chooser.below(Kind::Whom, 1), u64::from(chooser.chance(Kind::Kill, 1))]);
            let mut order = [0, 1, 2, 3];
            chooser.shuffle(Kind::Order, &mut order);
            made.extend(order);
        }
        (made, chooser.take())
    }

    #[test]
    fn what_is_noted_is_what_is_drawn_and_given_again_comes_again() {
        let (drawn, none) = run(How::Drawn);
        assert!(none.is_empty());
        let (noted, choices) = run(How::Noted);
        assert_eq!(noted, drawn);
        let read: Choices = choices.to_string().parse().expect("its own text");
        assert_eq!(read, choices);
        assert_eq!(run(How::Given(read)), (drawn, choices));
    }

    #[test]
    fn nothing_given_is_the_calmest() {
        let calm = [vec![0; 10], vec![0, 1], vec![0, 1, 2, 3]].concat();
        assert_eq!(run(How::Given(Choices::default())), ([calm.clone(), calm].concat(), Choices::default()));
    }

    #[test]
    fn what_is_given_for_what_is_not_asked_is_left_out_and_too_much_is_made_less() {
        let (made, taken) = run(How::Given("4t1.9,4r7,5t1,9k1,9f1".parse().expect("choices")));
        assert_eq!((made[1], made[21]), (2, 1));
        assert_eq!(taken.to_string(), "4t1.2,9f1");
    }

    #[test]
    fn what_is_no_list_of_choices_is_told() {
        for text in ["3", "r1", "3r", "3x1", "3r1,,4", "3r1.", "3r-1", "é3r1", "3é1"] {
            assert!(text.parse::<Choices>().is_err(), "{text}");
        }
        assert_eq!(" 3r1 , 2b2.1,".parse::<Choices>().expect("spaces").to_string(), "2b2.1,3r1");
        assert_eq!("3r1,x".parse::<Choices>(), Err(NotChoices { part: "x".to_owned() }));
    }
}
