//! Pure: what happened in a simulation, as a hash, as lines for people, and as a record against which a second run is held.
//!
//! The hash takes in what is the same on every machine: pids, kinds, times, numbers. Texts (reasons, names) stand in the lines
//! only, since they may hold line numbers or names of types.
use crate::chance::mix;
use crate::exit::ExitReason;
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Events whose hashes are kept for the second run; beyond, only the hash of all is held against it.
const RECORDED: usize = 1 << 20;

/// Something that happened. Processes are words of pids; 0 is the body of the test, or a timer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Body,
    Ran(u64),
    Spawned { who: u64, by: u64, name: Option<Arc<str>> },
    Sent { from: u64, to: u64, taken: bool },
    Signalled { to: u64, kind: &'static str },
    Doomed { who: u64, by: u64, kind: &'static str },
    Ended { who: u64, kind: &'static str, reason: Cow<'static, str> },
    Fired(u64),
    Drew(u64),
    HeldBack { from: u64, to: u64 },
    Arrived { from: u64, to: u64 },
    Stalled { who: u64, until: u64 },
    FaultyKill(u64),
    Noted(Arc<str>),
}

impl Event {
    /// What of it is the same on every machine.
    fn digest(&self) -> [u64; 4] {
        match self {
            Self::Body => [1, 0, 0, 0],
            Self::Ran(who) => [2, *who, 0, 0],
            Self::Spawned { who, by, .. } => [3, *who, *by, 0],
            Self::Sent { from, to, taken } => [4, *from, *to, u64::from(*taken)],
            Self::Signalled { to, kind } => [5, *to, text(kind), 0],
            Self::Doomed { who, by, kind } => [6, *who, *by, text(kind)],
            Self::Ended { who, kind, .. } => [7, *who, text(kind), 0],
            Self::Fired(count) => [8, *count, 0, 0],
            Self::Drew(number) => [9, *number, 0, 0],
            Self::HeldBack { from, to } => [10, *from, *to, 0],
            Self::Arrived { from, to } => [11, *from, *to, 0],
            Self::Stalled { who, until } => [12, *who, *until, 0],
            Self::FaultyKill(who) => [13, *who, 0, 0],
            Self::Noted(note) => [14, text(note), 0, 0],
        }
    }
}

fn text(text: &str) -> u64 {
    text.bytes().fold(text.len() as u64, |hash, byte| mix(hash ^ u64::from(byte)))
}

/// The beginning of what it prints: a reason may be as long as it likes.
pub(super) fn shortened(long: &impl fmt::Display) -> String {
    struct Short(String);
    impl fmt::Write for Short {
        fn write_str(&mut self, more: &str) -> fmt::Result {
            const MOST: usize = 200;
            let room = MOST.saturating_sub(self.0.len());
            self.0.extend(more.chars().take(room));
            if room > more.len() { Ok(()) } else { Err(fmt::Error) }
        }
    }
    let mut short = Short(String::new());
    // An error says that it was cut off.
    let _ = fmt::write(&mut short, format_args!("{long}"));
    short.0
}

/// One word for each kind of reason, which is the same however the reason is worded.
pub(super) fn kind_of(reason: &ExitReason) -> &'static str {
    match reason {
        ExitReason::Normal => "normal",
        ExitReason::Shutdown => "shutdown",
        ExitReason::ShutdownWith(_) => "shutdown with",
        ExitReason::Kill => "kill",
        ExitReason::Killed => "killed",
        ExitReason::Panicked(_) => "panicked",
        ExitReason::Error(_) => "error",
        ExitReason::NoProcess => "no process",
        ExitReason::NoConnection => "no connection",
    }
}

/// An event with its number and its time.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    number: u64,
    at: u64,
    event: Event,
}

pub(super) struct Trace {
    hash: u64,
    count: u64,
    last: VecDeque<Entry>,
    keep: usize,
    record: Vec<u32>,
    /// What the first run recorded, if this is the second.
    expected: Option<Vec<u32>>,
    /// Where this run first differed from the first.
    difference: Option<Entry>,
}

