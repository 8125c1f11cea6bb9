//! Pure: predicates made fit to be asked of each message: a line of tests with jumps, each field asked for once.
use super::RoutingMessage;
use super::predicate::{Comparison, Predicate, lies_between};
use super::value::{FieldValue, OwnedValue};
use smallvec::SmallVec;
use std::ops::Bound;
use std::sync::Arc;

/// A predicate that was checked ([`Predicate::compile`]). Cheap to clone.
///
/// It is a line of tests. Each says where to go on if it holds and where if not, so that nothing is looked at twice, no tree is
/// walked, and nothing is put on the heap for messages of up to eight fields that it names.
#[derive(Clone, Debug)]
pub struct Compiled(Arc<Program>);

#[derive(Debug)]
struct Program {
    names: Vec<Arc<str>>,
    steps: Vec<Step>,
    /// Where it begins.
    first: Next,
}

#[derive(Debug)]
struct Step {
    /// The number of the field's name.
    field: usize,
    test: Test,
    held: Next,
    failed: Next,
}

#[derive(Debug)]
enum Test {
    Exists,
    Compare(Comparison, OwnedValue),
    Range(Bound<OwnedValue>, Bound<OwnedValue>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Next {
    Step(usize),
    Is(bool),
}

/// What is known of a message's field: nothing yet, or what it is.
type Asked<'a> = Option<Option<FieldValue<'a>>>;

impl Compiled {
    pub(super) fn new(predicate: &Predicate) -> Self {
        let mut program = Program { names: Vec::new(), steps: Vec::new(), first: Next::Is(false) };
        program.first = program.add(predicate, Next::Is(true), Next::Is(false));
        Self(Arc::new(program))
    }

    /// Whether it holds of that message.
    #[must_use]
    pub fn holds(&self, message: &impl RoutingMessage) -> bool {
        let program = &*self.0;
        let mut asked: SmallVec<[Asked<'_>; 8]> = SmallVec::from_elem(None, program.names.len());
        let mut next = program.first;
        loop {
            let step = match next {
                Next::Is(holds) => return holds,
                Next::Step(at) => &program.steps[at],
            };
            let value = *asked[step.field].get_or_insert_with(|| message.field(&program.names[step.field]));
            let held = value.is_some_and(|value| step.test.holds(&value));
            next = if held { step.held } else { step.failed };
        }
    }
}

impl Test {
    fn holds(&self, value: &FieldValue<'_>) -> bool {
        match self {
            Self::Exists => true,
            Self::Compare(comparison, with) => {
                value.compare(&with.value()).is_some_and(|ordering| comparison.holds(ordering))
            }
            Self::Range(from, to) => lies_between(value, from, to),
        }
    }
}

impl Program {
    /// Adds what decides a predicate, from its end to its beginning; says where that begins.
    fn add(&mut self, predicate: &Predicate, held: Next, failed: Next) -> Next {
        match predicate {
            Predicate::Constant(true) => held,
            Predicate::Constant(false) => failed,
            Predicate::Exists(name) => self.step(name, Test::Exists, held, failed),
            Predicate::Compare(name, comparison, with) => {
                self.step(name, Test::Compare(*comparison, with.clone()), held, failed)
            }
            Predicate::Range(name, from, to) => self.step(name, Test::Range(from.clone(), to.clone()), held, failed),
            Predicate::All(parts) => parts.iter().rev().fold(held, |held, part| self.add(part, held, failed)),
            Predicate::Any(parts) => parts.iter().rev().fold(failed, |failed, part| self.add(part, held, failed)),
            Predicate::Not(part) => self.add(part, failed, held),
        }
    }

    fn step(&mut self, name: &Arc<str>, test: Test, held: Next, failed: Next) -> Next {
        let field = self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(Arc::clone(name));
            self.names.len() - 1
        });
        if held == failed {
            return held;
        }
        self.steps.push(Step { field, test, held, failed });
        Next::Step(self.steps.len() - 1)
    }
}

#[cfg(test)]
#[path = "tests/agreement.rs"]
mod tests;
