//! Driver: a group's part of a dump, read in passing.
//!
//! The yard is read some hundred consumers or messages at a time, so that nobody waits long for its lock; what is shown is true of
//! some moment of the dump. No lock is waited for longer than [`PATIENCE`], and under none of them runs users' code, so that
//! no process that is stuck can hold one.
use crate::group::{Group, YardOf};
use crate::limits::KILL_PATIENCE;
use crate::picture::{CLASSES, ConsumerPart, ConsumerPicture, Crowd, Held, Letters, Picture, Places, Spot, Talk};
use crate::record::Record;
use crate::root::Stem;
use crate::view::ConsumerId;
use colloquium_runtime::Pid;
use colloquium_supervisor::tree::{Attention, Section, Severity, Shown, State};
use indexmap::IndexMap;
use rustc_hash::FxBuildHasher;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How long a lock is waited for.
const PATIENCE: Duration = Duration::from_millis(2);
/// Consumers or messages that are read under one taking of the lock.
const PAGE: usize = 128;
/// Consumers that are shown one by one, beside those in trouble.
const CONSUMERS: usize = 16;
/// Those in trouble.
const TROUBLED: usize = 50;
/// Messages of one consumer that are told.
const HELD: usize = 3;
/// Conversations that are shown one by one: those that have waited longest.
const TALKS: usize = 5;
/// Dead letters count as new for so long.
const NEW: Duration = Duration::from_secs(300);

/// What dumps show of a group ([`ConsumerGroup::section`](crate::ConsumerGroup::section)).
pub struct GroupSection<M, R> {
    group: Arc<Group<M, R>>,
}

type Ticket<M, R> = Arc<Record<M, R>>;

/// A message that has waited for long: since when, its id, its key, where it is.
type Old<M, R> = (Duration, u64, Option<u64>, Spot, Ticket<M, R>);

/// A message at a consumer: its id and its key.
type At<M, R> = (u64, Option<u64>, Ticket<M, R>);

/// What one walk over all messages has found.
struct Walk<M, R> {
    crowd: Crowd,
    waiting_for: IndexMap<u64, usize, FxBuildHasher>,
    /// Who has a key.
    holders: IndexMap<u64, (ConsumerId, u64), FxBuildHasher>,
    /// The longest waiting, oldest first.
    oldest: Vec<Old<M, R>>,
    /// Those that were and are not: they may be the last that hold their message, and are dropped outside the lock.
    younger: Vec<Old<M, R>>,
    /// What the consumers that are shown have.
    held: IndexMap<ConsumerId, Vec<At<M, R>>, FxBuildHasher>,
}

impl<M: Send + Sync + 'static, R: Send + 'static> GroupSection<M, R> {
    pub(crate) fn new(group: &Arc<Group<M, R>>) -> Self {
        Self { group: Arc::clone(group) }
    }

    fn read<T>(&self, look: impl FnOnce(&YardOf<M, R>) -> T) -> Option<T> {
        self.group.try_yard_for(PATIENCE).map(|yard| look(&yard))
    }

    fn picture(&self, now: Duration) -> Option<Picture> {
        let group = self.read(|yard| yard.part(now))?;
        let (mut shown, total, started, taken) = self.consumers()?;
        let walk = self.walk(now, &shown)?;
        let Walk { mut crowd, waiting_for, holders, oldest, mut held, .. } = walk;
        (crowd.started, crowd.queued) = (started, taken.saturating_sub(started));
        crowd.keys = waiting_for.len();
        crowd.most = waiting_for.iter().max_by_key(|(_, waiting)| **waiting).map(|(key, waiting)| (*key, *waiting));
        let consumers = shown.drain(..).map(|part| {
            let held = held.swap_remove(&part.id).unwrap_or_default();
            let glimpse = |(id, key, ticket): At<M, R>| {
                let seen = ticket.glimpse(PATIENCE).filter(|seen| seen.started)?;
                Some(Held { id, key, seen })
            };
            ConsumerPicture { part, held: held.into_iter().filter_map(glimpse).collect() }
        });
        let consumers = consumers.collect();
        let talk = |(since, id, key, spot, ticket): Old<M, R>| {
            let seen = ticket.glimpse(PATIENCE)?;
            let behind = key.and_then(|key| holders.get(&key).copied());
            Some(Talk { pid: seen.conversation?, id, key, since, tries: seen.tries, spot, behind })
        };
        let talks = oldest.into_iter().filter_map(talk).collect();
        let letters = {
            let dead = self.group.dead.try_lock_for(PATIENCE)?;
            let (new, bytes) = dead.since(now.saturating_sub(NEW));
            Letters { kept: dead.len(), most: dead.bounds().0, new, total: dead.total(), bytes }
        };
        let blames = self.group.blames.try_lock_for(PATIENCE)?.iter().copied().collect();
        let (name, cancel_grace) = (self.group.name.to_string(), self.group.options.cancel_grace);
        let kill_patience = KILL_PATIENCE;
        Some(Picture { name, now, cancel_grace, kill_patience, group, total, consumers, crowd, talks, letters, blames })
    }