impl Trace {
    pub(super) fn new(keep: usize, expected: Option<Vec<u32>>) -> Self {
        let last = VecDeque::new();
        Self { hash: 0, count: 0, last, keep, record: Vec::new(), expected, difference: None }
    }

    pub(super) fn note(&mut self, at: u64, event: Event) {
        let [a, b, c, d] = event.digest();
        self.hash = mix(self.hash ^ a.wrapping_mul(0x100_0193)).wrapping_add(b);
        self.hash = mix(mix(self.hash) ^ c).wrapping_add(mix(d ^ at));
        let number = self.count;
        self.count += 1;
        self.compare(number, at, &event);
        if self.last.len() == self.keep {
            self.last.pop_front();
        }
        if self.keep > 0 {
            self.last.push_back(Entry { number, at, event });
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "half of a hash tells events apart")]
    fn compare(&mut self, number: u64, at: u64, event: &Event) {
        let short = self.hash as u32;
        match &self.expected {
            None if self.record.len() < RECORDED => self.record.push(short),
            None => {}
            Some(expected) => {
                let index = usize::try_from(number).unwrap_or(usize::MAX);
                let same = index >= RECORDED || expected.get(index) == Some(&short);
                if !same && self.difference.is_none() {
                    self.difference = Some(Entry { number, at, event: event.clone() });
                }
            }
        }
    }

    pub(super) fn hash(&self) -> u64 {
        mix(self.hash ^ self.count)
    }

    pub(super) fn take_record(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.record)
    }

    /// The first event that the first run did not have there, and its line.
    pub(super) fn difference(&self) -> Option<(u64, String)> {
        self.difference.as_ref().map(|entry| (entry.number, describe(entry, &BTreeMap::new())))
    }

    pub(super) fn lines(&self) -> Lines {
        Lines { entries: self.last.iter().cloned().collect(), count: self.count }
    }
}

/// The last events of a simulation, a line each: who ran, who sent to whom, who died and why.
///
/// A process is shown by its pid and, once its spawning is among the lines, its name or label. `body` is the body of the
/// test.
#[derive(Clone, Default)]
pub struct Lines {
    entries: Vec<Entry>,
    count: u64,
}

impl Lines {
    /// How many events there were in all, those before the first line included.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.count
    }

    /// The last of them only.
    #[must_use]
    pub fn last(mut self, lines: usize) -> Self {
        let from = self.entries.len().saturating_sub(lines);
        self.entries.drain(..from);
        self
    }

    /// The line of an event, if it is among these.
    pub(super) fn line(&self, number: u64) -> Option<String> {
        let entry = self.entries.iter().find(|entry| entry.number == number)?;
        Some(describe(entry, &BTreeMap::new()))
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lines({} of {} events)", self.entries.len(), self.count)
    }
}

impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = BTreeMap::new();
        if let Some(first) = self.entries.first().filter(|first| first.number > 0) {
            writeln!(f, "({} events before)", first.number)?;
        }
        self.entries.iter().try_for_each(|entry| {
            if let Event::Spawned { who, name: Some(name), .. } = &entry.event {
                names.insert(*who, Arc::clone(name));
            }
            writeln!(f, "{}", describe(entry, &names))
        })
    }
}

