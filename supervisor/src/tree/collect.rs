//! Driver: a look at a runtime and its trees: all processes in passing, then each supervisor, a page of children at a time.
//!
//! No lock is waited for longer than a moment; what cannot be read says so. Of many children only those become nodes that are
//! shown one by one: the first few and those in trouble; the others are counted.
use crate::snapshot::{ChildSnapshot, ChildState, NextAction, Observer};
use crate::spec::Strategy;
use crate::tree::data::{Attention, Doing, Mail, Next, Node, Reason, Restarts, Severity, Summary};
use crate::tree::judge::{self, Glance};
use crate::tree::options::{ATTENTION, DEPTH, Look, PATIENCE, REASON, TROUBLED};
use crate::tree::processes::Processes;
use crate::tree::section::{Annotation, Shown};
use crate::tree::word::State;
use colloquium_runtime::{ExitReason, Handle, Pid};
use indexmap::IndexSet;
use rustc_hash::FxBuildHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// The work of one look.
pub(crate) struct Collector<'a> {
    look: &'a Look,
    runtime: &'a Handle,
    now: Duration,
    processes: Processes,
    /// Processes that others name as their parents.
    parents: IndexSet<Pid, FxBuildHasher>,
    annotations: BTreeMap<Pid, Annotation>,
    of_children: BTreeMap<Pid, BTreeMap<String, Annotation>>,
    /// The paths of supervisors, of those with an annotation, and of the dead in `wanted`.
    pub(crate) paths: BTreeMap<Pid, String>,
    wanted: BTreeSet<Pid>,
    /// How those ended before of whom a section says that they are in trouble.
    pub(crate) endings: BTreeMap<String, Reason>,
    pub(crate) attention: Vec<Attention>,
    pub(crate) attention_more: usize,
    pub(crate) unread: usize,
}

impl<'a> Collector<'a> {
    /// Looks at all processes. `wanted` are dead ones whose places are to be found.
    pub(crate) fn new(runtime: &'a Handle, look: &'a Look, shown: &mut Shown, wanted: BTreeSet<Pid>) -> Self {
        let now = runtime.now();
        let (processes, parents, unread) = Processes::read(runtime);
        Self {
            look,
            runtime,
            now,
            processes,
            parents,
            annotations: std::mem::take(&mut shown.annotations),
            of_children: std::mem::take(&mut shown.of_children),
            paths: BTreeMap::new(),
            wanted,
            endings: BTreeMap::new(),
            attention: std::mem::take(&mut shown.attention),
            attention_more: 0,
            unread,
        }
    }

    /// A tree, or the part of it that was asked for.
    pub(crate) fn tree(&mut self, id: &str, root: &Observer) -> Option<Node> {
        let Some(wanted) = self.look.subtree.as_deref() else { return Some(self.root(id, root)) };
        let rest = below(wanted, id)?;
        if rest.is_empty() { Some(self.root(id, root)) } else { self.search(root, id, rest) }
    }

    fn root(&mut self, id: &str, root: &Observer) -> Node {
        let node = self.supervisor(id, id, root, None, 1);
        if node.state == Some(State::Stopped) {
            let text = "the root of the tree is not there: nobody restarts it";
            self.tell(Attention::new(Severity::Error, id, State::Stopped, text));
        }
        node
    }

    /// Goes down to the node with this path, or as far as that can be read.
    fn search(&mut self, observer: &Observer, path: &str, wanted: &str) -> Option<Node> {
        let mut children = observer.children_within(PATIENCE);
        let found = children.by_ref().find_map(|child| {
            let id = self.id_of(&child);
            let rest = below(wanted, &id)?;
            let path = format!("{path}/{id}");
            match &child.subtree {
                Some(subtree) if !rest.is_empty() => self.search(subtree, &path, rest),
                _ if rest.is_empty() => Some(self.child(&child, observer.pid(), &id, &path, 1)),
                _ => None,
            }
        });
        found.or_else(|| {
            let node = children.is_cut_short().then(|| Node::new(path).state(State::Unread))?;
            self.tell_of(&node, path);
            Some(node)
        })
    }

