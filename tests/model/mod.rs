//! A reference model of links, monitors and exit signals: plain data, one step at a time, nothing concurrent.
//!
//! Written from conformance/otp.md §2 to §4 and not from the runtime: links are a set of pairs, so that they are
//! symmetric by construction, monitors are a list, and a death is carried on until nothing more comes of it.
pub(crate) mod race;
pub(crate) mod stage;

use std::collections::BTreeSet;

/// A process, by its place in the order of spawning.
pub(crate) type Id = usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    Normal,
    Shutdown,
    A,
    B,
    Kill,
    Killed,
    Panicked,
    NoProcess,
}

/// What a process can find in its mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Message {
    Exit { from: Option<Id>, reason: Reason, by_link: bool },
    Down { monitor: usize, of: Id, reason: Reason },
    Text(u32),
}

/// One thing that is done, with everything named that it is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Link(Id),
    Unlink(Id),
    Monitor(Id),
    /// A monitor by its number, anybody's.
    Demonitor {
        monitor: usize,
        flush: bool,
    },
    SendExit(Id, Reason),
    SendText(Id, u32),
    Trap(bool),
    /// Receives all there is.
    Drain,
    /// Receives the first text and passes over what stands before it; over everything if there is none.
    TakeText,
    Spawn {
        link: bool,
        monitor: bool,
    },
    /// Sends itself an exit signal and waits for what comes of it.
    ExitSelf(Reason),
    Return(Reason),
    Panic,
}

/// What an act gives back to whoever did it, if that one lives on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    /// Whether the monitor stood.
    Stood(bool),
    /// In groups: what arrived in one step may stand in any order.
    Received(Vec<Vec<Message>>),
}

#[derive(Clone, Debug)]
pub(crate) struct Monitor {
    pub(crate) owner: Id,
    pub(crate) target: Id,
    /// It may still fire.
    pub(crate) stands: bool,
}

#[derive(Clone, Copy, Debug)]
struct Queued {
    step: usize,
    message: Message,
    /// A selective receive has seen it, so that a flush comes too late.
    passed_over: bool,
}

#[derive(Clone, Debug, Default)]
struct Member {
    end: Option<Reason>,
    trapping: bool,
    mailbox: Vec<Queued>,
}

#[derive(Clone, Debug)]
pub(crate) struct Model {
    members: Vec<Member>,
    /// The smaller id first.
    links: BTreeSet<(Id, Id)>,
    pub(crate) monitors: Vec<Monitor>,
    step: usize,
}

