//! Driver: what the tests share: runtimes of every size, simulations, and a process that shows what it gets.
#![allow(dead_code, reason = "each test file is a program of its own and uses a part of this")]
use colloquium::simulation::{Simulation, is_simulated};
use colloquium::testing::{Check, wait_for};
use colloquium::{Address, Context, Down, Exit, ExitReason, Handle, MonitorRef, Pid, ProcessInfo, Runtime, Target};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::Duration;

/// One worker shows what depends on turns, two meet on this machine, eight are more than there are cores.
pub(crate) const SIZES: [usize; 3] = [1, 2, 8];
/// What has not come by then will not come: nothing is held to any speed.
pub(crate) const LONG: Duration = Duration::from_secs(60);
/// The seeds of each test, unless `COLLOQUIUM_SEEDS` says otherwise.
const SEEDS: u64 = 200;
/// Of these, so many run twice, to be compared.
const TWICE: u64 = 20;

/// How often a race is run in each test and size. In a simulation the seeds are what repeats it.
pub(crate) fn races() -> usize {
    if is_simulated() { 2 } else { 300 }
}

/// Of many, a part that a simulation, which is run with many seeds, can do in a few milliseconds.
pub(crate) fn some_of(many: usize) -> usize {
    if is_simulated() { many.div_ceil(20) } else { many }
}

/// Runs a test on runtimes of 1, 2 and 8 workers, and simulated.
pub(crate) fn on_each_size(body: impl AsyncFn(Runtime) + Send + 'static) {
    on_sizes_and_seeds(&SIZES, Simulation::new(0), SEEDS, body);
}

/// As [`on_each_size`], for a test that polls by hand: no poll is cut short in its simulations.
pub(crate) fn on_each_size_whole(body: impl AsyncFn(Runtime) + Send + 'static) {
    on_sizes_and_seeds(&SIZES, Simulation::new(0).whole_polls(), SEEDS, body);
}

/// Runs a test on threads only, since it is about them: foreign threads, blocked ones, two runtimes, or the real time.
pub(crate) fn on_threads(body: impl AsyncFn(Runtime) + Send + 'static) {
    on_sizes(&SIZES, body);
}

/// Runs a test on runtimes of these sizes, on a thread of its own: one that hangs fails. Afterwards each runtime has to
/// get quiet: what the test has left running ends when it is told to.
pub(crate) fn on_sizes(sizes: &'static [usize], body: impl AsyncFn(Runtime) + Send + 'static) {
    on_sizes_and_seeds(sizes, Simulation::new(0), 0, body);
}

fn on_sizes_and_seeds(
    sizes: &'static [usize],
    simulation: Simulation,
    seeds: u64,
    body: impl AsyncFn(Runtime) + Send + 'static,
) {
    let (passed, passes) = channel();
    let (show, handles) = channel();
    let sizes = if std::env::var_os("COLLOQUIUM_SEED").is_some() { &[] } else { sizes };
    let thread = in_thread(move || {
        if seeds > 0 {
            on_seeds(simulation, seeds, &body);
            passed.send(()).expect("the test waits");
        }
        for size in sizes {
            let runtime = Runtime::builder().workers(*size).build().expect("threads for the workers");
            show.send(runtime.handle()).expect("the test waits");
            runtime.block_on(body(runtime.clone()));
            get_quiet(&runtime);
            passed.send(()).expect("the test waits");
        }
    });
    if seeds > 0 {
        // The simulations come first, and are bounded by their steps.
        let _ = passes.recv();
    }
    for size in sizes {
        match passes.recv_timeout(LONG) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => {
                let found = handles.try_iter().last().map(describe);
                panic!("hangs with {size} workers: {}", found.unwrap_or_default());
            }
            Err(RecvTimeoutError::Disconnected) => {
                eprintln!("failed with {size} workers");
                break;
            }
        }
    }
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// What is to be seen of a runtime that hangs, unless that hangs too.
fn describe(handle: Handle) -> String {
    let (show, shown) = channel();
    in_thread(move || {
        let processes = handle.processes().into_iter().take(10).map(|pid| handle.info(pid));
        drop(show.send(format!("{:#?}\n{:#?}", handle.runtime_info(), processes.collect::<Vec<_>>())));
    });
    shown.recv_timeout(Duration::from_secs(5)).unwrap_or_else(|_| "its locks are held".to_owned())
}

