//! Pure: how other crates add to a dump what they know: of processes that are in the tree, and of things that are none.
use crate::tree::data::{Attention, Next, Node, Restarts};
use crate::tree::word::State;
use colloquium_runtime::Pid;
use std::collections::BTreeMap;

/// Something that adds to dumps: groups of consumers, conversations, dead letters.
///
/// It is asked for each dump, on a thread of its own, and has a fifth of a second: one that takes longer is left out of that
/// dump, with a word about it, and is not asked again until it has come back. So that it need not, it should take no lock
/// under which users' code runs, and show no payloads: ids, hashes of keys, labels.
pub trait Section: Send + Sync + 'static {
    /// What it is called.
    fn name(&self) -> &str;

    /// What it has to show.
    fn show(&self) -> Shown;

    /// The process that it is mainly about, if any: of several that are about the same, one is shown. Asked where it is asked what to show.
    fn subject(&self) -> Option<Pid> {
        None
    }
}

/// What a [`Section`] adds to one dump.
#[derive(Debug, Default)]
#[must_use = "it is shown when `Section::show` returns it"]
pub struct Shown {
    pub(crate) annotations: BTreeMap<Pid, Annotation>,
    pub(crate) of_children: BTreeMap<Pid, BTreeMap<String, Annotation>>,
    pub(crate) placed: Vec<Placed>,
    pub(crate) rests: Vec<(Pid, String)>,
    pub(crate) nodes: Vec<(Option<Pid>, Node)>,
    pub(crate) attention: Vec<Attention>,
    pub(crate) blame: BTreeMap<Pid, String>,
}

/// Something that is wrong, whose path is that of a supervisor, or of the child with this id.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) supervisor: Pid,
    pub(crate) child: Option<String>,
    pub(crate) attention: Attention,
}

/// What is said of a process that stands in the tree.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use = "an annotation is shown by `Shown::annotate`"]
pub struct Annotation {
    pub(crate) id: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) state: Option<State>,
    pub(crate) for_ms: Option<u64>,
    pub(crate) restarts: Option<Restarts>,
    pub(crate) note: Option<String>,
    pub(crate) next: Option<Next>,
}

impl Shown {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says something of a process.
    pub fn annotate(mut self, pid: Pid, annotation: Annotation) -> Self {
        self.annotations.insert(pid, annotation);
        self
    }

    /// Says something of the child with this id, whether it has a process or not. It is shown one by one then.
    pub fn annotate_child(mut self, supervisor: Pid, id: impl Into<String>, annotation: Annotation) -> Self {
        self.of_children.entry(supervisor).or_default().insert(id.into(), annotation);
        self
    }

    /// What is said of those below a process that are not shown one by one, in place of the states of their processes.
    pub fn rest(mut self, pid: Pid, note: impl Into<String>) -> Self {
        self.rests.push((pid, note.into()));
        self
    }

    /// A node below that of a process, after its children; among the unsupervised if that is not shown.
    pub fn below(mut self, pid: Pid, node: Node) -> Self {
        self.nodes.push((Some(pid), node));
        self
    }

    /// A tree of its own.
    pub fn tree(mut self, node: Node) -> Self {
        self.nodes.push((None, node));
        self
    }

    /// Something that is wrong.
    pub fn attention(mut self, attention: Attention) -> Self {
        self.attention.push(attention);
        self
    }

    /// Something that is wrong with a supervisor, or with its child of that id: its path is put in the place of the one that it
    /// has. It is left out if the dump tells of the same state there anyway; what its annotation says is told with that.
    pub fn attention_at(mut self, supervisor: Pid, child: Option<&str>, attention: Attention) -> Self {
        self.placed.push(Placed { supervisor, child: child.map(str::to_owned), attention });
        self
    }

    /// Who is to blame for the end of a process.
    pub fn blame(mut self, pid: Pid, whom: impl Into<String>) -> Self {
        self.blame.insert(pid, whom.into());
        self
    }
}

impl Annotation {
    /// Says nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What it is called, in place of its id, name or pid.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// What happens to it next by itself.
    pub fn next(mut self, next: Next) -> Self {
        self.next = Some(next);
        self
    }

    /// What the process is, in place of its supervisor's word.
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// How it stands and for how long, unless its process is in worse trouble. A troubled state is not told of under attention
    /// by itself, so that [`Shown::attention`] can do so in better words.
    pub fn state(mut self, state: State, for_ms: Option<u64>) -> Self {
        self.state = Some(state);
        self.for_ms = for_ms;
        self
    }

    /// What stands in the column of restarts.
    pub fn restarts(mut self, text: impl Into<String>) -> Self {
        self.restarts = Some(Restarts::Other(text.into()));
        self
    }

    /// What it does.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    pub(crate) fn apply(self, node: &mut Node) {
        if let Some(id) = self.id {
            node.id = id;
        }
        node.next = self.next.or(node.next);
        if let Some(kind) = self.kind {
            node.kind = Some(kind);
        }
        // What the process itself is in is worse than what it works at.
        if let Some(state) =
            self.state.filter(|state| node.state.is_none_or(|own| !own.is_trouble() || own.rank() >= state.rank()))
        {
            node.state = Some(state);
            node.for_ms = self.for_ms;
        }
        if let Some(restarts) = self.restarts {
            node.restarts = Some(restarts);
        }
        if let Some(note) = self.note {
            node.note = Some(note);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_never_makes_a_node_look_better_than_its_process_is() {
        for (own, said, shown) in [
            (State::Idle, State::Busy, State::Busy),
            (State::Idle, State::Overloaded, State::Overloaded),
            (State::Stuck, State::Busy, State::Stuck),
            (State::Stuck, State::Overloaded, State::Stuck),
            (State::BackOff, State::Stuck, State::Stuck),
        ] {
            let mut node = Node::new("a").state(own);
            Annotation::new().state(said, None).note("key=7").kind("consumer").restarts("try 2").apply(&mut node);
            assert_eq!(node.state, Some(shown), "{own} {said}");
            let restarts = Some(Restarts::Other("try 2".to_owned()));
            assert_eq!(
                (node.note.as_deref(), node.kind.as_deref(), node.restarts),
                (Some("key=7"), Some("consumer"), restarts)
            );
        }
    }
}
