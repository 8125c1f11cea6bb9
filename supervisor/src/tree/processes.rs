//! Driver: all processes of a runtime as one look has seen them, in the order of their pids.
//!
//! Children that were started one after the other mostly have pids that follow each other. So they are found one after the
//! other, too, and a look at very many goes through memory in its order.
use crate::tree::collect::millis;
use crate::tree::data::{Awaited, Mail};
use crate::tree::judge::{self, Glance, Inside};
use crate::tree::options::PATIENCE;
use colloquium_runtime::{Activity, Handle, Pid, ProcessInside, Whereabouts};
use indexmap::IndexSet;
use rustc_hash::FxBuildHasher;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) struct Processes {
    rows: Vec<Row>,
    /// Names, or else labels. Most processes have none.
    names: BTreeMap<Pid, Arc<str>>,
    /// Whom those call who wait for an answer.
    callees: BTreeMap<Pid, Pid>,
    /// Where the last one was found.
    last: Cell<usize>,
}

pub(crate) struct Row {
    pub(crate) pid: Pid,
    pub(crate) parent: Option<Pid>,
    pub(crate) age_ms: u64,
    pub(crate) glance: Glance,
    /// It stands in a tree.
    claimed: bool,
}

impl Processes {
    /// Reads all; with those that others name as their parents, and how many parts could not be read.
    pub(crate) fn read(runtime: &Handle) -> (Self, IndexSet<Pid, FxBuildHasher>, usize) {
        let mut rows = Vec::with_capacity(runtime.runtime_info().processes + 64);
        let (mut names, mut callees) = (BTreeMap::new(), BTreeMap::new());
        let mut parents: IndexSet<Pid, FxBuildHasher> = IndexSet::default();
        let mut last = None;
        let unread = runtime.sample(PATIENCE, |mut sample| {
            // Children of one parent mostly stand together.
            if sample.parent != last {
                parents.extend(sample.parent);
                last = sample.parent;
            }
            if let Some(inside) = &mut sample.inside {
                let name = inside.name.take().or(inside.label.take());
                names.extend(name.map(|name| (sample.pid, name)));
                if let Activity::Calling(callee) = inside.activity {
                    callees.insert(sample.pid, callee);
                }
            }
            let inside = sample.inside.as_ref().map(|inside| read(inside, sample.whereabouts));
            let glance = Glance { doomed: sample.doomed, polled_ms: sample.polled.map(millis), inside };
            let (pid, parent, age_ms) = (sample.pid, sample.parent, millis(sample.age));
            rows.push(Row { pid, parent, age_ms, glance, claimed: false });
        });
        rows.sort_unstable_by_key(|row| row.pid);
        (Self { rows, names, callees, last: Cell::new(0) }, parents, unread)
    }

    pub(crate) fn get(&self, pid: Pid) -> Option<&Row> {
        self.rows.get(self.find(pid)?)
    }

    /// What was seen of a process, which stands in a tree.
    pub(crate) fn claim(&mut self, pid: Pid) -> Option<Glance> {
        let at = self.find(pid)?;
        let row = self.rows.get_mut(at)?;
        row.claimed = true;
        Some(row.glance.clone())
    }

    /// Its name, or else its label.
    pub(crate) fn name(&self, pid: Pid) -> Option<&Arc<str>> {
        self.names.get(&pid)
    }

    pub(crate) fn callee(&self, pid: Pid) -> Option<Pid> {
        self.callees.get(&pid).copied()
    }

    /// Those that stand in no tree.
    pub(crate) fn strangers(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| !row.claimed)
    }

    fn find(&self, pid: Pid) -> Option<usize> {
        let next = self.last.get() + 1;
        let at = match self.rows.get(next) {
            Some(row) if row.pid == pid => next,
            _ => self.rows.binary_search_by_key(&pid, |row| row.pid).ok()?,
        };
        self.last.set(at);
        Some(at)
    }
}

impl Row {
    pub(crate) fn is_claimed(&self) -> bool {
        self.claimed
    }
}

fn read(inside: &ProcessInside, whereabouts: Whereabouts) -> Inside {
    let awaited = match whereabouts {
        Whereabouts::Call => Some(Awaited::Answer),
        Whereabouts::Send => Some(Awaited::Room),
        Whereabouts::End => Some(Awaited::End),
        Whereabouts::Sleep => Some(Awaited::Time),
        Whereabouts::Io => Some(Awaited::Io),
        Whereabouts::Other => Some(Awaited::Other),
        _ => None,
    };
    let activity = match inside.activity {
        Activity::Receiving(time) => judge::Activity::Receives { for_ms: millis(time) },
        Activity::Calling(_) => judge::Activity::Calls,
        Activity::Blocking(time) => judge::Activity::Blocks { for_ms: millis(time) },
        _ => awaited.map_or(judge::Activity::Works, judge::Activity::Awaits),
    };
    let oldest_ms = inside.oldest_message.map(millis);
    let mail = Mail { held: inside.mailbox, bound: inside.mailbox_bound, oldest_ms, dropped: inside.dropped };
    Inside { activity, mail }
}