    /// A supervisor and what is below it.
    fn supervisor(
        &mut self,
        id: &str,
        path: &str,
        observer: &Observer,
        place: Option<&ChildSnapshot>,
        level: usize,
    ) -> Node {
        let pid = observer.pid();
        let mut node = Node::new(id);
        node.pid = Some(pid.to_string());
        self.paths.insert(pid, path.to_owned());
        let glance = self.claim(pid);
        let age = place.map_or_else(
            || self.processes.get(pid).map(|process| process.age_ms),
            |child| Some(millis(self.now.saturating_sub(child.since))),
        );
        let Some(seen) = observer.supervisor_within(PATIENCE) else {
            node.state = Some(State::Unread);
            self.tell_of(&node, path);
            return node;
        };
        let strategy = match seen.strategy {
            Strategy::OneForOne => "one_for_one",
            Strategy::OneForAll => "one_for_all",
            Strategy::RestForOne => "rest_for_one",
        };
        node.kind = Some(if seen.dynamic.is_some() { "dynamic" } else { strategy }.to_owned());
        let told = place.filter(|child| child.state != ChildState::Up);
        (node.state, node.for_ms) = match told {
            Some(child) => some(judge::child(child.state, age.unwrap_or_default(), glance.as_ref())),
            None => some(judge::supervisor(seen.state, age, glance.as_ref())),
        };
        node.restarts =
            Some(Restarts::Window { used: seen.restarts, limit: seen.intensity, period_ms: millis(seen.period) });
        node.mail = glance.and_then(|glance| glance.inside).map(|inside| inside.mail);
        self.details(&mut node, place);
        self.tell_of(&node, path);
        self.annotate(&mut node, pid);
        let mut counts = BTreeMap::new();
        if level < DEPTH {
            counts = self.children(&mut node, path, observer, level);
        }
        for wedged in &seen.wedged {
            self.claim(wedged.pid);
            let for_ms = Some(millis(self.now.saturating_sub(wedged.since)));
            let mut left = Node { pid: Some(wedged.pid.to_string()), for_ms, ..Node::new(&*wedged.id) };
            left = left.state(State::Wedged).kind("left behind");
            self.tell_of(&left, &format!("{path}/{}", wedged.id));
            *counts.entry(State::Wedged).or_default() += 1;
            node.children.push(left);
        }
        node.doing = Some(Doing::Supervises(counts));
        if level >= self.look.depth {
            node.children.clear();
            node.more = None;
        }
        node
    }

    /// The children of a supervisor, as nodes or as numbers; how many are in each state.
    fn children(&mut self, node: &mut Node, path: &str, observer: &Observer, level: usize) -> BTreeMap<State, usize> {
        let mut counts = [0; State::ALL.len()];
        let (mut more, mut more_counts) = (Summary::default(), counts);
        let (mut troubled, above) = (0, observer.pid());
        let mut children = observer.children_within(PATIENCE);
        for child in children.by_ref() {
            let first = node.children.len() < self.look.children + troubled;
            if !first && child.subtree.is_none() && !self.is_special(above, &child) {
                let (state, for_ms, mail) = self.in_passing(&child, path);
                let wrong = judge::is_wrong(state, for_ms);
                // Of very many that have failed together, the first tell enough. Worse is told of each.
                let crowd = wrong && troubled >= TROUBLED && state.rank() >= State::BackOff.rank();
                if !wrong || crowd {
                    self.attention_more += usize::from(crowd);
                    counts[index(state)] += 1;
                    count(&mut more, &mut more_counts, state, for_ms, mail);
                    continue;
                }
            }
            let told = self.attention.len() + self.attention_more;
            let (id, special) = (self.id_of(&child), self.is_special(above, &child));
            let below = self.child(&child, above, &id, &format!("{path}/{id}"), level + 1);
            let wrong = self.attention.len() + self.attention_more > told
                || special
                || child.pid.is_some_and(|pid| self.parents.contains(&pid));
            let state = below.state.unwrap_or(State::Up);
            counts[index(state)] += 1;
            if first || (wrong && troubled < TROUBLED) {
                troubled += usize::from(!first);
                node.children.push(below);
            } else {
                count(&mut more, &mut more_counts, state, below.for_ms, below.mail);
            }
        }
        if children.is_cut_short() {
            let text = "not all of its children could be read in time: its lock is held";
            self.tell(Attention::new(Severity::Warning, path, State::Unread, text));
        }
        more.states = by_state(&more_counts);
        node.more = (more.count > 0).then_some(more);
        by_state(&counts)
    }

