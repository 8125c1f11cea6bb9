//! Driver: a supervisor's process: what it receives goes into its machine, and what that wants is done.
use crate::board::{Board, Permit};
use crate::child::Start;
use crate::children::Key;
use crate::event::{Action, Answer, Event, Place, StartFailure, Ticket};
use crate::message::{Ask, Msg, SupervisorMessage};
use crate::ready::Ready;
use crate::report::Reporter;
use crate::rows::Rows;
use colloquium_runtime::{Address, Context, Down, Exit, ExitReason, Handle, MonitorRef, Pid, ReplyTo, Sleep};
use indexmap::IndexMap;
use rustc_hash::FxBuildHasher;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

pub(crate) struct Driver {
    ctx: Context<SupervisorMessage>,
    /// Its own, which many of its children get.
    address: Address<SupervisorMessage>,
    runtime: Handle,
    board: Board,
    starts: Rows<Box<dyn Start>>,
    /// How many are known to the board.
    subtrees: usize,
    /// Requests that are to be answered, from this ticket on; most are answered in the order in which they came.
    asked: VecDeque<Option<Asked>>,
    first_ticket: Ticket,
    watched: IndexMap<Pid, MonitorRef, FxBuildHasher>,
    actions: VecDeque<Action<Pid>>,
    deadline: Option<Duration>,
    /// Rings at this time, which is the deadline or before it.
    alarm: Option<(Duration, Sleep)>,
    ready: Option<Ready>,
    reporter: Reporter,
    end: Option<ExitReason>,
}

/// A request that is to be answered.
struct Asked {
    reply_to: ReplyTo<Answer<Pid>>,
    start: Option<Box<dyn Start>>,
    _permit: Permit,
}

/// The body of a supervisor. Its children are in the machine already, under these keys.
pub(crate) async fn run(
    mut ctx: Context<SupervisorMessage>,
    board: Board,
    starts: Rows<Box<dyn Start>>,
    ready: Ready,
) -> ExitReason {
    ctx.trap_exits(SupervisorMessage::exit);
    let names = board.clone();
    ctx.name_children(move |child| names.id_of(child));
    let runtime = ctx.runtime();
    let reporter = Reporter::new(ctx.pid(), runtime.clone());
    let mut driver = Driver {
        address: ctx.address(),
        ctx,
        runtime,
        board,
        starts,
        subtrees: 0,
        asked: VecDeque::new(),
        first_ticket: 0,
        watched: IndexMap::default(),
        actions: VecDeque::new(),
        deadline: None,
        alarm: None,
        ready: Some(ready),
        reporter,
        end: None,
    };
    driver.handle(Event::Begin);
    loop {
        if let Some(reason) = driver.end.take() {
            return reason;
        }
        match driver.receive().await {
            Some(SupervisorMessage(message)) => driver.receives(message),
            None => driver.handle(Event::Tick),
        }
    }
}

impl Driver {
    /// The next message; none if the time that the machine waits for may have come.
    async fn receive(&mut self) -> Option<SupervisorMessage> {
        let Some(deadline) = self.deadline else {
            self.alarm = None;
            return Some(self.ctx.recv().await);
        };
        // One that rings early does no harm. Who stops many children one by one has a later deadline for each.
        drop(self.alarm.take_if(|(at, _)| *at > deadline));
        let ctx = &mut self.ctx;
        let (_, sleep) = self.alarm.get_or_insert_with(|| {
            let left = deadline.saturating_sub(self.runtime.now());
            (deadline, ctx.sleep(left))
        });
        let received = poll_fn(|cx| match Pin::new(&mut ctx.recv()).poll(cx) {
            Poll::Ready(message) => Poll::Ready(Some(message)),
            Poll::Pending => Pin::new(&mut *sleep).poll(cx).map(|()| None),
        });
        let received = received.await;
        if received.is_none() {
            self.alarm = None;
        }
        received
    }

    fn receives(&mut self, message: Msg) {
        match message {
            Msg::Exit(exit) => self.exit(exit),
            Msg::Down(down) => self.down(down),
            Msg::Said(child, word) => self.handle(Event::Said(child, word)),
            Msg::Turn(child, number) => self.handle(Event::Turn(child, number)),
            Msg::Ask(ask) => self.ask(ask),
            Msg::Stop(within) => {
                let by = within.map(|within| self.runtime.now().saturating_add(within));
                self.handle(Event::End(ExitReason::Shutdown, by));
            }
            // Who asks may have given up.
            Msg::Introduce(reply_to) => drop(reply_to.send(self.board.clone())),
        }
    }

    /// The parent's exit ends the supervisor, whatever the reason; so does one from outside all processes, since it is the
    /// program's own hand (and the runtime's, when it shuts down). A child's comes along its link. Strangers have no say.
    fn exit(&mut self, exit: Exit) {
        match exit.from {
            None => self.handle(Event::End(exit.reason, None)),
            from if from == self.ctx.parent() => self.handle(Event::End(exit.reason, None)),
            Some(child) if exit.by_link => self.handle(Event::Ended(child, exit.reason)),
            Some(_) => {}
        }
    }

    /// A child that was told to stop is gone. Mostly the exit along its link has come first.
    fn down(&mut self, down: Down) {
        let Some(child) = down.pid.filter(|child| self.watched.swap_remove(child).is_some()) else { return };
        if down.reason == ExitReason::NoProcess {
            // It was dead when it was to be monitored. If the link stands, the true reason is on its way along it; if not,
            // this is answered by an exit of its own.
            self.ctx.link(child);
        } else {
            self.handle(Event::Ended(child, down.reason));
        }
    }