    /// The consumers that are shown, how many there are, and the deliveries that all of them have begun with and have.
    fn consumers(&self) -> Option<(Vec<ConsumerPart>, usize, usize, usize)> {
        let (mut shown, mut from, mut started, mut taken, mut troubled) = (Vec::new(), 0, 0, 0, 0);
        loop {
            let page = self.read(|yard| yard.consumers(from, PAGE))?;
            if page.is_empty() {
                return Some((shown, from, started, taken));
            }
            for (at, part) in (from..).zip(&page) {
                started += part.started as usize;
                taken += part.taken as usize;
                let wrong = part.stuck || part.failed.is_some() || part.back_off.is_some() || part.ejected.is_some();
                if at < CONSUMERS || wrong && troubled < TROUBLED {
                    troubled += usize::from(at >= CONSUMERS);
                    shown.push(part.clone());
                }
            }
            from += page.len();
        }
    }

    /// Goes over all messages, a page at a time.
    fn walk(&self, now: Duration, shown: &[ConsumerPart]) -> Option<Walk<M, R>> {
        let mut walk = Walk {
            crowd: Crowd::default(),
            waiting_for: IndexMap::default(),
            holders: IndexMap::default(),
            oldest: Vec::new(),
            younger: Vec::new(),
            held: shown.iter().map(|part| (part.id, Vec::new())).collect(),
        };
        let mut from = Some(0);
        while let Some(slot) = from {
            from = self.read(|yard| {
                yard.messages(slot, PAGE, |seen| {
                    walk.crowd.again += usize::from(seen.again > 0);
                    if let Spot::Out(consumer) = seen.spot {
                        if let Some(key) = seen.key {
                            walk.holders.insert(key, (consumer, seen.id));
                        }
                        if let Some(held) = walk.held.get_mut(&consumer).filter(|held| held.len() < HELD) {
                            held.push((seen.id, seen.key, Arc::clone(seen.ticket)));
                        }
                        return;
                    }
                    if matches!(seen.spot, Spot::Room | Spot::Key) {
                        let waited = now.saturating_sub(seen.since).as_secs();
                        walk.crowd.ages[CLASSES.iter().take_while(|class| waited >= **class).count()] += 1;
                        if let Some(key) = seen.key {
                            *walk.waiting_for.entry(key).or_default() += 1;
                        }
                    }
                    let older = |other: &Old<M, R>| other.0 <= seen.since;
                    let at = walk.oldest.iter().take_while(|other| older(other)).count();
                    if at < TALKS {
                        walk.oldest.insert(at, (seen.since, seen.id, seen.key, seen.spot, Arc::clone(seen.ticket)));
                        walk.younger.extend((walk.oldest.len() > TALKS).then(|| walk.oldest.pop()).flatten());
                    }
                })
            })?;
            walk.younger.clear();
        }
        Some(walk)
    }

    fn places(&self) -> Option<Places> {
        let consumers = self.group.consumers.address().ok().map(|address| address.pid());
        // The tree may have been started anew since.
        let parent = consumers.and_then(|pid| self.group.runtime.info(pid)).and_then(|info| info.parent);
        let group = parent.or_else(|| self.group.stem.get().map(Stem::pid))?;
        let conversations = self.group.conversations.pid();
        Some(Places { group, consumers, conversations })
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> Section for GroupSection<M, R> {
    fn name(&self) -> &str {
        &self.group.name
    }

    fn subject(&self) -> Option<Pid> {
        self.places().map(|places| places.group)
    }

    fn show(&self) -> Shown {
        let places = self.places().filter(|places| self.group.runtime.info(places.group).is_some());
        let Some(places) = places else { return Shown::new() };
        match self.picture(self.group.runtime.now()) {
            Some(picture) => picture.show(places),
            None => {
                let text = "its group could not be read in time: its lock is held";
                let unread = Attention::new(Severity::Warning, self.name(), State::Unread, text);
                Shown::new().attention_at(places.group, None, unread)
            }
        }
    }
}

/// The same, as long as the group lasts: it is shown without being asked for, and kept by the group itself.
pub(crate) struct Passing<M, R> {
    name: Arc<str>,
    group: Weak<Group<M, R>>,
}

impl<M: Send + Sync + 'static, R: Send + 'static> Passing<M, R> {
    pub(crate) fn new(group: &Arc<Group<M, R>>) -> Self {
        Self { name: Arc::clone(&group.name), group: Arc::downgrade(group) }
    }

    fn section(&self) -> Option<GroupSection<M, R>> {
        self.group.upgrade().map(|group| GroupSection { group })
    }
}

impl<M: Send + Sync + 'static, R: Send + 'static> Section for Passing<M, R> {
    fn name(&self) -> &str {
        &self.name
    }

    fn subject(&self) -> Option<Pid> {
        self.section()?.subject()
    }

    fn show(&self) -> Shown {
        self.section().map_or_else(Shown::new, |section| section.show())
    }
}

impl<M, R> fmt::Debug for GroupSection<M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GroupSection({})", self.group.name)
    }
}