    fn child(&mut self, child: &ChildSnapshot, above: Pid, id: &str, path: &str, level: usize) -> Node {
        self.find_dead(child, path);
        if let Some(subtree) = &child.subtree {
            return self.supervisor(id, path, subtree, Some(child), level);
        }
        let glance = child.pid.and_then(|pid| self.claim(pid));
        let mut node = Node::new(id);
        node.pid = child.pid.map(|pid| pid.to_string());
        let since = millis(self.now.saturating_sub(child.since));
        (node.state, node.for_ms) = some(judge::child(child.state, since, glance.as_ref()));
        node.restarts = Some(match child.unhealthy {
            Some((starts, give_up_after)) => Restarts::Unhealthy { starts, give_up_after },
            None => Restarts::Times(child.starts.saturating_sub(1)),
        });
        node.mail = glance.as_ref().and_then(|glance| glance.inside).map(|inside| inside.mail);
        node.doing = glance.and_then(|glance| judge::doing(&glance, child.pid.and_then(|pid| self.callee(pid))));
        self.details(&mut node, Some(child));
        if let Some(pid) = child.pid
            && (self.parents.contains(&pid) || self.annotations.contains_key(&pid))
        {
            self.paths.insert(pid, path.to_owned());
        }
        let said = self.of_children.get_mut(&above).and_then(|said| said.remove(id));
        let wrong = judge::is_wrong(node.state.unwrap_or(State::Up), node.for_ms);
        if let Some(said) = said {
            // What is wrong with it by itself is told with what happens next.
            said.apply(&mut node);
            if matches!(node.state, Some(State::BackOff | State::Failed)) {
                self.endings.extend(node.last_exit.clone().map(|exit| (path.to_owned(), exit)));
            }
        }
        if wrong {
            self.tell_of(&node, path);
        }
        if let Some(pid) = child.pid {
            self.annotate(&mut node, pid);
        }
        node
    }

    fn details(&self, node: &mut Node, place: Option<&ChildSnapshot>) {
        let Some(child) = place else { return };
        let until = |at: Duration| millis(at.saturating_sub(self.now));
        node.next = child.next.map(|next| match next {
            NextAction::Start(at) => Next::Start { in_ms: until(at) },
            NextAction::Kill(at) => Next::Kill { in_ms: until(at) },
            NextAction::GiveUp(at) => Next::GiveUp { in_ms: until(at) },
        });
        node.last_exit = child.exits.last().map(|exit| reason(&exit.reason));
    }

    /// A child that is more than one of many: one is said something of, or has processes below it.
    fn is_special(&self, above: Pid, child: &ChildSnapshot) -> bool {
        let known = |pid: &Pid| self.parents.contains(pid) || self.annotations.contains_key(pid);
        let said = || self.of_children.get(&above).is_some_and(|said| said.contains_key(&*child.id));
        child.pid.as_ref().is_some_and(known) || said()
    }

    /// How it stands with one of many, which is marked as standing in the tree.
    fn in_passing(&mut self, child: &ChildSnapshot, above: &str) -> (State, Option<u64>, Option<Mail>) {
        if child.exits.iter().any(|exit| self.wanted.contains(&exit.pid)) {
            self.find_dead(child, &format!("{above}/{}", self.id_of(child)));
        }
        let glance = child.pid.and_then(|pid| self.claim(pid));
        let (state, for_ms) = judge::child(child.state, millis(self.now.saturating_sub(child.since)), glance.as_ref());
        (state, for_ms, glance.and_then(|glance| glance.inside).map(|inside| inside.mail))
    }

