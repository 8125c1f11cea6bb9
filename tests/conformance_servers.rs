//! S-084, S-085, S-104, S-107, S-108, S-109 of `conformance/otp.md`, and more of their kind: generic servers.

mod tree;
mod workers;

use colloquium::{
    CallErrorKind, ChildCallError, ChildSendErrorKind, ChildSpec, Context, Exit, ExitReason, GenServer, Init, Next,
    ReplyTo, Runtime, Server, ServerContext, ServerRef, ServerResult, StartServerError, StopServerError, Supervisor,
    TraceEvent, Traced, Unavailable,
};
use std::time::Duration;
use tree::{LONG, Log, bad};
use workers::{on_each_size, until};

enum Msg {
    Echo(u32, ReplyTo<u32>),
    /// Answered by whoever gets it.
    HandOn(colloquium::Address<ReplyTo<u32>>, ReplyTo<u32>),
    Note(&'static str),
    /// Notes the second before all that is queued.
    First(&'static str),
    StopWith(ExitReason),
    StopAndReply(ExitReason, ReplyTo<u32>),
    Fail,
    Panic,
    WaitFor(Duration),
}

/// What a server does when it is started.
enum Begin {
    Up,
    Continue(&'static str),
    Ignore,
    Fail,
    Hang,
}

struct Probe {
    log: Log,
    begin: Begin,
    hears_exits: bool,
    terminate_panics: bool,
}

impl Probe {
    fn new(log: &Log) -> Self {
        Self { log: log.clone(), begin: Begin::Up, hears_exits: false, terminate_panics: false }
    }

    fn begin(log: &Log, begin: Begin) -> Self {
        Self { begin, ..Self::new(log) }
    }
}

impl GenServer for Probe {
    type Message = Msg;

    async fn init(
        &mut self,
        ctx: &mut ServerContext<Msg>,
    ) -> Result<Init<Msg>, Box<dyn std::error::Error + Send + Sync>> {
        self.log.note("init");
        match self.begin {
            Begin::Up => Ok(Init::Up(Next::Wait)),
            Begin::Continue(note) => Ok(Init::Up(Next::Continue(Msg::Note(note)))),
            Begin::Ignore => Ok(Init::Ignore),
            Begin::Fail => Err(bad().into()),
            Begin::Hang => loop {
                ctx.process().recv().await;
            },
        }
    }

    async fn handle(&mut self, message: Msg, _: &mut ServerContext<Msg>) -> ServerResult<Msg> {
        match message {
            Msg::Echo(n, reply_to) => {
                let _ = reply_to.send(n);
            }
            Msg::HandOn(to, reply_to) => to.send(reply_to)?,
            Msg::Note(note) => self.log.note(note),
            Msg::First(note) => return Ok(Next::Continue(Msg::Note(note))),
            Msg::StopWith(reason) => return Ok(Next::Stop(reason)),
            Msg::StopAndReply(reason, reply_to) => return Ok(Next::stop_and_reply(reason, reply_to, 7)),
            Msg::Fail => return Err(bad().into()),
            Msg::Panic => panic!("as told"),
            Msg::WaitFor(time) => return Ok(Next::WaitFor(time)),
        }
        Ok(Next::Wait)
    }

    async fn timed_out(&mut self, _: &mut ServerContext<Msg>) -> ServerResult<Msg> {
        self.log.note("timeout");
        Ok(Next::Wait)
    }

    async fn exited(&mut self, exit: Exit, _: &mut ServerContext<Msg>) -> ServerResult<Msg> {
        self.log.note(format!("exit {}", exit.reason));
        Ok(if self.hears_exits { Next::Wait } else { Next::Stop(exit.reason) })
    }

    async fn terminate(&mut self, reason: &ExitReason) {
        self.log.note(format!("terminate {reason}"));
        assert!(!self.terminate_panics, "as told");
    }
}

async fn start(probe: Probe, runtime: &Runtime) -> ServerRef<Msg> {
    Server::new(probe).start(runtime).await.expect("it starts")
}

/// All that was sent before is handled.
async fn sync(server: &ServerRef<Msg>) {
    assert_eq!(server.call(|reply_to| Msg::Echo(1, reply_to)).timeout(LONG).await, Ok(1));
}

#[test]
fn s_084_a_server_under_a_taken_name_is_refused_and_does_not_initialise() {
    on_each_size(async |runtime| {
        let log = Log::default();
        let first = Server::new(Probe::new(&log)).name("only").start(&runtime).await.expect("it starts");
        let pid = first.address().expect("it is up").pid();
        let second = Server::new(Probe::new(&log)).name("only").start(&runtime).await;
        assert_eq!(second.err(), Some(StartServerError::AlreadyStarted(pid)));
        assert_eq!(log.take(), "init");
        first.stop(ExitReason::Normal, LONG).await.expect("it stops");
    });
}

#[test]
fn s_085_when_an_initialisation_fails_the_name_is_free_for_the_starter() {
    on_each_size(async |runtime| {
        let log = Log::default();
        for _ in 0..20 {
            for (begin, within, error) in [
                (Begin::Fail, LONG, StartServerError::Failed(bad())),
                (Begin::Ignore, LONG, StartServerError::Ignored),
                (Begin::Hang, Duration::from_millis(1), StartServerError::TimedOut),
            ] {
                let server = Server::new(Probe::begin(&log, begin)).name("only");
                let failed = server.init_within(within).start(&runtime).await;
                assert_eq!(failed.err(), Some(error));
                assert_eq!(runtime.names(), []);
            }
        }
        assert!(!log.take().contains("terminate"), "there was nothing to terminate");
    });
}

#[test]
fn s_104_a_stop_with_reply_terminates_then_replies_then_ends() {
    on_each_size(async |runtime| {
        for terminate_panics in [false, true] {
            let log = Log::default();
            let server = start(Probe { terminate_panics, ..Probe::new(&log) }, &runtime).await;
            let process = server.address().expect("it is up");
            let answer = server.call(|reply_to| Msg::StopAndReply(ExitReason::Shutdown, reply_to)).timeout(LONG).await;
            assert_eq!(answer, Ok(7));
            assert_eq!(log.take(), "init terminate shutdown");
            let ended = process.ended().await;
            assert_eq!(ended == ExitReason::Shutdown, !terminate_panics, "{ended}");
            let gone = server.call(|reply_to| Msg::Echo(1, reply_to)).await;
            assert_eq!(gone, Err(ChildCallError::Unavailable(Unavailable::Gone)));
            let refused = server.send(Msg::Fail).expect_err("nobody is there");
            assert_eq!(refused.kind(), ChildSendErrorKind::Unavailable(Unavailable::Gone));
        }
    });
}

#[test]
fn s_105_a_deferred_answer_of_a_third_process_reaches_the_caller() {
    on_each_size(async |runtime| {
        let server = start(Probe::new(&Log::default()), &runtime).await;
        let third = runtime.spawn(async |mut ctx: Context<ReplyTo<u32>>| {
            let _ = ctx.recv().await.send(9);
        });
        let third = third.expect("room for a process");
        let answer = server.call(move |reply_to| Msg::HandOn(third, reply_to)).timeout(LONG).await;
        assert_eq!(answer, Ok(9));
        server.stop(ExitReason::Normal, LONG).await.expect("it stops");
    });
}

/// Starts a server as the child of a process, which ends with what it is sent.
async fn with_parent(probe: Probe, runtime: &Runtime) -> (colloquium::Address<Option<ExitReason>>, ServerRef<Msg>) {
    let (show, shown) = std::sync::mpsc::channel();
    let parent = runtime.spawn(async move |mut ctx: Context<Option<ExitReason>>| {
        ctx.trap_exits(|_| None);
        let server = Server::new(probe).start_link(&mut ctx).await.expect("it starts");
        show.send(server).expect("the test waits");
        loop {
            if let Some(reason) = ctx.recv().await {
                return reason;
            }
        }
    });
    let mut server = None;
    until(runtime, || {
        server = server.take().or_else(|| shown.try_recv().ok());
        server.is_some()
    })
    .await;
    (parent.expect("room for a process"), server.expect("it was shown"))
}

#[test]
fn s_107_the_parents_exit_ends_a_server_with_terminate_also_a_normal_one() {
    on_each_size(async |runtime| {
        for reason in [ExitReason::Normal, ExitReason::Shutdown, bad()] {
            let log = Log::default();
            let (parent, server) = with_parent(Probe { hears_exits: true, ..Probe::new(&log) }, &runtime).await;
            let process = server.address().expect("it is up");
            parent.send(Some(reason.clone())).expect("it lives");
            assert_eq!(process.ended().await, reason);
            assert_eq!(log.take(), format!("init terminate {reason}"));
        }
    });
}

#[test]
fn s_107_others_exits_come_to_a_callback_and_end_only_a_server_that_says_so() {
    on_each_size(async |runtime| {
        for hears_exits in [true, false] {
            let log = Log::default();
            let server = start(Probe { hears_exits, ..Probe::new(&log) }, &runtime).await;
            let process = server.address().expect("it is up");
            let target = process.clone();
            let stranger = runtime.spawn(async move |_: Context<()>| target.exit(bad()));
            stranger.expect("room for a process").ended().await;
            if hears_exits {
                until(&runtime, || log.len() == 2).await;
                sync(&server).await;
                assert_eq!(log.take(), "init exit bad");
                // From outside all processes: the program's own hand.
                process.exit(ExitReason::Normal);
                sync(&server).await;
                process.exit(ExitReason::Shutdown);
                assert_eq!(process.ended().await, ExitReason::Shutdown);
                assert_eq!(log.take(), "terminate shutdown");
            } else {
                assert_eq!(process.ended().await, bad());
                assert_eq!(log.take(), "init exit bad terminate bad");
            }
        }
    });
}

#[test]
fn s_107_neither_a_kill_nor_a_panic_runs_terminate_and_an_error_does() {
    on_each_size(async |runtime| {
        let log = Log::default();
        let server = start(Probe::new(&log), &runtime).await;
        server.address().expect("it is up").kill();
        assert_eq!(server.stop(ExitReason::Normal, LONG).await, Err(Unavailable::Gone.into()));
        assert_eq!(log.take(), "init");
        let server = start(Probe::new(&log), &runtime).await;
        let process = server.address().expect("it is up");
        server.send(Msg::Panic).expect("room");
        assert!(matches!(process.ended().await, ExitReason::Panicked(_)));
        assert_eq!(log.take(), "init");
        let server = start(Probe::new(&log), &runtime).await;
        let process = server.address().expect("it is up");
        server.send(Msg::Fail).expect("room");
        assert_eq!((process.ended().await, log.take().as_str()), (bad(), "init terminate bad"));
    });
}

#[test]
fn s_108_what_is_to_be_continued_with_comes_before_all_that_is_queued() {
    on_each_size(async |runtime| {
        let log = Log::default();
        let server = start(Probe::begin(&log, Begin::Continue("zero")), &runtime).await;
        for message in [Msg::First("one"), Msg::Note("two"), Msg::First("three"), Msg::Note("four")] {
            server.send(message).expect("room");
        }
        sync(&server).await;
        assert_eq!(log.take(), "init zero one two three four");
        server.stop(ExitReason::Normal, LONG).await.expect("it stops");
    });
}

#[test]
fn s_109_a_stop_says_how_it_went() {
    on_each_size(async |runtime| {
        let log = Log::default();
        let server = start(Probe::new(&log), &runtime).await;
        server.send(Msg::Note("before")).expect("room");
        assert_eq!(server.stop(bad(), LONG).await, Ok(()));
        assert_eq!(log.take(), "init before terminate bad");
        assert_eq!(server.stop(bad(), LONG).await, Err(Unavailable::Gone.into()));
        let server = start(Probe::new(&log), &runtime).await;
        server.send(Msg::StopWith(bad())).expect("room");
        let other = server.stop(ExitReason::Normal, LONG).await;
        assert!(matches!(other, Err(StopServerError::Ended(_) | StopServerError::Unavailable(_))), "{other:?}");
        let hangs = Server::new(Hangs).start(&runtime).await.expect("it starts");
        hangs.send(()).expect("room");
        assert_eq!(hangs.stop(ExitReason::Normal, Duration::from_millis(2)).await, Err(StopServerError::TimedOut));
        hangs.address().expect("it is up").kill();
    });
}

/// Never comes to its second message.
struct Hangs;

impl GenServer for Hangs {
    type Message = ();
    async fn handle(&mut self, (): (), _: &mut ServerContext<()>) -> ServerResult<()> {
        std::future::pending().await
    }
}

#[test]
fn a_server_times_out_when_no_message_comes_and_any_message_ends_the_wait() {
    on_each_size(async |runtime| {
        let log = Log::default();
        let server = start(Probe::new(&log), &runtime).await;
        server.send(Msg::WaitFor(Duration::from_millis(1))).expect("room");
        until(&runtime, || log.len() == 2).await;
        server.send(Msg::WaitFor(Duration::from_millis(1))).expect("room");
        server.send(Msg::Note("early")).expect("room");
        until(&runtime, || log.len() >= 3).await;
        server.send(Msg::WaitFor(Duration::ZERO)).expect("room");
        until(&runtime, || log.take().ends_with("timeout")).await;
        server.stop(ExitReason::Normal, LONG).await.expect("it stops");
    });
}

#[test]
fn a_suspended_server_handles_nothing_but_the_systems_messages_and_its_parents_end() {
    on_each_size(async |runtime| {
        let log = Log::default();
        let (parent, server) = with_parent(Probe::new(&log), &runtime).await;
        let process = server.address().expect("it is up");
        server.suspend().await.expect("it suspends");
        server.send(Msg::Note("one")).expect("room");
        let late = server.call(|reply_to| Msg::Echo(1, reply_to)).timeout(Duration::from_millis(2)).await;
        assert_eq!(late, Err(ChildCallError::Call(CallErrorKind::TimedOut)));
        server.suspend().await.expect("it answers");
        assert_eq!(log.take(), "init");
        server.resume().await.expect("it goes on");
        sync(&server).await;
        assert_eq!(log.take(), "one");
        server.suspend().await.expect("it suspends");
        server.send(Msg::Note("never")).expect("room");
        parent.send(Some(ExitReason::Shutdown)).expect("it lives");
        assert_eq!(process.ended().await, ExitReason::Shutdown);
        assert_eq!(log.take(), "terminate shutdown");
    });
}

#[test]
fn a_trace_tells_what_a_server_does_for_as_long_as_asked() {
    on_each_size(async |runtime| {
        let (show, shown) = std::sync::mpsc::channel();
        let tracer = runtime.spawn(async move |mut ctx: Context<TraceEvent>| {
            loop {
                show.send(ctx.recv().await.what).expect("the test waits");
            }
        });
        let tracer = tracer.expect("room for a process");
        let server = start(Probe::new(&Log::default()), &runtime).await;
        sync(&server).await;
        server.trace(1000 * LONG, tracer.recipient(|event| event)).await.expect("it answers");
        server.send(Msg::First("x")).expect("room");
        sync(&server).await;
        server.suspend().await.expect("it suspends");
        server.resume().await.expect("it goes on");
        server.trace(Duration::ZERO, tracer.recipient(|event| event)).await.expect("it answers");
        sync(&server).await;
        let mut told = Vec::new();
        until(&runtime, || {
            told.extend(shown.try_iter());
            told.len() == 5
        })
        .await;
        let expected = [Traced::Message, Traced::Continue, Traced::Message, Traced::Suspended, Traced::Resumed];
        assert_eq!(told, expected);
        tracer.kill();
        server.stop(ExitReason::Normal, LONG).await.expect("it stops");
        assert_eq!(shown.try_iter().count(), 0);
    });
}

#[test]
fn a_server_is_a_child_whose_place_survives_its_restarts() {
    on_each_size(async |runtime| {
        let log = Log::default();
        let made = log.clone();
        let spec = ChildSpec::gen_server("server", move || Probe::new(&made)).build().expect("good");
        let server = spec.server();
        assert_eq!(server.address(), Err(Unavailable::Restarting { next: None }));
        let supervisor = Supervisor::new().child(spec).start(&runtime).await.expect("it starts");
        let first = server.address().expect("it is up");
        server.send(Msg::Fail).expect("room");
        assert_eq!(first.ended().await, bad());
        let second = server.place().up(&runtime, LONG).await.expect("a successor");
        assert_ne!(first, second);
        sync(&server).await;
        assert!(supervisor.stop(LONG).await.is_clean());
        assert_eq!(log.take(), "init terminate bad init terminate shutdown");
        assert_eq!(server.address(), Err(Unavailable::Gone));
    });
}
