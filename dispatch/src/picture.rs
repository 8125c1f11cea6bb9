//! Pure: a group as a dump shows it: what was seen of it in passing, and what is said of that.
use crate::limits::GIVE_UP_AFTER;
use crate::metrics::Rates;
use crate::outcome::DispatchErrorKind;
use crate::view::ConsumerId;
use colloquium_runtime::Pid;
use colloquium_supervisor::tree::{Annotation, Attention, Next, Node, Severity, Shown, State, age, number};
use std::fmt;
use std::time::Duration;

/// A handler goes on so long after its dispatch has ended before it counts as stuck: most that are cancelled end sooner.
const SLOW: Duration = Duration::from_secs(1);
/// Where waiting times are divided in the summary of conversations, in seconds.
pub(crate) const CLASSES: [u64; 3] = [1, 2, 5];

/// The group as a whole, but for its consumers and messages.
#[derive(Clone, Debug)]
pub(crate) struct GroupPart {
    pub(crate) rates: Rates,
    /// Since when it turns messages away, if it does.
    pub(crate) shedding: Option<Duration>,
    pub(crate) waiting: usize,
    pub(crate) most_waiting: usize,
    /// Since when the oldest waits for room.
    pub(crate) oldest: Option<Duration>,
    pub(crate) max_wait: Duration,
    pub(crate) messages: usize,
    pub(crate) crashed: u64,
    /// Since when the breaker is open, if it is.
    pub(crate) breaker: Option<Duration>,
    pub(crate) paused: bool,
    pub(crate) closing: bool,
    pub(crate) usable: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct ConsumerPart {
    pub(crate) id: ConsumerId,
    pub(crate) up: bool,
    pub(crate) started: u32,
    pub(crate) taken: u32,
    pub(crate) half_open: bool,
    /// From when to when.
    pub(crate) ejected: Option<(Duration, Duration)>,
    /// Since when.
    pub(crate) failed: Option<Duration>,
    pub(crate) stuck: bool,
    pub(crate) leaving: bool,
    pub(crate) back_off: Option<(Duration, Duration)>,
    /// Failures in a row that are charged to it.
    pub(crate) charged: u32,
    /// Processes that it has had.
    pub(crate) starts: u64,
}

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spot {
    /// With its conversation, before or between deliveries.
    Between,
    /// Waiting for its key.
    Key,
    /// Waiting for room.
    Room,
    Out(ConsumerId),
}

/// A message as it is seen in the yard.
pub(crate) struct Seen<'a, T> {
    pub(crate) id: u64,
    pub(crate) key: Option<u64>,
    pub(crate) since: Duration,
    pub(crate) again: u32,
    pub(crate) spot: Spot,
    pub(crate) ticket: &'a T,
}

/// A message as it is seen in its record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Glimpse {
    pub(crate) conversation: Option<Pid>,
    pub(crate) tries: u32,
    /// When the last delivery was begun with.
    pub(crate) begun: Option<Duration>,
    pub(crate) started: bool,
    /// What the caller was told, if it was a failure.
    pub(crate) told: Option<DispatchErrorKind>,
    pub(crate) overdue: bool,
    pub(crate) limit: Option<Duration>,
    /// Its handler has work on a thread for such.
    pub(crate) blocking: bool,
}

/// A message that a consumer has.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) id: u64,
    pub(crate) key: Option<u64>,
    pub(crate) seen: Glimpse,
}

/// A consumer that is shown.
#[derive(Clone, Debug)]
pub(crate) struct ConsumerPicture {
    pub(crate) part: ConsumerPart,
    /// What it has begun with.
    pub(crate) held: Vec<Held>,
}

/// A conversation that is shown.
#[derive(Clone, Debug)]
pub(crate) struct Talk {
    pub(crate) pid: Pid,
    pub(crate) id: u64,
    pub(crate) key: Option<u64>,
    pub(crate) since: Duration,
    pub(crate) tries: u32,
    pub(crate) spot: Spot,
    /// The consumer and the message that have its key.
    pub(crate) behind: Option<(ConsumerId, u64)>,
}