    /// Notes the place of processes that have ended and are asked for.
    fn find_dead(&mut self, child: &ChildSnapshot, path: &str) {
        for exit in child.exits.iter().filter(|exit| self.wanted.contains(&exit.pid)) {
            self.paths.insert(exit.pid, path.to_owned());
        }
    }

    fn id_of(&self, child: &ChildSnapshot) -> String {
        if !child.id.is_empty() {
            return child.id.to_string();
        }
        // The child of a dynamic supervisor.
        child.pid.map_or_else(|| "(none)".to_owned(), |pid| self.name_of(pid))
    }

    fn name_of(&self, pid: Pid) -> String {
        self.processes.name(pid).map_or_else(|| pid.to_string(), ToString::to_string)
    }

    fn callee(&self, pid: Pid) -> Option<String> {
        let callee = self.processes.callee(pid)?;
        Some(match self.processes.name(callee) {
            Some(name) => format!("{callee} ({name})"),
            None => callee.to_string(),
        })
    }

    /// What was seen of a process, which stands in the tree.
    fn claim(&mut self, pid: Pid) -> Option<Glance> {
        self.processes.claim(pid)
    }

    fn annotate(&mut self, node: &mut Node, pid: Pid) {
        if let Some(annotation) = self.annotations.remove(&pid) {
            annotation.apply(node);
        }
    }

    fn tell_of(&mut self, node: &Node, path: &str) {
        if let Some(attention) = judge::attention(node, path) {
            self.tell(attention);
        }
    }

    /// Keeps the worst of a few times as many as are shown.
    fn tell(&mut self, attention: Attention) {
        self.attention.push(attention);
        if self.attention.len() >= 8 * ATTENTION {
            judge::order(&mut self.attention);
            self.attention_more += self.attention.len() - ATTENTION;
            self.attention.truncate(ATTENTION);
        }
    }

    /// Whether the process lives.
    fn is_there(&self, pid: Pid) -> bool {
        self.runtime.is_alive(pid)
    }

    /// The processes that stand in no tree, each below the one that does and has spawned it, if there is one; under no pid the
    /// rest.
    pub(crate) fn strangers(&mut self) -> BTreeMap<Option<Pid>, Node> {
        let mut strangers: BTreeMap<Option<Pid>, Vec<Pid>> = BTreeMap::new();
        let (mut last, mut owner) = (None, None);
        for process in self.processes.strangers() {
            if last != Some(process.parent) {
                last = Some(process.parent);
                owner = self.owner(process.parent);
            }
            strangers.entry(owner).or_default().push(process.pid);
        }
        // In the order of their pids: the same in the next dump.
        strangers.into_iter().map(|(owner, pids)| (owner, self.group(owner, &pids))).collect()
    }

    /// The nearest ancestor that stands in a tree.
    fn owner(&self, mut parent: Option<Pid>) -> Option<Pid> {
        for _ in 0..DEPTH {
            let process = self.processes.get(parent?)?;
            if process.is_claimed() {
                return parent;
            }
            parent = process.parent;
        }
        None
    }

