//! Pure: a world for one machine: start functions, processes and a mailbox that do as they are told, and a log.
use crate::children::{Key, Standing, Turn};
use crate::event::{Action, Answer, Event, Place, Report, Request, StartFailure, Ticket, Who, Word};
use crate::spec::{ChildKind, Flags, Settings};
use crate::state::Machine;
use colloquium_runtime::{ExitReason, SpawnError};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub(super) const SECOND: Duration = Duration::from_secs(1);

/// What is to be seen of a machine from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Start(&'static str),
    /// The start function made no process.
    Fail(&'static str),
    Stop(&'static str),
    Kill(&'static str),
    Gone(&'static str),
    Turn(&'static str),
    Begun,
    End(ExitReason),
}

pub(super) struct World {
    pub(super) machine: Machine<u32>,
    pub(super) now: Duration,
    pub(super) log: Vec<Seen>,
    pub(super) answers: BTreeMap<Ticket, Answer<u32>>,
    pub(super) reports: Vec<Report<u32>>,
    pub(super) places: BTreeMap<Key, Place<u32>>,
    ids: BTreeMap<Key, &'static str>,
    /// How often the next starts of a child fail.
    pub(super) failing: BTreeMap<&'static str, u32>,
    /// Those that do not hear "stop", and those that do not even die of "kill".
    pub(super) deaf: BTreeSet<&'static str>,
    pub(super) stuck: BTreeSet<&'static str>,
    pub(super) alive: BTreeMap<u32, &'static str>,
    pub(super) turns: VecDeque<(Key, u64)>,
    pub(super) watched: BTreeSet<u32>,
    names: BTreeMap<Ticket, &'static str>,
    next_process: u32,
    next_ticket: Ticket,
}

pub(super) fn settings() -> Settings {
    Settings::new(ChildKind::Worker)
}

pub(super) fn bad() -> ExitReason {
    ExitReason::error("bad")
}

pub(super) fn no_spawn() -> StartFailure {
    StartFailure::Spawn(SpawnError::ProcessLimit(0))
}

pub(super) fn id(id: &str) -> Who<u32> {
    Who::Id(id.into())
}

impl World {
    /// A supervisor whose children have been started.
    pub(super) fn begun(flags: Flags, children: &[(&'static str, Settings)]) -> Self {
        let mut world = Self::unborn(flags, children);
        world.event(Event::Begin);
        world
    }

    pub(super) fn unborn(flags: Flags, children: &[(&'static str, Settings)]) -> Self {
        let mut world = Self {
            machine: Machine::new(flags),
            now: 1000 * SECOND,
            log: Vec::new(),
            answers: BTreeMap::new(),
            reports: Vec::new(),
            places: BTreeMap::new(),
            ids: BTreeMap::new(),
            failing: BTreeMap::new(),
            deaf: BTreeSet::new(),
            stuck: BTreeSet::new(),
            alive: BTreeMap::new(),
            turns: VecDeque::new(),
            watched: BTreeSet::new(),
            names: BTreeMap::new(),
            next_process: 1,
            next_ticket: 0,
        };
        for (id, settings) in children {
            let key = world
                .machine
                .add(Some((*id).into()), settings.clone().into(), world.now)
                .expect("a good specification");
            world.ids.insert(key, id);
        }
        world
    }

    /// Hands an event in, and does what follows from it.
    pub(super) fn event(&mut self, event: Event<u32>) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            self.machine.handle(event, self.now);
            while let Some(action) = self.machine.actions.pop_front() {
                self.carry_out(action, &mut events);
            }
            self.machine.litter.clear();
        }
    }

    fn carry_out(&mut self, action: Action<u32>, events: &mut VecDeque<Event<u32>>) {
        match action {
            Action::Adopt(ticket, key) => drop(self.ids.insert(key, self.names[&ticket])),
            Action::Start(key) => events.push_front(self.start(key)),
            Action::Tell { process, kill, watch } => self.tell(process, kill, watch, events),
            Action::Unwatch(process) => assert!(self.watched.remove(&process), "it was watched"),
            Action::Turn(key, number) => {
                self.log.push(Seen::Turn(self.ids[&key]));
                self.turns.push_back((key, number));
            }
            Action::Show(key, place) => drop(self.places.insert(key, place)),
            Action::Removed(key) => self.log.push(Seen::Gone(self.ids[&key])),
            Action::Answer(ticket, answer) => {
                assert!(self.answers.insert(ticket, answer).is_none(), "one answer each");
            }
            Action::Report(report) => self.reports.push(report),
            Action::Begun => self.log.push(Seen::Begun),
            Action::End(reason) => self.log.push(Seen::End(reason)),
        }
    }

    fn start(&mut self, key: Key) -> Event<u32> {
        let id = self.ids[&key];
        if let Some(times) = self.failing.get_mut(id).filter(|times| **times > 0) {
            *times -= 1;
            self.log.push(Seen::Fail(id));
            return Event::NotStarted(key, no_spawn());
        }
        assert!(self.alive.values().all(|up| *up != id) || self.stuck.contains(id), "{id} is up twice");
        self.log.push(Seen::Start(id));
        let process = self.next_process;
        self.next_process += 1;
        self.alive.insert(process, id);
        Event::Started(key, process)
    }

    fn tell(&mut self, process: u32, kill: bool, watch: bool, events: &mut VecDeque<Event<u32>>) {
        if watch {
            assert!(self.watched.insert(process), "watched once");
        }
        let id = self.alive.get(&process).copied().expect("who is told is alive");
        self.log.push(if kill { Seen::Kill(id) } else { Seen::Stop(id) });
        let hears = !self.stuck.contains(id) && (kill || !self.deaf.contains(id));
        if hears {
            self.alive.remove(&process);
            let reason = if kill { ExitReason::Killed } else { ExitReason::Shutdown };
            events.push_back(Event::Ended(process, reason));
        }
    }

    /// A child's process ends by itself.
    pub(super) fn fall(&mut self, id: &str, reason: ExitReason) {
        let process = self.process(id).expect("it is up");
        self.alive.remove(&process);
        self.event(Event::Ended(process, reason));
    }

    pub(super) fn said(&mut self, id: &str, word: Word) {
        let process = self.process(id).expect("it is there");
        self.event(Event::Said(process, word));
    }

    /// The next message of the machine to itself is received.
    pub(super) fn take_turn(&mut self) -> bool {
        let turn = self.turns.pop_front();
        if let Some((key, number)) = turn {
            self.event(Event::Turn(key, number));
        }
        turn.is_some()
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.event(Event::Tick);
    }

    /// Lets time go to the moment that the machine waits for.
    pub(super) fn wait(&mut self) {
        let deadline = self.machine.deadline().expect("it waits for a moment");
        self.now = self.now.max(deadline);
        self.event(Event::Tick);
    }

    pub(super) fn ask(&mut self, request: Request<u32>) -> Ticket {
        self.next_ticket += 1;
        self.event(Event::Request(self.next_ticket, request));
        self.next_ticket
    }

    pub(super) fn answer(&mut self, request: Request<u32>) -> Answer<u32> {
        let ticket = self.ask(request);
        self.answers.remove(&ticket).expect("an answer at once")
    }

    pub(super) fn add(&mut self, id: &'static str, settings: Settings) -> Ticket {
        self.names.insert(self.next_ticket + 1, id);
        let name = Some(id.into()).filter(|_| !id.is_empty());
        self.ask(Request::Add(name, settings.into()))
    }

    pub(super) fn log(&mut self) -> Vec<Seen> {
        std::mem::take(&mut self.log)
    }

    pub(super) fn process(&self, id: &str) -> Option<u32> {
        self.alive.iter().rev().find(|(_, name)| **name == id).map(|(process, _)| *process)
    }

    pub(super) fn standing(&self, id: &str) -> Option<Standing<u32>> {
        let (_, child) = self.machine.children.from(Key::FIRST).find(|(key, _)| self.ids[key] == id)?;
        Some(child.standing.clone())
    }

    /// All children that there are, each with a sign for how it stands.
    pub(super) fn picture(&self) -> String {
        let signs = self.machine.children.from(Key::FIRST).map(|(key, child)| {
            let sign = match child.standing {
                Standing::Stopped(_) => "-",
                Standing::Starting(_) => "s",
                Standing::Up(_) => "+",
                Standing::Stopping(_) => "x",
                Standing::Fallen(_) => "f",
                Standing::Again(Turn::Message(_)) => "r",
                Standing::Again(Turn::At(_)) => "b",
            };
            format!("{}{sign}", self.ids[&key])
        });
        signs.collect::<Vec<_>>().join(" ")
    }
}
