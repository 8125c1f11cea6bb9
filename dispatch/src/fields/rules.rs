//! Pure: lists of rules, each a predicate and where its messages go, as a routing function.
use super::RoutingMessage;
use super::compiled::Compiled;
use super::predicate::{Predicate, PredicateError};
use crate::routing::{RoutingDecision, RoutingFunction, least_loaded_with};
use crate::view::{ConsumerId, ConsumerStateView};
use std::sync::Arc;

/// Where the messages of a rule go.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// That consumer, as [`RoutingDecision::To`].
    Consumer(ConsumerId),
    /// The least loaded of those that have this tag; if there is none, as [`RoutingDecision::Nobody`].
    Tag(Arc<str>),
    /// Whichever has room first.
    Any,
    /// Nobody.
    Nobody,
}

/// Rules in their order: the first that holds of a message decides.
#[derive(Clone, Debug)]
#[must_use = "rules do nothing until they are compiled"]
pub struct Rules {
    rules: Vec<(Predicate, Target)>,
    default: Target,
}

impl Target {
    /// The least loaded consumer with that tag.
    pub fn tag(tag: impl Into<Arc<str>>) -> Self {
        Self::Tag(tag.into())
    }

    fn decide(&self, consumers: &[ConsumerStateView]) -> RoutingDecision {
        match self {
            Self::Consumer(id) => RoutingDecision::To(*id),
            Self::Tag(tag) => least_loaded_with(tag, consumers),
            Self::Any => RoutingDecision::Wait,
            Self::Nobody => RoutingDecision::Nobody,
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self::new()
    }
}

impl Rules {
    /// None yet: every message goes to whichever consumer has room first.
    pub fn new() -> Self {
        Self { rules: Vec::new(), default: Target::Any }
    }

    /// One more rule, asked after those before it.
    pub fn rule(mut self, predicate: Predicate, target: Target) -> Self {
        self.rules.push((predicate, target));
        self
    }

    /// Where messages go of which no rule holds; whichever consumer has room first, unless given.
    pub fn default(mut self, target: Target) -> Self {
        self.default = target;
        self
    }

    /// Where a message would go, found by walking the predicates' trees: what the compiled rules agree with.
    #[must_use]
    pub fn target(&self, message: &impl RoutingMessage) -> &Target {
        let first = self.rules.iter().find(|(predicate, _)| predicate.evaluate(message));
        first.map_or(&self.default, |(_, target)| target)
    }

    /// Checks the rules against the fields that the messages have, and makes a routing function of them.
    ///
    /// # Errors
    ///
    /// As [`Predicate::compile`], for the first rule that does not.
    pub fn compile<M: RoutingMessage + 'static>(self) -> Result<RoutingFunction<M>, PredicateError> {
        let rules: Result<Vec<(Compiled, Target)>, _> = self
            .rules
            .into_iter()
            .map(|(predicate, target)| predicate.compile::<M>().map(|compiled| (compiled, target)))
            .collect();
        let (rules, default) = (rules?, self.default);
        Ok(RoutingFunction::new(move |message: &M, consumers: &[ConsumerStateView]| {
            let first = rules.iter().find(|(predicate, _)| predicate.holds(message));
            first.map_or(&default, |(_, target)| target).decide(consumers)
        }))
    }
}