    fn ask(&mut self, ask: Ask) {
        let Ask { request, start, reply_to, permit } = ask;
        let ticket = self.first_ticket + self.asked.len() as Ticket;
        self.asked.push_back(Some(Asked { reply_to, start, _permit: permit }));
        self.handle(Event::Request(ticket, request));
    }

    fn asked(&mut self, ticket: Ticket) -> Option<&mut Option<Asked>> {
        let at = usize::try_from(ticket.checked_sub(self.first_ticket)?).ok()?;
        self.asked.get_mut(at)
    }

    fn answered(&mut self, ticket: Ticket) -> Option<Asked> {
        let asked = self.asked(ticket)?.take();
        while self.asked.front().is_some_and(Option::is_none) {
            self.asked.pop_front();
            self.first_ticket += 1;
        }
        asked
    }

    /// Hands an event to the machine and does what it wants, until it wants nothing more.
    fn handle(&mut self, event: Event<Pid>) {
        let now = self.runtime.now();
        self.feed(event, now);
        // The first start counts from the event: a clock read just before it would show what it takes to get there, microseconds
        // at most. Later ones come after a start function that may have taken long, and read the clock.
        let mut at = Some(now);
        while let Some(action) = self.actions.pop_front() {
            self.carry_out(action, &mut at);
        }
    }

    fn feed(&mut self, event: Event<Pid>, now: Duration) {
        // Kept until the lock is free: dropping the last of a reason may run a destructor of a user's.
        let kept = match &event {
            Event::Ended(_, reason) | Event::End(reason, _) => Some(reason.clone()),
            _ => None,
        };
        let mut machine = self.board.machine();
        machine.handle(event, now);
        if self.actions.is_empty() {
            std::mem::swap(&mut self.actions, &mut machine.actions);
        } else {
            self.actions.append(&mut machine.actions);
        }
        self.deadline = machine.deadline();
        let litter = (!machine.litter.is_empty()).then(|| std::mem::take(&mut machine.litter));
        drop(machine);
        drop((litter, kept));
    }

    fn carry_out(&mut self, action: Action<Pid>, at: &mut Option<Duration>) {
        match action {
            Action::Start(child) => self.start(child, at.take()),
            Action::Tell { process, kill, watch } => self.tell(process, kill, watch),
            Action::Unwatch(process) => {
                if let Some(monitor) = self.watched.swap_remove(&process) {
                    self.ctx.demonitor_flush(monitor);
                }
            }
            Action::Show(child, place) => {
                if let Some(start) = self.starts.get_mut(child) {
                    start.show(place, &self.runtime);
                }
                if self.subtrees > 0 && !matches!(place, Place::Up(_)) && self.board.set_subtree(child, None) {
                    self.subtrees -= 1;
                }
            }
            Action::Turn(child, number) => {
                // Its own mailbox refuses nothing while it lives.
                drop(self.address.send(SupervisorMessage(Msg::Turn(child, number))));
            }
            Action::Adopt(ticket, child) => {
                if let Some(start) = self.asked(ticket).and_then(|asked| asked.as_mut()?.start.take()) {
                    self.starts.push(child, start);
                }
            }
            Action::Removed(child) => drop_caught(self.starts.remove(child)),
            Action::Answer(ticket, answer) => {
                if let Some(asked) = self.answered(ticket) {
                    let Asked { reply_to, start, _permit } = asked;
                    drop_caught(start);
                    // Who asks may have given up; the request was carried out all the same.
                    drop(reply_to.send(answer));
                }
            }
            Action::Report(report) => self.reporter.report(&report),
            Action::Begun => {
                if let Some(ready) = self.ready.take() {
                    ready.up();
                }
            }
            Action::End(reason) => self.end = Some(reason),
        }
    }

    /// At that time, if one is given; else by the clock.
    fn start(&mut self, child: Key, at: Option<Duration>) {
        let Some(start) = self.starts.get_mut(child) else { return };
        let event = match start.start(&mut self.ctx, &self.address) {
            Ok((process, subtree)) => {
                if subtree.is_some() && !self.board.set_subtree(child, subtree) {
                    self.subtrees += 1;
                }
                Event::Started(child, process)
            }
            Err(error) => Event::NotStarted(child, StartFailure::Spawn(error)),
        };
        let now = at.unwrap_or_else(|| self.runtime.now());
        self.feed(event, now);
    }

    fn tell(&mut self, process: Pid, kill: bool, watch: bool) {
        let reason = if kill { ExitReason::Kill } else { ExitReason::Shutdown };
        // Most children trap no exits: that ends them, and it comes along the link whatever they do.
        if watch && self.ctx.end_linked(process, reason.clone()) {
            return;
        }
        if watch {
            let monitor = self.ctx.monitor(process, SupervisorMessage::down);
            self.watched.insert(process, monitor);
        }
        self.ctx.send_exit(process, reason);
    }
}

impl Drop for Driver {
    /// However it ends, those who hold references to its children are not to wait for them any more.
    fn drop(&mut self) {
        for mut start in std::mem::take(&mut self.starts).into_rows() {
            start.show(Place::Gone, &self.runtime);
            drop_caught(start);
        }
    }
}

/// Drops what has a user's closure in it: a destructor that panics is not to take the supervisor along.
fn drop_caught<T>(value: T) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        std::mem::forget(payload);
    }
}