/// All conversations, in numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Crowd {
    pub(crate) started: usize,
    pub(crate) queued: usize,
    /// Those that were tried before.
    pub(crate) again: usize,
    /// Of those that wait, by how long: below each of [`CLASSES`], and above.
    pub(crate) ages: [usize; CLASSES.len() + 1],
    /// The keys of those that wait, and the one that most wait for.
    pub(crate) keys: usize,
    pub(crate) most: Option<(u64, usize)>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Letters {
    pub(crate) kept: usize,
    pub(crate) most: usize,
    /// Of the last five minutes.
    pub(crate) new: usize,
    pub(crate) total: u64,
    pub(crate) bytes: usize,
}

/// The processes by which a group stands in the tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    pub(crate) group: Pid,
    pub(crate) consumers: Option<Pid>,
    pub(crate) conversations: Option<Pid>,
}

/// A group as it was seen.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    pub(crate) name: String,
    pub(crate) now: Duration,
    pub(crate) cancel_grace: Duration,
    pub(crate) kill_patience: Duration,
    pub(crate) group: GroupPart,
    pub(crate) total: usize,
    pub(crate) consumers: Vec<ConsumerPicture>,
    pub(crate) crowd: Crowd,
    pub(crate) talks: Vec<Talk>,
    pub(crate) letters: Letters,
    pub(crate) blames: Vec<(Pid, Charge)>,
}

/// What is said of a process whose end a message is blamed for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charge {
    pub(crate) message: u64,
    /// So many ends are that message's.
    pub(crate) times: u32,
    pub(crate) poisoned: bool,
}

impl fmt::Display for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message, times, poisoned } = self;
        write!(f, "blamed {message}, {times}")?;
        f.write_str(match times {
            1 => "st",
            2 => "nd",
            3 => "rd",
            _ => "th",
        })?;
        f.write_str(if *poisoned { ": POISONED" } else { "" })
    }
}