fn describe(entry: &Entry, names: &BTreeMap<u64, Arc<str>>) -> String {
    let name = |who: &u64| match (who, names.get(who)) {
        (0, _) => "body".to_owned(),
        (who, None) => format!("{}.{}", who & u64::from(u32::MAX), who >> 32),
        (who, Some(name)) => format!("{}.{} ({name})", who & u64::from(u32::MAX), who >> 32),
    };
    let what = match &entry.event {
        Event::Body => "body runs".to_owned(),
        Event::Ran(who) => format!("{} runs", name(who)),
        Event::Spawned { who, by, .. } => format!("    {} spawned by {}", name(who), name(by)),
        Event::Sent { from, to, taken: true } => format!("    {} sends to {}", name(from), name(to)),
        Event::Sent { from, to, taken: false } => format!("    {} sends to {}, refused", name(from), name(to)),
        Event::Signalled { to, kind } => format!("    {} is told: {kind}", name(to)),
        Event::Doomed { who, by, kind } => format!("    {} is to end: {kind}, by {}", name(who), name(by)),
        Event::Ended { who, reason, .. } => format!("    {} is gone: {reason}", name(who)),
        Event::Fired(count) => format!("{count} timers fire"),
        Event::Drew(number) => format!("    random numbers from {number:x}"),
        Event::HeldBack { from, to } => format!("    from {} to {}: held back", name(from), name(to)),
        Event::Arrived { from, to } => format!("from {} to {}: arrives", name(from), name(to)),
        Event::Stalled { who, until } => {
            format!("fault: {} stalled until {:?}", name(who), Duration::from_nanos(*until))
        }
        Event::FaultyKill(who) => format!("fault: {} killed", name(who)),
        Event::Noted(note) => format!("    note: {note}"),
    };
    format!("{:>6} {:>14} {what}", entry.number, format!("{:?}", Duration::from_nanos(entry.at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traced(events: &[Event], expected: Option<Vec<u32>>) -> Trace {
        let mut trace = Trace::new(10, expected);
        events.iter().for_each(|event| trace.note(7, event.clone()));
        trace
    }

    fn ended(reason: &'static str) -> Event {
        Event::Ended { who: 1 << 32, kind: "error", reason: reason.into() }
    }

    #[test]
    fn every_kind_and_every_number_counts_and_no_text_does() {
        let (a, b, kind) = (1 << 32, 2 << 32, "error");
        let events = [
            Event::Body,
            Event::Ran(a),
            Event::Ran(b),
            Event::Spawned { who: a, by: b, name: None },
            Event::Spawned { who: b, by: a, name: None },
            Event::Sent { from: a, to: b, taken: true },
            Event::Sent { from: a, to: b, taken: false },
            Event::Signalled { to: a, kind },
            Event::Signalled { to: a, kind: "normal" },
            Event::Doomed { who: a, by: b, kind },
            ended("x"),
            Event::Fired(1),
            Event::Drew(1),
            Event::HeldBack { from: a, to: b },
            Event::Arrived { from: a, to: b },
            Event::Stalled { who: a, until: 1 },
            Event::FaultyKill(a),
            Event::Noted("n".into()),
        ];
        let mut hashes: Vec<u64> =
            events.iter().map(|event| traced(std::slice::from_ref(event), None).hash()).collect();
        hashes.push(traced(&[Event::Body, Event::Body], None).hash());
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), events.len() + 1);
        assert_eq!(traced(&[ended("x")], None).hash(), traced(&[ended("y")], None).hash());
    }

    #[test]
    fn the_first_difference_is_found() {
        let first = [Event::Body, Event::Ran(1), Event::Ran(2), Event::Ran(3)];
        let second = [Event::Body, Event::Ran(1), Event::Ran(3), Event::Ran(2)];
        let record = traced(&first, None).take_record();
        assert!(traced(&first, Some(record.clone())).difference().is_none());
        let difference = traced(&second, Some(record.clone())).difference().expect("they differ");
        assert!(difference.0 == 2 && difference.1.ends_with("3.0 runs"), "{difference:?}");
        let longer = [&first[..], &[Event::Body]].concat();
        assert_eq!(traced(&longer, Some(record)).difference().expect("one is longer").0, 4);
    }

    #[test]
    fn the_last_lines_are_kept_with_names() {
        let name = Some("bank".into());
        let mut events = vec![Event::Body; 12];
        events.push(Event::Spawned { who: 1 << 32, by: 0, name });
        events.push(Event::Sent { from: 0, to: 1 << 32, taken: true });
        let lines = traced(&events, None).lines();
        assert_eq!(lines.events(), 14);
        let shown = lines.to_string();
        assert!(shown.starts_with("(4 events before)"), "{shown}");
        assert!(shown.trim_end().ends_with("body sends to 0.1 (bank)"), "{shown}");
        assert_eq!(lines.last(1).to_string().lines().count(), 2);
    }
}
