//! A mailbox against a model of it: random sends, signals and receives of every kind, for each policy and small bounds.
//!
//! One process sends to itself, so that what is in its mailbox at each moment is no matter of luck.

mod bounded;
mod workers;

use bounded::within;
use colloquium::simulation::is_simulated;
use colloquium::{Context, ExitReason, Handle, Mailbox, SendErrorKind, TimedOut};
use std::time::Duration;
use workers::{Dice, on_each_size};

const RUNS: u64 = 60;
const STEPS: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Item {
    Number(u64),
    Exit,
}

impl Item {
    fn is_message(self) -> bool {
        matches!(self, Self::Number(_))
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Policy {
    Refuse,
    DropOldest,
    DropNewest,
}

impl Policy {
    fn mailbox(self, bound: u32) -> Mailbox {
        let mailbox = Mailbox::bounded(bound);
        match self {
            Self::Refuse => mailbox,
            Self::DropOldest => mailbox.drop_oldest(),
            Self::DropNewest => mailbox.drop_newest(),
        }
    }
}

/// What the documentation says of a mailbox: one line of items, of which only the messages count in the bound.
struct Model {
    policy: Policy,
    bound: usize,
    items: Vec<Item>,
    dropped: u64,
}

impl Model {
    fn messages(&self) -> usize {
        self.items.iter().filter(|item| item.is_message()).count()
    }

    /// False if it is refused.
    fn send(&mut self, number: u64) -> bool {
        if self.messages() < self.bound {
            self.items.push(Item::Number(number));
            return true;
        }
        if self.policy == Policy::Refuse {
            return false;
        }
        self.dropped += 1;
        if self.policy == Policy::DropOldest {
            let oldest = self.items.iter().position(|item| item.is_message()).expect("it is full");
            self.items.remove(oldest);
            self.items.push(Item::Number(number));
        }
        true
    }

    fn first(&mut self, wanted: impl Fn(&Item) -> bool) -> Option<Item> {
        let at = self.items.iter().position(wanted)?;
        Some(self.items.remove(at))
    }
}

/// Takes those whose number leaves this remainder, or the exits.
fn wanted(remainder: u64) -> impl Fn(&Item) -> bool {
    move |item| match item {
        Item::Number(number) => number % 4 == remainder,
        Item::Exit => remainder == 4,
    }
}

async fn step(ctx: &mut Context<Item>, model: &mut Model, dice: &mut Dice, number: u64, choices: bool) -> String {
    let own = ctx.address();
    match dice.below(if choices { 10 } else { 8 }) {
        0..4 => {
            let sent = own.send(Item::Number(number));
            assert_eq!(sent.is_ok(), model.send(number), "send {number}");
            if let Err(error) = sent {
                assert_eq!((error.kind(), error.into_message()), (SendErrorKind::Full, Item::Number(number)));
            }
            format!("send {number}")
        }
        4 => {
            own.exit(ExitReason::Shutdown);
            model.items.push(Item::Exit);
            "exit".to_owned()
        }
        5 => {
            assert_eq!(ctx.try_recv(), model.first(|_| true), "try_recv");
            "try_recv".to_owned()
        }
        6 => {
            let expected = model.first(|_| true).ok_or(TimedOut);
            assert_eq!(ctx.recv_timeout(Duration::ZERO).await, expected, "recv_timeout");
            "recv_timeout".to_owned()
        }
        7 => {
            if let Some(expected) = model.first(|_| true) {
                assert_eq!(ctx.recv().await, expected, "recv");
            }
            "recv".to_owned()
        }
        _ => {
            let remainder = dice.below(6);
            let expected = model.first(wanted(remainder)).ok_or(TimedOut);
            let chosen = ctx.recv_matching_timeout(Duration::ZERO, wanted(remainder)).await;
            assert_eq!(chosen, expected, "recv_matching {remainder}");
            format!("recv_matching {remainder}")
        }
    }
}

async fn run(mut ctx: Context<Item>, mut model: Model, mut dice: Dice, choices: bool) {
    ctx.trap_exits(|_| Item::Exit);
    let mut done = Vec::new();
    for number in 0..STEPS as u64 {
        done.push(step(&mut ctx, &mut model, &mut dice, number, choices).await);
        let info = ctx.runtime().info(ctx.pid()).expect("it lives");
        assert_eq!((info.mailbox, info.dropped), (model.messages(), model.dropped), "after {done:?}");
    }
    let left: Vec<Item> = std::iter::from_fn(|| ctx.try_recv()).collect();
    assert_eq!(left, model.items, "after {done:?}");
}

async fn against_the_model(runtime: &Handle, policy: Policy, choices: bool) {
    // Simulated, the seeds bring the many runs.
    let runs = if is_simulated() { 1 } else { RUNS };
    for seed in 1..=runs {
        let seed = if is_simulated() { runtime.rng().below(10_000) } else { seed };
        let bound = 1 + seed % 5;
        let model = Model { policy, bound: bound as usize, items: Vec::new(), dropped: 0 };
        let process = runtime.build().mailbox(policy.mailbox(bound as u32));
        let process = process.spawn(move |ctx| run(ctx, model, Dice::new(seed), choices)).expect("a process");
        let reason = within(process.ended()).await;
        assert_eq!(reason, ExitReason::Normal, "seed {seed}, {policy:?}, bound {bound}");
    }
}

#[test]
fn a_mailbox_that_refuses() {
    on_each_size(async |runtime| against_the_model(&runtime, Policy::Refuse, true).await);
}

#[test]
fn a_mailbox_that_drops_its_newest() {
    on_each_size(async |runtime| against_the_model(&runtime, Policy::DropNewest, true).await);
}

#[test]
fn a_mailbox_that_drops_its_oldest() {
    on_each_size(async |runtime| against_the_model(&runtime, Policy::DropOldest, false).await);
}

#[test]
fn a_mailbox_that_drops_its_oldest_among_choices() {
    on_each_size(async |runtime| against_the_model(&runtime, Policy::DropOldest, true).await);
}
