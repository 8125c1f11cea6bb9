//! Pure: how it stands with a process by what was seen of it, and what of that somebody should look at.
use crate::snapshot::{ChildState, SupervisorState};
use crate::tree::data::{Attention, Awaited, Doing, Mail, Next, Node, Reason, Restarts, RuntimeHealth, Severity};
use crate::tree::format::{age, limit, number, period};
use crate::tree::word::State;
use std::cmp::Reverse;

/// A poll that has lasted for so long holds up its worker: the runtime's own limit for a warning.
pub(crate) const STUCK_MS: u64 = 250;
/// Starting, stopping, restarting and waiting in a mailbox are ordinary for so long.
pub(crate) const SLOW_MS: u64 = 1000;
/// The path of what is wrong with the runtime as a whole.
const RUNTIME: &str = "runtime";
/// Fewer messages than this are no overload, however small the mailbox.
const FEW: usize = 16;

/// What was seen of a process in passing.
#[derive(Clone, Debug)]
pub(crate) struct Glance {
    pub(crate) doomed: bool,
    pub(crate) polled_ms: Option<u64>,
    /// `None` if it could not be read.
    pub(crate) inside: Option<Inside>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Inside {
    pub(crate) activity: Activity,
    pub(crate) mail: Mail,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    Receives {
        for_ms: u64,
    },
    Calls,
    Blocks {
        for_ms: u64,
    },
    /// Something else than a message, when it was polled last; it may be about to be polled again.
    Awaits(Awaited),
    Works,
}

/// How it stands with a process of which nothing else is known.
pub(crate) fn process(glance: &Glance) -> (State, Option<u64>) {
    let stuck = glance.polled_ms.filter(|polled| *polled >= STUCK_MS);
    let Some(Inside { activity, mail }) = glance.inside else { return (State::Unread, None) };
    match activity {
        _ if stuck.is_some() && glance.doomed => (State::Wedged, stuck),
        _ if stuck.is_some() => (State::Stuck, stuck),
        _ if glance.doomed => (State::Draining, None),
        _ if mail.held >= FEW && mail.held * 2 >= mail.bound => (State::Overloaded, None),
        Activity::Receives { for_ms } => (State::Idle, Some(for_ms)),
        Activity::Calls => (State::Waiting, None),
        Activity::Awaits(_) if glance.polled_ms.is_none() => (State::Waiting, None),
        Activity::Blocks { for_ms } => (State::Busy, Some(for_ms)),
        Activity::Awaits(_) | Activity::Works => (State::Busy, glance.polled_ms),
    }
}

/// How it stands with a child, by its supervisor's word, and by its process if that is to be seen.
pub(crate) fn child(state: ChildState, since_ms: u64, glance: Option<&Glance>) -> (State, Option<u64>) {
    let seen = glance.map(process);
    let told = match state {
        ChildState::Starting => State::Starting,
        ChildState::Up => return seen.unwrap_or((State::Up, Some(since_ms))),
        ChildState::Draining => State::Draining,
        ChildState::Restarting => State::Restarting,
        ChildState::BackOff => State::BackOff,
        ChildState::Waiting => State::Waiting,
        ChildState::Stopped => State::Stopped,
        ChildState::Failed => State::Failed,
    };
    // What its supervisor cannot know.
    match seen {
        Some((state @ (State::Stuck | State::Wedged), for_ms)) => (state, for_ms),
        _ => (told, Some(since_ms)),
    }
}

/// How it stands with a supervisor, by what it is about and by its process.
pub(crate) fn supervisor(state: SupervisorState, age_ms: Option<u64>, glance: Option<&Glance>) -> (State, Option<u64>) {
    let told = match state {
        SupervisorState::Starting => State::Starting,
        SupervisorState::Up => State::Up,
        SupervisorState::Restarting => State::Restarting,
        SupervisorState::Draining => State::Draining,
        SupervisorState::Stopped => return (State::Stopped, None),
    };
    match glance.map(process) {
        Some((state @ (State::Stuck | State::Wedged), for_ms)) => (state, for_ms),
        _ if matches!(told, State::Starting | State::Up) => (told, age_ms),
        // Since when is known of the child that it waits for, which says so.
        _ => (told, None),
    }
}

/// Whether somebody should look at it.
pub(crate) fn is_wrong(state: State, for_ms: Option<u64>) -> bool {
    let passing = matches!(state, State::Starting | State::Draining | State::Restarting);
    state.is_trouble() || (passing && for_ms.is_some_and(|for_ms| for_ms >= SLOW_MS))
}

/// What is to be said of a node that somebody should look at.
pub(crate) fn attention(node: &Node, path: &str) -> Option<Attention> {
    let state = node.state?;
    // A supervisor that is up may be about to give up.
    let last_straw = last_straw(node);
    if !is_wrong(state, node.for_ms) && last_straw.is_none() {
        return None;
    }
    let severity = match state {
        State::Wedged | State::Stuck | State::Failed | State::BackOff => Severity::Error,
        _ => Severity::Warning,
    };
    let mut text = what(node, state);
    // A supervisor lives for so long, and restarts for a moment.
    text.extend(last_straw);
    text.extend(next(node, state));
    if state != State::Overloaded {
        text.extend(node.last_exit.as_ref().map(|exit| format!("last exit: {}", reason(exit))));
    }
    text.extend(node.note.clone());
    let (path, pid, for_ms) = (path.to_owned(), node.pid.clone(), node.for_ms);
    Some(Attention { severity, path, pid, state, for_ms, text: text.join("; ") })
}

fn what(node: &Node, state: State) -> Vec<String> {
    let text = match state {
        State::Wedged => {
            "is to end, and its poll does not return: its worker's thread is lost until it does".to_owned()
        }
        State::Stuck => {
            let text = "its poll does not return; it holds up its worker";
            match node.mail.filter(|mail| is_old(mail.oldest_ms).is_some()) {
                Some(mail) => format!("{text}; {}", mail_of(mail)),
                None => text.to_owned(),
            }
        }
        State::Unread => "could not be read in time: its lock is held".to_owned(),
        State::Starting => "has not said yet that it is ready".to_owned(),
        State::Draining => "was told to stop".to_owned(),
        State::Overloaded => match node.mail {
            Some(mail) if mail.dropped > 0 => format!("{}, {} dropped", mail_of(mail), number(mail.dropped)),
            Some(mail) => mail_of(mail),
            None => return Vec::new(),
        },
        State::Failed => match node.restarts {
            Some(Restarts::Unhealthy { starts, .. }) => format!("given up after {starts} unhealthy starts"),
            _ => "given up".to_owned(),
        },
        _ => return Vec::new(),
    };
    vec![text]
}

fn mail_of(mail: Mail) -> String {
    let oldest = is_old(mail.oldest_ms).map(|oldest| format!(", oldest {}", age(oldest))).unwrap_or_default();
    format!("mailbox {} of {}{oldest}", number(mail.held as u64), limit(mail.bound as u64))
}

/// The age of a message that has waited for longer than messages do in ordinary life.
pub(crate) fn is_old(oldest_ms: Option<u64>) -> Option<u64> {
    oldest_ms.filter(|oldest| *oldest >= SLOW_MS)
}

/// What happens next, by itself or not.
fn next(node: &Node, state: State) -> Option<String> {
    Some(match (node.next, &node.restarts) {
        (Some(Next::Start { in_ms }), Some(Restarts::Unhealthy { starts, give_up_after }))
            if *give_up_after < u32::MAX =>
        {
            format!("start {} of {give_up_after} in {}", starts.saturating_add(1), age(in_ms))
        }
        (Some(Next::Start { in_ms }), _) => format!("start in {}", age(in_ms)),
        (Some(Next::Kill { in_ms }), _) => format!("kill in {}", age(in_ms)),
        (Some(Next::GiveUp { in_ms }), _) => format!("killed, wedged in {}", age(in_ms)),
        (None, _) if state == State::Failed => "nothing more happens by itself: restart_child starts it".to_owned(),
        (None, _) if state == State::Stuck => "nothing happens by itself".to_owned(),
        (None, _) => return None,
    })
}

fn last_straw(node: &Node) -> Option<String> {
    match node.restarts {
        Some(Restarts::Window { used, limit, period_ms }) if used >= limit && used > 0 => {
            let times = if used == 1 { "restart" } else { "restarts" };
            Some(format!("{used} {times} within {}: one more ends it and all its children", period(period_ms)))
        }
        _ => None,
    }
}

/// A reason as it fits into a line: of a panic's place, the file's name and the line.
pub(crate) fn reason(reason: &Reason) -> String {
    let Some(location) = &reason.location else { return reason.text.clone() };
    let name = location.rsplit(['/', '\\']).next().unwrap_or(location);
    let name = match name.matches(':').count() {
        2 => name.rsplit_once(':').map_or(name, |(name, _)| name),
        _ => name,
    };
    format!("{} {name}", reason.text)
}

/// What is wrong with the runtime as a whole.
pub(crate) fn runtime(health: &RuntimeHealth, unread: usize) -> Vec<Attention> {
    let mut wrong = Vec::new();
    let mut tell = |severity, state, text| wrong.push(Attention::new(severity, RUNTIME, state, text));
    if health.workers > 0 && health.stalled == health.workers && health.stuck >= health.workers + health.spares {
        let text = "all workers and spare threads are in polls that do not return: nothing goes on".to_owned();
        tell(Severity::Error, State::Stuck, text);
    }
    if unread > 0 {
        let text = format!("{unread} parts of the table of processes could not be read in time");
        tell(Severity::Warning, State::Unread, text);
    }
    if health.processes as u64 * 10 >= health.process_limit as u64 * 9 {
        let (processes, most) = (number(health.processes as u64), limit(health.process_limit as u64));
        tell(Severity::Warning, State::Overloaded, format!("{processes} processes of {most}"));
    }
    if health.blocking_queue > 0 && health.blocking >= health.blocking_threads {
        let (queue, threads) = (number(health.blocking_queue as u64), health.blocking_threads);
        let text = format!("{queue} pieces of blocking work wait for one of {threads} threads");
        tell(Severity::Warning, State::Overloaded, text);
    }
    wrong
}

/// Worst first; of two that are alike, the one that has lasted longer.
pub(crate) fn order(attention: &mut [Attention]) {
    attention.sort_by(|a, b| {
        // What is wrong with the runtime is wrong with all that is in it.
        let key = |a: &Attention| (a.severity, a.path != RUNTIME, a.state.rank(), Reverse(a.for_ms));
        key(a).cmp(&key(b)).then_with(|| a.path.cmp(&b.path))
    });
}

/// What a node does, from what was seen of its process.
pub(crate) fn doing(glance: &Glance, callee: Option<String>) -> Option<Doing> {
    let inside = glance.inside?;
    match (inside.activity, glance.polled_ms) {
        (Activity::Calls, _) => callee.map(Doing::Calls),
        (Activity::Blocks { for_ms }, _) => Some(Doing::Blocking { for_ms }),
        (_, Some(for_ms)) => Some(Doing::Polled { for_ms }),
        (Activity::Awaits(what), None) => Some(Doing::Awaits(what)),
        (Activity::Receives { .. } | Activity::Works, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glance(activity: Activity, held: usize, doomed: bool, polled_ms: Option<u64>) -> Glance {
        let mail = Mail { held, bound: 100, ..Mail::default() };
        Glance { doomed, polled_ms, inside: Some(Inside { activity, mail }) }
    }

    #[test]
    fn a_process_is_judged_by_what_it_does_by_its_mail_and_by_its_end() {
        let idle = Activity::Receives { for_ms: 7 };
        for (activity, held, doomed, polled, expected) in [
            (idle, 0, false, None, (State::Idle, Some(7))),
            (idle, 49, false, None, (State::Idle, Some(7))),
            (idle, 50, false, None, (State::Overloaded, None)),
            (Activity::Calls, 0, false, None, (State::Waiting, None)),
            (Activity::Blocks { for_ms: 9 }, 0, false, None, (State::Busy, Some(9))),
            (Activity::Works, 0, false, None, (State::Busy, None)),
            (Activity::Awaits(Awaited::Time), 0, false, None, (State::Waiting, None)),
            (Activity::Awaits(Awaited::Time), 0, false, Some(3), (State::Busy, Some(3))),
            (Activity::Works, 0, false, Some(249), (State::Busy, Some(249))),
            (Activity::Works, 99, false, Some(250), (State::Stuck, Some(250))),
            (Activity::Works, 0, true, None, (State::Draining, None)),
            (Activity::Works, 0, true, Some(250), (State::Wedged, Some(250))),
        ] {
            assert_eq!(process(&glance(activity, held, doomed, polled)), expected);
        }
        assert_eq!(process(&Glance { doomed: false, polled_ms: None, inside: None }), (State::Unread, None));
        let mut tiny = glance(idle, 1, false, None);
        tiny.inside = Some(Inside { activity: idle, mail: Mail { held: 1, bound: 1, ..Mail::default() } });
        assert_eq!(process(&tiny).0, State::Idle, "a mailbox for one message is full in ordinary life");
    }

    #[test]
    fn a_childs_supervisor_knows_best_but_for_a_poll_that_does_not_return() {
        let (calm, stuck) = (glance(Activity::Works, 0, false, None), glance(Activity::Works, 0, false, Some(9000)));
        assert_eq!(child(ChildState::Draining, 5, Some(&calm)), (State::Draining, Some(5)));
        assert_eq!(child(ChildState::Draining, 5, Some(&stuck)), (State::Stuck, Some(9000)));
        assert_eq!(child(ChildState::Up, 5, None), (State::Up, Some(5)));
        assert_eq!(child(ChildState::Up, 5, Some(&calm)), (State::Busy, None));
        assert_eq!(supervisor(SupervisorState::Up, Some(3), Some(&calm)), (State::Up, Some(3)));
        assert_eq!(supervisor(SupervisorState::Up, Some(3), Some(&stuck)), (State::Stuck, Some(9000)));
        assert_eq!(supervisor(SupervisorState::Restarting, Some(3000), Some(&calm)), (State::Restarting, None));
        assert_eq!(supervisor(SupervisorState::Stopped, Some(3), None), (State::Stopped, None));
    }

    #[test]
    fn every_trouble_is_told_with_what_happens_next() {
        for state in State::ALL {
            let node = Node { for_ms: Some(10), ..Node::new("a").state(state) };
            assert_eq!(attention(&node, "a").is_some(), state.is_trouble(), "{state}");
            let slow = Node { for_ms: Some(SLOW_MS), ..node };
            let passing = matches!(state, State::Starting | State::Draining | State::Restarting);
            assert_eq!(attention(&slow, "a").is_some(), state.is_trouble() || passing, "{state}");
        }
        let backing = Node {
            for_ms: Some(1200),
            restarts: Some(Restarts::Unhealthy { starts: 3, give_up_after: 10 }),
            next: Some(Next::Start { in_ms: 1800 }),
            last_exit: Some(Reason {
                text: "panicked \"x\"".to_owned(),
                location: Some("/a/b/resize.rs:88:5".to_owned()),
            }),
            ..Node::new("6").state(State::BackOff)
        };
        let told = attention(&backing, "resizers/6").map(|attention| attention.text);
        assert_eq!(told.as_deref(), Some("start 4 of 10 in 1.8s; last exit: panicked \"x\" resize.rs:88"));
        let limit = |used| Node {
            restarts: Some(Restarts::Window { used, limit: 3, period_ms: 5000 }),
            ..Node::new("s").state(State::Up)
        };
        assert_eq!(attention(&limit(2), "s"), None);
        let told = attention(&limit(3), "s").map(|attention| (attention.severity, attention.text));
        let text = "3 restarts within 5s: one more ends it and all its children".to_owned();
        assert_eq!(told, Some((Severity::Warning, text)));
    }

    #[test]
    fn the_oldest_message_is_told_of_a_full_mailbox_and_of_a_stuck_process_if_it_has_waited() {
        let told = |state, oldest_ms| {
            let mail = Some(Mail { held: 60, bound: 100, oldest_ms, dropped: 3 });
            attention(&Node { mail, ..Node::new("a").state(state) }, "a").map(|attention| attention.text)
        };
        for (oldest_ms, text) in [(None, ""), (Some(SLOW_MS - 1), ""), (Some(14_000), ", oldest 14s")] {
            let expected = format!("mailbox 60 of 100{text}, 3 dropped");
            assert_eq!(told(State::Overloaded, oldest_ms), Some(expected));
            let stuck = told(State::Stuck, oldest_ms).expect("it is in trouble");
            assert_eq!(stuck.contains("mailbox 60 of 100, oldest 14s; "), !text.is_empty(), "{stuck}");
        }
    }

    #[test]
    fn the_worst_comes_first_and_then_the_oldest() {
        let new = |severity, path: &str, state| Attention::new(severity, path, state, "");
        let mut all = vec![
            new(Severity::Warning, "slow", State::Draining),
            new(Severity::Error, "b", State::Stuck).since(10),
            new(Severity::Warning, "full", State::Overloaded),
            new(Severity::Error, "a", State::Stuck).since(10),
            new(Severity::Error, "c", State::Stuck).since(90),
            new(Severity::Error, "w", State::Wedged),
        ];
        order(&mut all);
        let paths: Vec<&str> = all.iter().map(|attention| attention.path.as_str()).collect();
        assert_eq!(paths, ["w", "c", "a", "b", "full", "slow"]);
    }

    #[test]
    fn a_runtime_is_wrong_when_nothing_goes_on_or_little_is_left() {
        let good = RuntimeHealth {
            workers: 2,
            stalled: 1,
            processes: 89,
            process_limit: 100,
            blocking: 3,
            blocking_threads: 4,
            blocking_queue: 1,
            ..RuntimeHealth::default()
        };
        assert_eq!(runtime(&good, 0), []);
        let relieved = RuntimeHealth { stalled: 2, stuck: 2, spares: 1, ..good.clone() };
        assert_eq!(runtime(&relieved, 0), [], "others go on in their place");
        let bad = RuntimeHealth { stalled: 2, stuck: 3, spares: 1, processes: 90, blocking: 4, ..good };
        let states: Vec<State> = runtime(&bad, 1).iter().map(|attention| attention.state).collect();
        assert_eq!(states, [State::Stuck, State::Unread, State::Overloaded, State::Overloaded]);
    }
}
