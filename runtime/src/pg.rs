//! Shared: process groups, OTP's `pg`; per runtime.
//!
//! One lock around an ordered map of groups. Below it a control lock may be taken, one at a time: joining notes the group
//! at the process, and changes are queued at the subscribers under the group's lock, so that each sees every change after
//! its snapshot once and in order. Wakers are called after it. A group's size is bounded by what processes join; nothing
//! is queued here.
use crate::error::{NotJoined, ProcessEnded};
use crate::pid::Pid;
use crate::process::control::AnyProcess;
use crate::signal::Signal;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Waker;

/// A process joined or left a group that is subscribed to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupEvent {
    /// The group.
    pub group: Arc<str>,
    /// The process.
    pub pid: Pid,
    /// Which of the two.
    pub change: GroupChange,
}

/// What happened to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupChange {
    /// A process joined, once.
    Joined,
    /// A process left, once, or ended (one event for each time it had joined).
    Left,
}

/// Who was in a group when it was subscribed to: a process that joined n times stands here n times.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupView {
    /// The members, in the order in which they joined.
    pub members: Vec<Pid>,
}

#[derive(Default)]
pub(crate) struct Groups(Mutex<BTreeMap<Arc<str>, Group>>);

#[derive(Default)]
struct Group {
    /// By the order of joining; each member knows its numbers.
    members: BTreeMap<u64, AnyProcess>,
    subscribers: BTreeMap<Pid, AnyProcess>,
    joins: u64,
}

/// That a process has joined a group, as the process keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    pub(crate) group: Arc<str>,
    number: u64,
}

impl Group {
    fn is_unused(&self) -> bool {
        self.members.is_empty() && self.subscribers.is_empty()
    }

    /// Queues a change at each subscriber.
    fn tell(&self, group: &Arc<str>, pid: Pid, change: GroupChange, wakers: &mut Vec<Waker>) {
        for subscriber in self.subscribers.values() {
            let mut core = subscriber.core();
            if core.fate.is_none() {
                wakers.extend(core.push_signal(
                    subscriber.head(),
                    Signal::Group(GroupEvent { group: Arc::clone(group), pid, change }),
                ));
            }
        }
    }
}

impl Groups {
    pub(crate) fn join(&self, name: &Arc<str>, process: &AnyProcess) -> Result<(), ProcessEnded> {
        let mut wakers = Vec::new();
        let mut groups = self.0.lock();
        let group = groups.entry(Arc::clone(name)).or_default();
        {
            let mut core = process.core();
            if core.fate.is_some() {
                drop(core);
                if group.is_unused() {
                    groups.remove(name);
                }
                return Err(ProcessEnded);
            }
            core.extra().groups.push(Membership { group: Arc::clone(name), number: group.joins });
        }
        group.members.insert(group.joins, AnyProcess::clone(process));
        group.joins += 1;
        group.tell(name, process.head().pid, GroupChange::Joined, &mut wakers);
        drop(groups);
        wakers.into_iter().for_each(Waker::wake);
        Ok(())
    }

    pub(crate) fn leave(&self, name: &str, process: &AnyProcess) -> Result<(), NotJoined> {
        let mut wakers = Vec::new();
        let mut groups = self.0.lock();
        let membership = {
            let mut core = process.core();
            let joined = core.extra.as_mut().map(|extra| &mut extra.groups);
            joined.and_then(|joined| {
                let at = joined.iter().rposition(|membership| *membership.group == *name)?;
                Some(joined.swap_remove(at))
            })
        };
        let left = membership.and_then(|membership| Self::remove_member(&mut groups, &membership, &mut wakers));
        drop(groups);
        wakers.into_iter().for_each(Waker::wake);
        left.map(drop).ok_or(NotJoined)
    }

    /// A process is about to be gone: it leaves its groups, as often as it had joined each.
    pub(crate) fn leave_all(&self, pid: Pid, joined: &[Membership], subscribed: &[Arc<str>]) {
        let mut wakers = Vec::new();
        let mut removed = Vec::new();
        let mut groups = self.0.lock();
        for membership in joined {
            removed.extend(Self::remove_member(&mut groups, membership, &mut wakers));
        }
        for name in subscribed {
            removed.extend(Self::remove_subscriber(&mut groups, name, pid));
        }
        drop(groups);
        wakers.into_iter().for_each(Waker::wake);
        drop(removed);
    }

    fn remove_member(
        groups: &mut BTreeMap<Arc<str>, Group>,
        membership: &Membership,
        wakers: &mut Vec<Waker>,
    ) -> Option<AnyProcess> {
        let group = groups.get_mut(&membership.group)?;
        let member = group.members.remove(&membership.number)?;
        group.tell(&membership.group, member.head().pid, GroupChange::Left, wakers);
        if group.is_unused() {
            groups.remove(&membership.group);
        }
        Some(member)
    }

    fn remove_subscriber(groups: &mut BTreeMap<Arc<str>, Group>, name: &str, pid: Pid) -> Option<AnyProcess> {
        let group = groups.get_mut(name)?;
        let subscriber = group.subscribers.remove(&pid)?;
        if group.is_unused() {
            groups.remove(name);
        }
        Some(subscriber)
    }

    pub(crate) fn subscribe(&self, name: &Arc<str>, process: &AnyProcess) -> GroupView {
        let pid = process.head().pid;
        let mut groups = self.0.lock();
        let alive = {
            let mut core = process.core();
            let alive = core.fate.is_none();
            if alive && !core.extra().subscriptions.contains(name) {
                core.extra().subscriptions.push(Arc::clone(name));
            }
            alive
        };
        let group = groups.entry(Arc::clone(name)).or_default();
        if alive {
            group.subscribers.entry(pid).or_insert_with(|| AnyProcess::clone(process));
        }
        let members = group.members.values().map(|member| member.head().pid).collect();
        if group.is_unused() {
            groups.remove(name);
        }
        GroupView { members }
    }

    pub(crate) fn unsubscribe(&self, name: &str, process: &AnyProcess) -> bool {
        let mut groups = self.0.lock();
        let removed = Self::remove_subscriber(&mut groups, name, process.head().pid);
        if removed.is_some()
            && let Some(extra) = process.core().extra.as_mut()
        {
            extra.subscriptions.retain(|subscription| **subscription != *name);
        }
        drop(groups);
        removed.is_some()
    }

    /// The live members, in the order in which they joined, each as often as it joined.
    pub(crate) fn members(&self, name: &str) -> Vec<AnyProcess> {
        let groups = self.0.lock();
        let members = groups.get(name).into_iter().flat_map(|group| group.members.values());
        members.filter(|member| member.head().is_alive()).cloned().collect()
    }

    /// The groups that have members.
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        let groups = self.0.lock();
        groups.iter().filter(|(_, group)| !group.members.is_empty()).map(|(name, _)| Arc::clone(name)).collect()
    }
}
