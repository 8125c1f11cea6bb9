//! Pure: a dump as a graph for Graphviz: `dot -Tsvg`.
use crate::tree::data::{Node, SupervisionTree};
use crate::tree::format::{age, number};
use crate::tree::word::State;
use std::fmt::Write;

impl SupervisionTree {
    /// The trees as a graph in Graphviz's language, left to right, in the colours of the states.
    #[must_use]
    pub fn dot(&self) -> String {
        let mut text =
            "digraph supervision {\n  rankdir=LR;\n  node [shape=box, style=filled, fontname=\"monospace\"];\n"
                .to_owned();
        let mut next = 0;
        for tree in self.trees.iter().chain(&self.unsupervised) {
            node(&mut text, &mut next, tree, None);
        }
        text.push_str("}\n");
        text
    }
}

fn node(text: &mut String, next: &mut usize, shown: &Node, above: Option<usize>) {
    let label = [
        Some(shown.id.clone()),
        shown.kind.clone(),
        shown.pid.clone(),
        shown.state.map(|state| match shown.for_ms {
            Some(for_ms) => format!("{state} {}", age(for_ms)),
            None => state.to_string(),
        }),
        shown.note.clone(),
    ];
    let label: Vec<String> = label.into_iter().flatten().collect();
    let me = one(text, next, &label.join("\n"), colour(shown.state), above);
    for child in &shown.children {
        node(text, next, child, Some(me));
    }
    if let Some(more) = &shown.more {
        one(text, next, &format!("… {} more", number(more.count as u64)), "white", Some(me));
    }
}

fn one(text: &mut String, next: &mut usize, label: &str, colour: &str, above: Option<usize>) -> usize {
    let me = *next;
    *next += 1;
    // Writing to a string does not fail.
    let _ = writeln!(text, "  n{me} [label=\"{}\", fillcolor=\"{colour}\"];", escaped(label));
    if let Some(above) = above {
        let _ = writeln!(text, "  n{above} -> n{me};");
    }
    me
}

fn escaped(label: &str) -> String {
    let mut text = String::new();
    for c in label.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            c if c.is_control() => text.push(' '),
            c => text.push(c),
        }
    }
    text
}

fn colour(state: Option<State>) -> &'static str {
    match state {
        Some(State::Stuck | State::Wedged | State::Failed | State::BackOff) => "#f4a6a6",
        Some(State::Overloaded | State::Unread | State::Starting | State::Restarting | State::Draining) => "#f7e0a3",
        Some(State::Stopped) => "#d0d0d0",
        Some(_) => "#c9e7c3",
        None => "white",
    }
}