impl Model {
    pub(crate) fn new(processes: usize) -> Self {
        let members = vec![Member::default(); processes];
        Self { members, links: BTreeSet::new(), monitors: Vec::new(), step: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Why the process ended; `None` while it lives.
    pub(crate) fn end_of(&self, id: Id) -> Option<Reason> {
        self.members[id].end
    }

    pub(crate) fn is_alive(&self, id: Id) -> bool {
        self.members[id].end.is_none()
    }

    pub(crate) fn living(&self) -> Vec<Id> {
        (0..self.len()).filter(|id| self.is_alive(*id)).collect()
    }

    pub(crate) fn traps(&self, id: Id) -> bool {
        self.members[id].trapping
    }

    pub(crate) fn texts(&self, id: Id) -> usize {
        self.members[id].mailbox.iter().filter(|queued| matches!(queued.message, Message::Text(_))).count()
    }

    pub(crate) fn links_of(&self, id: Id) -> Vec<Id> {
        (0..self.len()).filter(|peer| self.links.contains(&pair(id, *peer))).collect()
    }

    /// Whom the process monitors, once for each monitor that stands.
    pub(crate) fn monitored_by_it(&self, id: Id) -> Vec<Id> {
        sorted(self.standing().filter(|monitor| monitor.owner == id).map(|monitor| monitor.target))
    }

    /// Who monitors the process, once for each monitor that stands.
    pub(crate) fn watchers_of(&self, id: Id) -> Vec<Id> {
        sorted(self.standing().filter(|monitor| monitor.target == id).map(|monitor| monitor.owner))
    }

    fn standing(&self) -> impl Iterator<Item = &Monitor> {
        self.monitors.iter().filter(|monitor| monitor.stands)
    }

    /// Does what a process does.
    pub(crate) fn act(&mut self, me: Id, act: Act) -> Answer {
        self.step += 1;
        match act {
            Act::Link(peer) => self.link(me, peer),
            Act::Unlink(peer) => drop(self.links.remove(&pair(me, peer))),
            Act::Monitor(target) => self.monitor(me, target),
            Act::Demonitor { monitor, flush } => return Answer::Stood(self.demonitor(me, monitor, flush)),
            Act::SendExit(to, reason) => self.exit(Some(me), to, reason),
            Act::SendText(to, text) => self.deliver(to, Message::Text(text)),
            Act::Trap(on) => self.members[me].trapping = on,
            Act::Drain => return Answer::Received(self.drain(me)),
            Act::TakeText => return Answer::Received(self.take_text(me)),
            Act::Spawn { link, monitor } => self.spawn(me, link, monitor),
            Act::ExitSelf(reason) => self.exit(Some(me), me, reason),
            Act::Return(reason) => self.die(me, reason),
            Act::Panic => self.die(me, Reason::Panicked),
        }
        Answer::Done
    }

    /// An exit signal from a thread that is no process.
    pub(crate) fn exit_from_outside(&mut self, to: Id, reason: Reason) {
        self.step += 1;
        self.exit(None, to, reason);
    }

    fn link(&mut self, me: Id, peer: Id) {
        if me == peer {
            return;
        }
        if self.is_alive(peer) {
            self.links.insert(pair(me, peer));
        } else {
            self.handle(me, Message::Exit { from: Some(peer), reason: Reason::NoProcess, by_link: true });
        }
    }

    fn monitor(&mut self, me: Id, target: Id) {
        let monitor = self.monitors.len();
        let stands = me != target && self.is_alive(target);
        self.monitors.push(Monitor { owner: me, target, stands });
        if !self.is_alive(target) {
            self.deliver(me, Message::Down { monitor, of: target, reason: Reason::NoProcess });
        }
    }

    fn demonitor(&mut self, me: Id, monitor: usize, flush: bool) -> bool {
        if self.monitors[monitor].owner != me {
            return false;
        }
        if flush {
            let is_its_down = |message| matches!(message, Message::Down { monitor: fired, .. } if fired == monitor);
            self.members[me].mailbox.retain(|queued| queued.passed_over || !is_its_down(queued.message));
        }
        std::mem::take(&mut self.monitors[monitor].stands)
    }

    fn spawn(&mut self, me: Id, link: bool, monitor: bool) {
        let child = self.len();
        self.members.push(Member::default());
        if link {
            self.link(me, child);
        }
        if monitor {
            self.monitor(me, child);
        }
    }

    /// An exit signal that somebody sent: rows 2 to 6 of the table.
    fn exit(&mut self, from: Option<Id>, to: Id, reason: Reason) {
        match reason {
            Reason::Kill => self.die(to, Reason::Killed),
            Reason::Normal if from == Some(to) && !self.traps(to) => self.die(to, Reason::Normal),
            _ => self.handle(to, Message::Exit { from, reason, by_link: false }),
        }
    }

    /// An exit signal that can be trapped.
    fn handle(&mut self, to: Id, exit: Message) {
        let Message::Exit { reason, .. } = exit else { unreachable!("only exits are handled") };
        if self.traps(to) {
            self.deliver(to, exit);
        } else if reason != Reason::Normal {
            self.die(to, reason);
        }
    }

    fn deliver(&mut self, to: Id, message: Message) {
        if self.is_alive(to) {
            self.members[to].mailbox.push(Queued { step: self.step, message, passed_over: false });
        }
    }

    fn die(&mut self, id: Id, reason: Reason) {
        if !self.is_alive(id) {
            return;
        }
        self.members[id].end = Some(reason);
        for peer in self.links_of(id) {
            self.links.remove(&pair(id, peer));
            self.handle(peer, Message::Exit { from: Some(id), reason, by_link: true });
        }
        for monitor in 0..self.monitors.len() {
            let Monitor { owner, target, stands } = self.monitors[monitor].clone();
            if stands && target == id {
                self.deliver(owner, Message::Down { monitor, of: id, reason });
            }
            self.monitors[monitor].stands = stands && target != id && owner != id;
        }
    }

    fn drain(&mut self, me: Id) -> Vec<Vec<Message>> {
        let mailbox = std::mem::take(&mut self.members[me].mailbox);
        let groups = mailbox.chunk_by(|one, next| one.step == next.step);
        groups.map(|group| group.iter().map(|queued| queued.message).collect()).collect()
    }

    fn take_text(&mut self, me: Id) -> Vec<Vec<Message>> {
        let mailbox = &mut self.members[me].mailbox;
        let at = mailbox.iter().position(|queued| matches!(queued.message, Message::Text(_)));
        let looked_at = at.unwrap_or(mailbox.len());
        mailbox[..looked_at].iter_mut().for_each(|queued| queued.passed_over = true);
        at.map(|at| vec![mailbox.remove(at).message]).into_iter().collect()
    }
}

fn pair(a: Id, b: Id) -> (Id, Id) {
    (a.min(b), a.max(b))
}

fn sorted(ids: impl Iterator<Item = Id>) -> Vec<Id> {
    let mut ids: Vec<Id> = ids.collect();
    ids.sort_unstable();
    ids
}
