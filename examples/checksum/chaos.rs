//! Driver: what happens to consumers with `--chaos`: panics and hangs in the course of a message, and kills from outside.
use crate::Job;
use colloquium::SpawnError;
use colloquium::prelude::*;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

pub(crate) struct Chaos {
    dice: AtomicU64,
    raging: AtomicBool,
}

impl Chaos {
    pub(crate) fn new() -> Self {
        // The usual report of a panic would be the most of what is printed.
        std::panic::set_hook(Box::new(|_| {}));
        Self { dice: AtomicU64::new(RandomState::new().hash_one(0)), raging: AtomicBool::new(true) }
    }

    fn below(&self, bound: u64) -> u64 {
        let drawn = self.dice.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        let mixed = (drawn ^ (drawn >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed >> 17) % bound
    }

    /// Of a hundred messages some crash their consumer; of five hundred one hangs it.
    pub(crate) async fn strike(&self) {
        match self.below(500) {
            0 => std::future::pending().await,
            1..20 => panic!("chaos"),
            _ => {}
        }
    }

    /// Kills a consumer every few milliseconds, until it is calm.
    pub(crate) fn unleash(
        self: &Arc<Self>,
        runtime: &Runtime,
        hashers: &DispatchConversation<Job, [u8; 32]>,
    ) -> Result<(), SpawnError> {
        let (chaos, group) = (Arc::clone(self), hashers.group());
        let body = async move |ctx: Context<()>| {
            while chaos.raging.load(Ordering::Relaxed) {
                ctx.sleep(Duration::from_millis(2 + chaos.below(20))).await;
                let up: Vec<Pid> = group.consumers().iter().filter_map(|view| view.pid).collect();
                if let Some(victim) = up.get(usize::try_from(chaos.below(up.len().max(1) as u64)).unwrap_or(0)) {
                    ctx.runtime().exit(*victim, ExitReason::Kill);
                }
            }
        };
        runtime.spawn(body).map(drop)
    }

    pub(crate) fn calm(&self) {
        self.raging.store(false, Ordering::Relaxed);
    }
}
