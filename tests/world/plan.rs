//! Driver: what one run of the model is like: a random group, and what goes wrong in it.
use super::{Group, Job, Ledger, consumers};
use colloquium::Gap;
use colloquium::prelude::*;
use colloquium::{Rng, RoutingDecision, SupervisedExecutor};
use std::sync::Arc;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// How the consumers of a group are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Trait,
    Function,
    Process,
    Batches,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Routing {
    RoundRobin,
    LeastLoaded,
    TwoChoices,
    Hash,
    Sticky,
    Tag,
    /// A function of one's own, that errs now and then.
    Custom,
}

/// How often something goes wrong, of a thousand times that a handler begins.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faulty {
    pub(crate) panics: u64,
    pub(crate) fails: u64,
    pub(crate) discards: u64,
    pub(crate) hangs: u64,
    pub(crate) links: u64,
    pub(crate) own: u64,
    /// Starts of consumers.
    pub(crate) starts: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) form: Form,
    pub(crate) consumers: usize,
    room: u32,
    waiting: usize,
    per_key: usize,
    max_wait: Duration,
    grace: Duration,
    attempts: u32,
    poison: u32,
    gap: Gap,
    pub(crate) routing: Routing,
    isolated: bool,
    pub(crate) keys: u64,
    pub(crate) accepts: bool,
    pub(crate) deadline: Duration,
    pub(crate) work: Duration,
    pub(crate) faulty: Faulty,
    /// Things that the body does.
    pub(crate) acts: u64,
    pub(crate) pause: Duration,
    pub(crate) kills: u64,
    pub(crate) kills_conversations: bool,
    /// Keeper and supervisors of the group are killed as well.
    pub(crate) kills_tree: bool,
    pub(crate) changes: bool,
    /// The runtime is shut down in the midst of it, instead of a drain.
    pub(crate) shuts_down: bool,
    /// The drain comes before all is calm.
    pub(crate) drains_early: bool,
}

impl Plan {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let some = |rng: &mut Rng, of: &[u64]| rng.pick(of).copied().unwrap_or_default();
        let faulty = Faulty {
            panics: some(rng, &[0, 0, 50, 200, 900]),
            fails: some(rng, &[0, 0, 100, 400, 900]),
            discards: some(rng, &[0, 0, 30]),
            hangs: some(rng, &[0, 0, 30, 200]),
            links: some(rng, &[0, 0, 50, 300]),
            own: some(rng, &[0, 0, 50]),
            starts: some(rng, &[0, 0, 0, 100, 1000]),
        };
        let max_wait = MS * u32::try_from(some(rng, &[50, 500, 5000])).expect("small");
        Self {
            form: rng.pick(&[Form::Trait, Form::Function, Form::Process, Form::Batches]).copied().expect("some"),
            consumers: 1 + usize::try_from(rng.below(4)).expect("small"),
            room: 1 + u32::try_from(rng.below(3)).expect("small"),
            waiting: usize::try_from(some(rng, &[0, 3, 64])).expect("small"),
            per_key: usize::try_from(some(rng, &[1, 3, 64])).expect("small"),
            max_wait,
            grace: MS * u32::try_from(some(rng, &[1, 20, 500])).expect("small"),
            attempts: 1 + u32::try_from(rng.below(5)).expect("small"),
            poison: 1 + u32::try_from(rng.below(3)).expect("small"),
            gap: if rng.chance(1, 3) { Gap::Hold } else { Gap::Continue },
            routing: Self::routing_of(rng),
            isolated: rng.chance(1, 5),
            keys: some(rng, &[0, 1, 4, 20]),
            accepts: rng.chance(1, 3),
            deadline: MS * u32::try_from(some(rng, &[30, 300, 3000])).expect("small"),
            work: MS * u32::try_from(some(rng, &[0, 1, 20])).expect("small"),
            faulty,
            acts: 10 + rng.below(40),
            pause: MS * u32::try_from(some(rng, &[0, 1, 20, 100, 2500])).expect("small"),
            kills: some(rng, &[0, 1, 5]),
            kills_conversations: rng.chance(1, 2),
            kills_tree: rng.chance(1, 10),
            changes: rng.chance(1, 2),
            shuts_down: rng.chance(1, 8),
            drains_early: rng.chance(1, 4),
        }
    }

    fn routing_of(rng: &mut Rng) -> Routing {
        use Routing::{Custom, Hash, LeastLoaded, RoundRobin, Sticky, Tag, TwoChoices};
        rng.pick(&[RoundRobin, RoundRobin, LeastLoaded, TwoChoices, Hash, Sticky, Tag, Custom]).copied().expect("some")
    }

    /// Whether a handler is counted in the moment in which the group counts it: one of a batch is when the batch is complete.
    pub(crate) fn counts_begun(&self) -> bool {
        self.form != Form::Batches
    }

    pub(crate) fn errs(&self) -> bool {
        self.routing == Routing::Custom
    }

    pub(crate) fn function(&self, ledger: &Arc<Ledger>) -> RoutingFunction<Job> {
        match self.routing {
            Routing::RoundRobin => RoutingFunction::round_robin(),
            Routing::LeastLoaded => RoutingFunction::least_loaded(),
            Routing::TwoChoices => RoutingFunction::two_random_choices(),
            Routing::Hash => RoutingFunction::consistent_hash(|job: &Job| job.number % 5),
            Routing::Sticky => RoutingFunction::sticky(),
            Routing::Tag => RoutingFunction::by_tag(|job: &Job| ["even", "odd"][job.number % 2].into()),
            Routing::Custom => {
                let ledger = Arc::downgrade(ledger);
                RoutingFunction::new(move |_, views| {
                    let Some(ledger) = ledger.upgrade() else { return RoutingDecision::Wait };
                    let drawn = if ledger.is_calm() { 0 } else { ledger.draw(|rng| rng.below(40)) };
                    match drawn {
                        0..20 => RoutingDecision::Wait,
                        38 => RoutingDecision::Nobody,
                        39 => std::panic::resume_unwind(Box::new("a routing function errs")),
                        _ => {
                            let chosen = ledger.draw(|rng| rng.pick(views).map(|view| view.id));
                            chosen.map_or(RoutingDecision::Nobody, RoutingDecision::To)
                        }
                    }
                })
            }
        }
    }

    /// Starts the group; `None` if none of it starts.
    pub(crate) async fn start(&self, ledger: &Arc<Ledger>) -> Group {
        let mut group = ConsumerGroup::new(self.function(ledger)).name("model").room(self.room);
        for _ in 0..self.consumers {
            group = group.add_consumer(consumers::registration(ledger));
        }
        group = group.waiting_room(self.waiting).waiting_per_key(self.per_key).max_wait(self.max_wait);
        group = group.cancel_grace(self.grace).attempts(self.attempts).poison_after(self.poison).gap(self.gap);
        let group = group.start_group(&ledger.runtime).await.expect("the first of each consumer starts");
        let inline = DispatchConversation::new(&group);
        let group = if self.isolated {
            let supervisor = inline.supervisor().clone();
            DispatchConversation::with_supervisor(&group, SupervisedExecutor::isolated(), supervisor)
        } else {
            inline
        };
        assert!(ledger.group.set(group.clone()).is_ok(), "it is started once");
        group
    }
}