    fn group(&mut self, owner: Option<Pid>, pids: &[Pid]) -> Node {
        let mut node = Node::new("unsupervised").kind(crate::tree::format::number(pids.len() as u64));
        let path = owner.map_or("unsupervised".to_owned(), |owner| self.paths.get(&owner).cloned().unwrap_or_default());
        let (mut more, mut counts) = (Summary::default(), [0; State::ALL.len()]);
        let mut troubled = 0;
        for (at, pid) in pids.iter().enumerate() {
            let Some(seen) = self.processes.get(*pid).map(|process| process.glance.clone()) else { continue };
            let (state, for_ms) = judge::process(&seen);
            // One that was ending, and has.
            if seen.doomed && state == State::Draining && !self.is_there(*pid) {
                continue;
            }
            let wrong = judge::is_wrong(state, for_ms);
            let first = at < self.look.children && owner.is_none();
            if first || (wrong && troubled < TROUBLED) || self.annotations.contains_key(pid) {
                troubled += usize::from(!first);
                let mut below = Node::new(self.name_of(*pid));
                (below.pid, below.state, below.for_ms) = (Some(pid.to_string()), Some(state), for_ms);
                below.mail = seen.inside.map(|inside| inside.mail);
                below.doing = judge::doing(&seen, self.callee(*pid));
                self.tell_of(&below, &format!("{path}/{}", below.id));
                self.annotate(&mut below, *pid);
                node.children.push(below);
            } else {
                count(&mut more, &mut counts, state, for_ms, seen.inside.map(|inside| inside.mail));
            }
        }
        more.states = by_state(&counts);
        node.more = (more.count > 0).then_some(more);
        node
    }
}

/// What comes after `id` in a path; `None` if that begins otherwise.
fn below<'a>(path: &'a str, id: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(id)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

fn some<T>((state, for_ms): (State, T)) -> (Option<State>, T) {
    (Some(state), for_ms)
}

fn index(state: State) -> usize {
    state as usize
}

fn count(
    more: &mut Summary,
    counts: &mut [usize; State::ALL.len()],
    state: State,
    for_ms: Option<u64>,
    mail: Option<Mail>,
) {
    more.count += 1;
    more.mail += mail.map_or(0, |mail| mail.held);
    more.oldest_mail_ms = more.oldest_mail_ms.max(mail.and_then(|mail| mail.oldest_ms));
    more.oldest_ms = more.oldest_ms.max(for_ms.unwrap_or_default());
    counts[index(state)] += 1;
}

fn by_state(counts: &[usize; State::ALL.len()]) -> BTreeMap<State, usize> {
    State::ALL.into_iter().zip(*counts).filter(|(_, count)| *count > 0).collect()
}

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A reason in words. Those of an error are a user's code, which may panic or not come to an end: it is caught, and cut.
pub(crate) fn reason(reason: &ExitReason) -> Reason {
    let mut text = Bounded(String::new());
    let location = match reason {
        ExitReason::Panicked(panic) => {
            // It is cut, or could not be said: what there is of it is shown.
            let _ = write!(text, "panicked {:?}", panic.message());
            panic.location().map(str::to_owned)
        }
        _ => {
            let written = catch_unwind(AssertUnwindSafe(|| {
                // It was cut.
                let _ = write!(text, "{reason}");
            }));
            if let Err(payload) = written {
                std::mem::forget(payload);
                text.0.push_str("(its Display panics)");
            }
            None
        }
    };
    Reason { text: text.0, location }
}

struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, more: &str) -> std::fmt::Result {
        let room = REASON.saturating_sub(self.0.chars().count());
        match more.char_indices().nth(room) {
            None => {
                self.0.push_str(more);
                Ok(())
            }
            Some((end, _)) => {
                self.0.push_str(&more[..end]);
                self.0.push('…');
                Err(std::fmt::Error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt;

    #[test]
    fn a_path_is_followed_id_by_id() {
        assert_eq!(below("root/a/b", "root"), Some("a/b"));
        assert_eq!(below("root", "root"), Some(""));
        assert_eq!(below("roots/a", "root"), None);
        assert_eq!(below("a/b/c", "a/b"), Some("c"), "an id may have a stroke in it");
    }

    #[derive(Debug)]
    struct Bad(bool);

    impl fmt::Display for Bad {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            assert!(self.0, "an error that cannot be shown");
            loop {
                f.write_str("more and more")?;
            }
        }
    }

    impl std::error::Error for Bad {}

    #[test]
    fn a_reason_that_panics_or_never_ends_does_no_harm() {
        assert_eq!(reason(&ExitReason::error(Bad(false))).text, "(its Display panics)");
        assert_eq!(reason(&ExitReason::error(Bad(true))).text.chars().count(), REASON + 1);
        assert_eq!(reason(&ExitReason::Killed).text, "killed");
    }
}