fn get_quiet(runtime: &Runtime) {
    let report = runtime.block_on(runtime.shutdown(Duration::from_secs(10)));
    assert!(report.wedged.is_empty(), "{:?}", report.wedged);
    assert_eq!((runtime.processes(), runtime.names()), (Vec::new(), Vec::new()));
    assert_eq!(runtime.runtime_info().processes, 0);
}

/// Runs a test simulated, with as many seeds, each ending as quiet as a runtime of threads does.
pub(crate) fn on_seeds(simulation: Simulation, seeds: u64, body: &impl AsyncFn(Runtime)) {
    let quiet = async |runtime: Runtime| {
        body(runtime.clone()).await;
        let report = runtime.shutdown(Duration::from_secs(10)).await;
        assert!(report.wedged.is_empty(), "{:?}", report.wedged);
        assert_eq!((runtime.processes(), runtime.names()), (Vec::new(), Vec::new()));
        assert_eq!((runtime.runtime_info().processes, runtime.runtime_info().timers), (0, 0));
    };
    Check::new().seeds(TWICE.min(seeds)).simulation(simulation.clone()).run_seeds(&quiet);
    if std::env::var_os("COLLOQUIUM_SEED").is_none() {
        Check::new().seeds(seeds).simulation(simulation.once()).run_seeds(&quiet);
    }
}

/// A thread that is no worker; named after the test, so that a failing seed says how to repeat it.
#[expect(clippy::disallowed_methods, reason = "a test's own thread, outside every runtime")]
pub(crate) fn in_thread<R: Send + 'static>(body: impl FnOnce() -> R + Send + 'static) -> std::thread::JoinHandle<R> {
    let name = std::thread::current().name().unwrap_or("test").to_owned();
    std::thread::Builder::new().name(name).spawn(body).expect("a thread")
}

/// Looks again and again until it holds; bounded by the test's own guard.
pub(crate) async fn until(runtime: &Handle, mut holds: impl FnMut() -> bool) {
    while !holds() {
        runtime.sleep(Duration::from_millis(1)).await;
    }
}

/// A probe that monitors a process, for [`Probe::down`]. Links are told before monitors (as in OTP, and as little promised
/// there): once the down is there, what the links have not got never comes. `ended()` says less: it is ready once the
/// process is gone, with the telling still to come.
pub(crate) fn watcher(runtime: &Handle, target: impl Target + Send + 'static) -> Probe {
    let watcher = Probe::new(runtime);
    watcher.monitor(target);
    watcher
}

/// A message that has to come.
pub(crate) fn arrival<T>(from: &Receiver<T>) -> T {
    arrival_or_end(from).expect("what was to come")
}

/// A message that has to come, unless whoever was to send it is gone: then `None`.
pub(crate) fn arrival_or_end<T>(from: &Receiver<T>) -> Option<T> {
    if is_simulated() {
        return wait_for(|| match from.try_recv() {
            Ok(message) => Some(Some(message)),
            Err(TryRecvError::Disconnected) => Some(None),
            Err(TryRecvError::Empty) => None,
        });
    }
    match from.recv_timeout(LONG) {
        Ok(message) => Some(message),
        Err(RecvTimeoutError::Disconnected) => None,
        Err(RecvTimeoutError::Timeout) => panic!("nothing came"),
    }
}

/// A process that ends by itself, with the reason that it is sent.
pub(crate) fn mortal(runtime: &Handle) -> Address<ExitReason> {
    runtime.spawn(async |mut ctx: Context<ExitReason>| ctx.recv().await).expect("room for a process")
}

/// A process that has ended long ago, and for what.
pub(crate) async fn corpse(runtime: &Handle, reason: ExitReason) -> Address<ExitReason> {
    let process = mortal(runtime);
    process.send(reason.clone()).expect("it lives");
    assert_eq!(process.ended().await, reason);
    process
}

/// What a [`Probe`] is asked to do.
pub(crate) type Act = Box<dyn FnOnce(&mut Context<Msg>) + Send>;

/// What a [`Probe`] receives.
pub(crate) enum Msg {
    Do(Act),
    Show(Seen),
}

/// What a [`Probe`] passes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Note(u64),
    Exit(Exit),
    Down(&'static str, Down),
}

impl Msg {
    pub(crate) fn note(number: u64) -> Self {
        Self::Show(Seen::Note(number))
    }

    pub(crate) fn exit(exit: Exit) -> Self {
        Self::Show(Seen::Exit(exit))
    }