/// Keys are shown by a part of their hash.
fn key_of(key: u64) -> String {
    format!("key={:06x}", key >> 40)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn written(time: Duration) -> String {
    age(millis(time))
}

fn count(number_of: usize) -> String {
    number(number_of as u64)
}

impl Picture {
    pub(crate) fn show(&self, places: Places) -> Shown {
        let mut shown = self.group(places.group, Shown::new());
        if let Some(consumers) = places.consumers {
            for consumer in &self.consumers {
                shown = self.consumer(consumers, consumer, shown);
            }
        }
        if let Some(conversations) = places.conversations {
            shown = self.conversations(conversations, shown);
        }
        let Letters { kept, most, new, total, bytes } = self.letters;
        let mut note = format!("{} new in 5m, {} of {}", count(new), count(kept), count(most));
        if total > kept as u64 {
            note += &format!(", {} ever", number(total));
        }
        if bytes >= 1 << 20 {
            note += &format!(", {} MiB", bytes >> 20);
        }
        shown = shown.below(places.group, Node::new("dead letters").note(note));
        for (pid, charge) in &self.blames {
            shown = shown.blame(*pid, charge.to_string());
        }
        shown
    }

    fn ago(&self, moment: Duration) -> Duration {
        self.now.saturating_sub(moment)
    }

    /// The group's own line, and what is wrong with it as a whole.
    fn group(&self, pid: Pid, mut shown: Shown) -> Shown {
        let group = &self.group;
        let Rates { into, out, shed } = group.rates;
        let mut note = format!("{into:.0}/s in {out:.0}/s out {shed:.0}/s shed");
        if group.paused {
            note += ", paused";
        }
        let mut said = Annotation::new().kind("consumer group").note(note);
        if group.crashed > 0 {
            said = said.restarts(format!("{} blamed", number(group.crashed)));
        }
        let full = group.waiting >= group.most_waiting;
        let tell = |severity, state, text| Attention::new(severity, self.name.clone(), state, text).of(pid);
        if full || group.shedding.is_some() {
            let since = group.shedding.or(group.oldest).map(|since| millis(self.ago(since)));
            said = said.state(State::Overloaded, since);
            let text = format!("{}; shedding {shed:.0}/s; {} of {} usable", self.waiting(), group.usable, self.total);
            shown = shown.attention_at(pid, None, aged(tell(Severity::Warning, State::Overloaded, text), since));
        }
        if let Some(since) = group.breaker {
            let since = Some(millis(self.ago(since)));
            said = said.state(State::BackOff, since);
            let text = "breaker open: half of the last deliveries crashed, whatever they were; one probe at a time, and the \
                        first that does not crash closes it";
            shown = shown.attention_at(pid, None, aged(tell(Severity::Error, State::BackOff, text.to_owned()), since));
        }
        if group.usable == 0 && self.total > 0 && group.messages > 0 && !group.closing {
            let text = format!("none of {} consumers takes anything; {}", self.total, self.waiting());
            shown = shown.attention_at(pid, None, tell(Severity::Error, State::Waiting, text));
        }
        if group.paused && group.waiting > 0 {
            let text = format!("paused; {}; nothing goes out until it is resumed", self.waiting());
            shown = shown.attention_at(pid, None, tell(Severity::Warning, State::Waiting, text));
        }
        if group.closing {
            said = said.state(State::Draining, None);
        }
        shown.annotate(pid, said)
    }

    fn waiting(&self) -> String {
        let group = &self.group;
        let mut text = format!("waiting {} of {}", count(group.waiting), count(group.most_waiting));
        if let Some(oldest) = group.oldest {
            text += &format!(", oldest {} of {}", written(self.ago(oldest)), written(group.max_wait));
        }
        text
    }

    /// When the caller of a message that is held was told, if it was.
    fn told_at(&self, held: &Held) -> Option<Duration> {
        let limit = held.seen.limit.filter(|_| held.seen.told.is_some())?;
        let killed = if held.seen.overdue { self.kill_patience } else { Duration::ZERO };
        Some(limit.saturating_sub(killed).saturating_sub(self.cancel_grace))
    }

    /// The message that a consumer is stuck with, if it is.
    fn stuck<'a>(&self, consumer: &'a ConsumerPicture) -> Option<&'a Held> {
        let slow = |held: &&Held| {
            held.seen.overdue || self.told_at(held).is_some_and(|at| self.ago(at) >= SLOW) || consumer.part.stuck
        };
        consumer.held.iter().find(slow)
    }

    fn consumer(&self, above: Pid, consumer: &ConsumerPicture, shown: Shown) -> Shown {
        let (part, id) = (&consumer.part, consumer.part.id.to_string());
        let mut said = Annotation::new().restarts(number(part.starts.saturating_sub(1)));
        let mut notes: Vec<String> = consumer.held.iter().map(held_note).collect();
        let queued = part.taken.saturating_sub(part.started);
        if queued > 0 {
            notes.push(format!("{queued} queued"));
        }
        for (holds, word) in [(part.half_open && part.up, "half-open"), (part.leaving, "leaving")] {
            if holds {
                notes.push(word.to_owned());
            }
        }
        let tell = |severity, state, text| Attention::new(severity, format!("{}/{id}", self.name), state, text);
        let mut attention = None;
        if let Some(since) = part.failed {
            let since = Some(millis(self.ago(since)));
            said = said.state(State::Failed, since);
            let text =
                format!("given up after {} failed starts in a row; nothing more happens by itself", part.charged);
            attention = Some(aged(tell(Severity::Error, State::Failed, text), since));
        } else if let Some(held) = self.stuck(consumer) {
            let since = held.seen.begun.map(|begun| millis(self.ago(begun)));
            let left = held.seen.limit.map(|limit| millis(limit.saturating_sub(self.now)));
            said = said.state(State::Stuck, since);
            let next = match left {
                Some(in_ms) if held.seen.overdue => {
                    Some((Next::GiveUp { in_ms }, format!("killed, wedged in {}", age(in_ms))))
                }
                Some(in_ms) => Some((Next::Kill { in_ms }, format!("kill in {}", age(in_ms)))),
                None => None,
            };
            let mut text = self.stuck_text(held);
            if let Some((next, in_words)) = next {
                said = said.next(next);
                text += &format!("; {in_words}");
            }
            attention = Some(aged(tell(Severity::Error, State::Stuck, text), since));
        } else if let Some((since, until)) = part.back_off {
            let (since, in_ms) = (Some(millis(self.ago(since))), millis(until.saturating_sub(self.now)));
            said = said.state(State::BackOff, since).next(Next::Start { in_ms });
            said = said.restarts(format!("{} of {GIVE_UP_AFTER}", part.charged));
            let text = format!("start {} of {GIVE_UP_AFTER} in {}", part.charged + 1, age(in_ms));
            attention = Some(aged(tell(Severity::Error, State::BackOff, text), since));
        } else if let Some((since, until)) = part.ejected {
            let left = written(until.saturating_sub(self.now));
            notes.push(format!("ejected for {left}"));
            let text = format!("ejected, since it failed often in a row; gets one message in {left}");
            let since = Some(millis(self.ago(since)));
            said = said.state(State::BackOff, since);
            attention = Some(aged(tell(Severity::Warning, State::BackOff, text), since));
        } else if part.started > 0 {
            let begun = consumer.held.iter().filter_map(|held| held.seen.begun).min();
            said = said.state(State::Busy, begun.map(|begun| millis(self.ago(begun))));
        }
        if !notes.is_empty() {
            said = said.note(notes.join(", "));
        }
        let shown = shown.annotate_child(above, id.clone(), said);
        match attention {
            Some(attention) => shown.attention_at(above, Some(&id), attention),
            None => shown,
        }
    }

    fn stuck_text(&self, held: &Held) -> String {
        let mut text = held.id.to_string();
        if let Some(key) = held.key {
            text += &format!(" {}", key_of(key));
        }
        text += &format!(" try {}", held.seen.tries);
        if let (Some(told), Some(at)) = (held.seen.told, self.told_at(held)) {
            text += &format!("; caller told {told:?} {} ago", written(self.ago(at)));
        }
        text
    }

    fn conversations(&self, pid: Pid, mut shown: Shown) -> Shown {
        let (crowd, group) = (&self.crowd, &self.group);
        let mut note = format!("{} started, {} waiting", count(crowd.started), count(group.waiting));
        if crowd.queued > 0 {
            note += &format!(", {} queued", count(crowd.queued));
        }
        shown = shown.annotate(pid, Annotation::new().kind(count(group.messages)).note(note));
        let mut rest = Vec::new();
        if crowd.again > 0 {
            rest.push(format!("{} on try 2 or more", count(crowd.again)));
        }
        let mut below = String::new();
        for (at, waiting) in crowd.ages.iter().enumerate() {
            let class = match (at.checked_sub(1).map(|last| CLASSES[last]), CLASSES.get(at)) {
                (None, Some(to)) => format!("<{to}s"),
                (Some(from), Some(to)) => format!("{from}-{to}s"),
                (from, None) => format!(">{}s", from.unwrap_or_default()),
            };
            if *waiting > 0 {
                below += &format!("{}{class} {}", if below.is_empty() { "waiting " } else { ", " }, count(*waiting));
            }
        }
        rest.extend((!below.is_empty()).then_some(below));
        if let Some((key, waiting)) = crowd.most {
            rest.push(format!("{} keys, most waiting: {} ({})", count(crowd.keys), key_of(key), count(waiting)));
        }
        // Their processes have mostly never been polled, so that these say nothing.
        shown = shown.rest(pid, rest.join("; "));
        for talk in &self.talks {
            let mut said = Annotation::new().id(talk.id.to_string()).restarts(format!("try {}", talk.tries));
            said = said.state(State::Waiting, Some(millis(self.ago(talk.since))));
            if let Some(key) = talk.key {
                said = said.kind(key_of(key));
            }
            let note = match (talk.spot, talk.behind) {
                (Spot::Key, Some((consumer, message))) => format!("key held by {consumer} ({message})"),
                (Spot::Key, None) => "waits for its key".to_owned(),
                (Spot::Room, _) => "waits for room".to_owned(),
                (Spot::Between | Spot::Out(_), _) => "between two tries".to_owned(),
            };
            shown = shown.annotate(talk.pid, said.note(note));
        }
        shown
    }
}

fn held_note(held: &Held) -> String {
    let pool = if held.seen.blocking { ", blocking pool" } else { "" };
    format!("{} try {}{pool}", held.id, held.seen.tries)
}

fn aged(attention: Attention, since: Option<u64>) -> Attention {
    match since {
        Some(since) => attention.since(since),
        None => attention,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blame_is_told_with_its_number() {
        let note = |times, poisoned| Charge { message: 7, times, poisoned }.to_string();
        assert_eq!(note(1, false), "blamed 7, 1st");
        assert_eq!(
            [2, 3, 4].map(|times| note(times, true)),
            ["blamed 7, 2nd: POISONED", "blamed 7, 3rd: POISONED", "blamed 7, 4th: POISONED"]
        );
        assert_eq!(key_of(u64::MAX), "key=ffffff");
        assert_eq!(key_of(0), "key=000000");
    }
}
