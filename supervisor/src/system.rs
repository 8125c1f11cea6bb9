//! Driver: the loop of a generic server, and what the system can do with it (OTP's `sys`): stop, suspend, resume, trace.
use crate::gen_server::{GenServer, Init, Next, ServerResult};
use crate::ready::Ready;
use crate::server_ref::{LastWord, Received, ServerContext, ServerMessage};
use colloquium_runtime::{Context, Exit, ExitReason, Handle, Pid, Recipient, ReplyTo};
use std::convert::Infallible;
use std::time::Duration;

pub(crate) enum System {
    /// The server's end is the answer.
    Stop(ExitReason, ReplyTo<Infallible>),
    Suspend(ReplyTo<()>),
    Resume(ReplyTo<()>),
    Trace {
        time: Duration,
        to: Recipient<TraceEvent>,
        reply_to: ReplyTo<()>,
    },
}

/// Something that a traced server has done ([`ServerRef::trace`](crate::ServerRef::trace)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceEvent {
    /// Who.
    pub server: Pid,
    /// What it did.
    pub what: Traced,
    /// When it began, in the runtime's time.
    pub at: Duration,
    /// How long that took.
    pub took: Duration,
}

/// What a traced server has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Traced {
    /// It has handled a message.
    Message,
    /// It has handled the message that it had put before all others.
    Continue,
    /// It has handled an exit signal.
    Exit,
    /// It has handled a time-out.
    TimedOut,
    /// It handles nothing any more.
    Suspended,
    /// It goes on.
    Resumed,
}

pub(crate) struct Serving<S: GenServer> {
    server: S,
    ctx: ServerContext<S::Message>,
    runtime: Handle,
    suspended: bool,
    trace: Option<(Duration, Recipient<TraceEvent>)>,
}

impl<S: GenServer> Serving<S> {
    pub(crate) fn new(server: S, mut ctx: Context<ServerMessage<S::Message>>) -> Self {
        ctx.trap_exits(|exit| ServerMessage(Received::Exit(exit)));
        let runtime = ctx.runtime();
        Self { server, ctx: ServerContext::new(ctx), runtime, suspended: false, trace: None }
    }

    pub(crate) async fn run(mut self, ready: Ready) -> ExitReason {
        let mut next = match self.server.init(&mut self.ctx).await {
            Ok(Init::Up(next)) => next,
            Ok(Init::Ignore) => {
                ready.ignore();
                return ExitReason::Normal;
            }
            Err(error) => return ExitReason::error(error),
        };
        ready.up();
        loop {
            let outcome = match next {
                Next::Stop(reason) => return self.end(reason, None).await,
                Next::StopAfter(reason, word) => return self.end(reason, Some(word)).await,
                Next::Continue(message) => {
                    let began = self.begin();
                    let outcome = self.server.handle(message, &mut self.ctx).await;
                    self.tell(Traced::Continue, began);
                    outcome
                }
                Next::Wait => self.wait(None).await,
                Next::WaitFor(time) => self.wait(Some(time)).await,
            };
            next = outcome.unwrap_or_else(|error| Next::Stop(ExitReason::error(error)));
        }
    }

    async fn end(mut self, reason: ExitReason, word: Option<LastWord>) -> ExitReason {
        // Said when this is dropped, which it is after `terminate`, also if that panics.
        let word = word;
        self.server.terminate(&reason).await;
        drop(word);
        reason
    }

    /// Waits for a message of the users', and handles it. What the system says does not prolong the time.
    async fn wait(&mut self, time: Option<Duration>) -> ServerResult<S::Message> {
        let until = time.map(|time| self.runtime.now().saturating_add(time));
        loop {
            let received = match until {
                _ if self.suspended => Some(self.ctx.process().recv_matching(is_system).await),
                None => Some(self.ctx.process().recv().await),
                Some(until) => {
                    let left = until.saturating_sub(self.runtime.now());
                    self.ctx.process().recv_timeout(left).await.ok()
                }
            };
            let began = self.begin();
            let (outcome, what) = match received.map(|message| message.0) {
                None => (self.server.timed_out(&mut self.ctx).await, Traced::TimedOut),
                Some(Received::Message(message)) => (self.server.handle(message, &mut self.ctx).await, Traced::Message),
                Some(Received::Exit(exit)) => match self.judge(&exit) {
                    Some(reason) => return Ok(Next::Stop(reason)),
                    None if exit.from.is_none() => continue,
                    None => (self.server.exited(exit, &mut self.ctx).await, Traced::Exit),
                },
                Some(Received::System(System::Stop(reason, reply_to))) => {
                    // It is answered by the end.
                    let word = LastWord::new(move || drop(reply_to));
                    return Ok(Next::StopAfter(reason, word));
                }
                Some(Received::System(system)) => {
                    self.obey(system);
                    continue;
                }
            };
            self.tell(what, began);
            return outcome;
        }
    }

    /// The parent's exit ends the server, also a normal one; so does one from outside all processes, unless it is normal.
    fn judge(&mut self, exit: &Exit) -> Option<ExitReason> {
        let ends = match exit.from {
            None => exit.reason != ExitReason::Normal,
            from => from == self.ctx.process().parent(),
        };
        ends.then(|| exit.reason.clone())
    }

    fn obey(&mut self, system: System) {
        let began = self.begin();
        // Who asked may have given up.
        match system {
            System::Suspend(reply_to) => {
                self.suspended = true;
                self.tell(Traced::Suspended, began);
                let _ = reply_to.send(());
            }
            System::Resume(reply_to) => {
                self.suspended = false;
                self.tell(Traced::Resumed, began);
                let _ = reply_to.send(());
            }
            System::Trace { time, to, reply_to } => {
                let until = self.runtime.now().saturating_add(time);
                self.trace = Some((until, to)).filter(|_| !time.is_zero());
                let _ = reply_to.send(());
            }
            System::Stop(..) => {}
        }
    }

    /// When something began, if that is to be told.
    fn begin(&mut self) -> Option<Duration> {
        let (until, _) = self.trace.as_ref()?;
        let now = self.runtime.now();
        if now >= *until {
            self.trace = None;
            return None;
        }
        Some(now)
    }

    fn tell(&self, what: Traced, began: Option<Duration>) {
        if let (Some(at), Some((_, to))) = (began, &self.trace) {
            let took = self.runtime.now().saturating_sub(at);
            let event = TraceEvent { server: self.ctx.pid(), what, at, took };
            // Who traces may be full or gone: that is no business of the server's.
            let _ = to.send(event);
        }
    }
}

/// What a suspended server handles: the system's messages, and exits, which may be its parent's.
fn is_system<M>(message: &ServerMessage<M>) -> bool {
    !matches!(message.0, Received::Message(_))
}