    pub(crate) fn into_seen(self) -> Seen {
        match self {
            Self::Show(seen) => seen,
            Self::Do(_) => panic!("a request where a message was to be"),
        }
    }

    pub(crate) fn down(tag: &'static str) -> impl FnOnce(Down) -> Self + Send + 'static {
        move |down| Self::Show(Seen::Down(tag, down))
    }
}

/// A process that does what it is asked and shows all else that it receives to the thread that holds this; killed when
/// that lets go of it.
pub(crate) struct Probe {
    runtime: Handle,
    address: Address<Msg>,
    seen: Receiver<Seen>,
}

impl Probe {
    /// One that does not trap exits.
    pub(crate) fn new(runtime: &Handle) -> Self {
        let (show, seen) = channel();
        let address = runtime.spawn(|ctx| show_all(ctx, show)).expect("room for a process");
        Self { runtime: runtime.clone(), address, seen }
    }

    pub(crate) fn trapping(runtime: &Handle) -> Self {
        let probe = Self::new(runtime);
        probe.ask(|ctx| ctx.trap_exits(Msg::exit));
        probe
    }

    pub(crate) fn named(runtime: &Handle, name: &str) -> Self {
        let probe = Self::new(runtime);
        runtime.register(name, &probe.address).expect("a free name");
        probe
    }

    /// Runs `act` in the process and waits for what it says. All that was in the mailbox before has been shown then.
    pub(crate) fn ask<R: Send + 'static>(&self, act: impl FnOnce(&mut Context<Msg>) -> R + Send + 'static) -> R {
        self.ask_if_alive(act).expect("the probe lives")
    }

    /// As [`Probe::ask`]; `None` if the process dies before `act` is done.
    pub(crate) fn ask_if_alive<R: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Context<Msg>) -> R + Send + 'static,
    ) -> Option<R> {
        let (answer, answers) = channel();
        let act = move |ctx: &mut Context<Msg>| drop(answer.send(act(ctx)));
        self.address.send(Msg::Do(Box::new(act))).ok()?;
        arrival_or_end(&answers)
    }

    /// Runs `act` in the process when its turn comes.
    pub(crate) fn tell(&self, act: impl FnOnce(&mut Context<Msg>) + Send + 'static) {
        self.address.send(Msg::Do(Box::new(act))).expect("the probe lives");
    }

    pub(crate) fn link(&self, target: impl Target + Send + 'static) {
        self.ask(move |ctx| ctx.link(target));
    }

    pub(crate) fn monitor(&self, target: impl Target + Send + 'static) -> MonitorRef {
        self.ask(move |ctx| ctx.monitor(target, Msg::down("")))
    }

    /// What it has received next.
    pub(crate) fn next(&self) -> Seen {
        arrival(&self.seen)
    }

    pub(crate) fn trapped(&self) -> Exit {
        match self.next() {
            Seen::Exit(exit) => exit,
            other => panic!("{other:?} instead of an exit"),
        }
    }

    pub(crate) fn down(&self) -> Down {
        match self.next() {
            Seen::Down(_, down) => down,
            other => panic!("{other:?} instead of a down"),
        }
    }

    /// Nothing has arrived that was not looked at; and it lives.
    pub(crate) fn is_quiet(&self) {
        self.ask(|_| ());
        assert_eq!(self.seen.try_recv(), Err(TryRecvError::Empty));
    }

    /// What it has shown and nobody has looked at yet.
    pub(crate) fn shown(&self) -> Vec<Seen> {
        self.seen.try_iter().collect()
    }

    pub(crate) fn info(&self) -> ProcessInfo {
        self.runtime.info(self.address.pid()).expect("the probe lives")
    }

    pub(crate) fn links(&self) -> Vec<Pid> {
        let info = self.info();
        assert_eq!(info.link_count, info.links.len());
        info.links
    }
}

async fn show_all(mut ctx: Context<Msg>, show: Sender<Seen>) {
    loop {
        match ctx.recv().await {
            Msg::Do(act) => act(&mut ctx),
            Msg::Show(seen) => show.send(seen).expect("the probe's holder kills it before it stops looking"),
        }
    }
}

impl std::ops::Deref for Probe {
    type Target = Address<Msg>;
    fn deref(&self) -> &Address<Msg> {
        &self.address
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.address.kill();
    }
}

/// A small generator of numbers that look random; the same in every run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// Sends when it is dropped: a trace of when state goes.
pub(crate) struct OnDrop<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
