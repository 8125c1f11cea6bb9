//! Driver: a program's root supervisor: with it the program begins and ends, and dumps of it can be had from outside.
use crate::handle::SupervisorRef;
use crate::snapshot::StopReport;
use crate::supervisor::{StartError, Supervisor};
use crate::tree::format::age;
use crate::tree::rooted::ROOT;
use crate::tree::{Look, SupervisionTree, Text, Tree, millis};
use colloquium_runtime::{ExitReason, Handle, ShutdownReport};
use parking_lot::Mutex;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as Polling, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;
use thiserror::Error;

/// What the runtime has to shut down in when the root has ended by itself: enough to stop what stands in no tree.
const AFTERMATH: Duration = Duration::from_secs(5);
/// What is kept of the time of a stop for what stands in no tree: a second, or a tenth of it if that is less.
const REST: Duration = Duration::from_secs(1);

type Output = dyn Fn(&SupervisionTree) + Send + Sync;

/// A program's root supervisor, as it is to be.
///
/// When it runs, the program can be stopped in order ([`RunningRoot::stop`], or by SIGTERM and ctrl-c if that is wanted), and
/// dumps can be had: by the API, at SIGUSR1 and over a Unix socket if that is wanted, and by themselves when a stop is about to
/// take longer than it may and when the root gives up. All of that has threads of its own and needs no worker.
///
/// When the root ends, for whatever reason, the runtime is shut down: what stands in no tree ends, too.
///
/// # Examples
///
/// ```
/// use colloquium_runtime::{Context, Runtime};
/// use colloquium_supervisor::tree::Root;
/// use colloquium_supervisor::{ChildSpec, Supervisor};
/// use std::time::Duration;
///
/// let runtime = Runtime::new()?;
/// let supervisor = Supervisor::new().child(ChildSpec::worker("idle", async |mut ctx: Context<()>| ctx.recv().await));
/// let root = runtime.block_on(Root::new(supervisor).stop_on_signals(Duration::from_secs(10)).start(&runtime))?;
/// println!("{}", root.tree().look(&Default::default()));
/// // A program would now wait for `root.finished()`: for SIGTERM, ctrl-c, or the end of the root.
/// let report = runtime.block_on(root.stop(Duration::from_secs(10)));
/// assert!(report.is_clean(), "{report}");
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[must_use = "a root does nothing until it is started"]
pub struct Root {
    supervisor: Supervisor,
    id: String,
    output: Arc<Output>,
    dump_on_signal: bool,
    socket: Option<PathBuf>,
    stop_on_signals: Option<Duration>,
}

/// A root supervisor that runs. A cheap handle; it keeps nothing alive but, while it is held, the ears for signals and the
/// socket.
#[derive(Clone)]
pub struct RunningRoot {
    running: Arc<Running>,
    _ears: Arc<Ears>,
}

struct Running {
    runtime: Handle,
    supervisor: SupervisorRef,
    tree: Tree,
    id: String,
    output: Arc<Output>,
    end: Mutex<End>,
}

/// What listens to the world outside, until it is dropped.
#[derive(Default)]
struct Ears {
    #[cfg(unix)]
    _signals: Option<crate::tree::serve::Listening>,
    #[cfg(unix)]
    _socket: Option<crate::tree::serve::Socket>,
}

#[derive(Default)]
struct End {
    begun: bool,
    report: Option<FinalReport>,
    waiting: Vec<Waker>,
}

/// Why a root was not started. Nothing of it is left.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RootError {
    /// The supervisor did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A root has threads, which a simulation cannot be in charge of. Start its supervisor there, and make a [`Tree`] for dumps.
    #[error("a root cannot be simulated: start its supervisor instead")]
    Simulated,
    /// The signals cannot be listened to, the socket cannot be had, or there is no thread to be had.
    #[error("the root cannot be reached from outside: {0}")]
    Ears(#[from] io::Error),
}

/// Why a root has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndCause {
    /// It was stopped ([`RunningRoot::stop`]).
    Asked,
    /// The program was told to stop, by the signal of this number.
    Signal(i32),
    /// It gave up: this child failed too often.
    GaveUp(Arc<str>),
    /// It ended for another reason: by auto shutdown, by an exit signal, with its runtime.
    Ended(ExitReason),
}

/// How a program ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FinalReport {
    /// Why.
    pub cause: EndCause,
    /// How the trees were stopped; `None` if that was not over in time.
    pub tree: Option<StopReport>,
    /// What became of the processes that stood in no tree, and of what was left of the tree.
    pub runtime: ShutdownReport,
    /// How long it took.
    pub took: Duration,
    /// The stop was about to take longer than it might, and a dump was written.
    pub overran: bool,
}

impl Root {
    /// With this supervisor; shown as `root`.
    pub fn new(supervisor: Supervisor) -> Self {
        Self {
            supervisor,
            id: "root".to_owned(),
            output: Arc::new(print),
            dump_on_signal: false,
            socket: None,
            stop_on_signals: None,
        }
    }

    /// What it is called in dumps.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// What is done with dumps that nobody has asked the API or the socket for; unless told otherwise they are printed to
    /// standard error, in colours if that is a terminal. It is called on a thread that may be the last one to work.
    pub fn dumps_to(mut self, output: impl Fn(&SupervisionTree) + Send + Sync + 'static) -> Self {
        self.output = Arc::new(output);
        self
    }

    /// SIGUSR1 has a dump written.
    #[cfg(unix)]
    pub fn dump_on_signal(mut self) -> Self {
        self.dump_on_signal = true;
        self
    }

    /// Whoever connects to this Unix socket gets a dump: after a line with what is wanted (`text`, `ascii`, `colours`, `json`,
    /// `dot`, `width=N`, `depth=N`, `children=N`, `subtree=PATH`, or nothing). The socket is open to the program's own user
    /// only, answers one at a time, and gives nobody longer than some seconds.
    ///
    /// `echo | nc -U /run/app/dump.sock`
    #[cfg(unix)]
    pub fn dump_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.socket = Some(path.into());
        self
    }

    /// SIGTERM and ctrl-c stop the program in order, within that time. The second of them ends it as if nobody had listened.
    #[cfg(unix)]
    pub fn stop_on_signals(mut self, within: Duration) -> Self {
        self.stop_on_signals = Some(within);
        self
    }

    /// Starts it, and waits until all its children are up.
    ///
    /// # Errors
    ///
    /// [`RootError`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future undoes the start.
    pub async fn start(self, runtime: &Handle) -> Result<RunningRoot, RootError> {
        if runtime.is_simulated() {
            return Err(RootError::Simulated);
        }
        let supervisor = self.supervisor.start(runtime).await?;
        let tree = supervisor.board().dumps_or(|| {
            let tree = Tree::new(runtime);
            tree.add_root(self.id.clone(), supervisor.observe());
            tree
        });
        // The first is the runtime's own, unless that was there before.
        drop(runtime.register(ROOT, supervisor.address()));
        let running = Arc::new(Running {
            runtime: runtime.clone(),
            supervisor,
            tree,
            id: self.id,
            output: self.output,
            end: Mutex::default(),
        });
        // Kept for a failure: it has not begun to watch itself then.
        let watcher = Arc::clone(&running);
        let ears = match Ears::open(&running, self.dump_on_signal, self.socket, self.stop_on_signals) {
            Ok(ears) => spawn("root", move || watcher.watch()).map(|()| ears),
            Err(error) => Err(error),
        };
        match ears {
            Ok(ears) => Ok(RunningRoot { running, _ears: Arc::new(ears) }),
            Err(error) => {
                running.supervisor.stop(AFTERMATH).await;
                Err(error.into())
            }
        }
    }
}

impl RunningRoot {
    /// The supervisor.
    #[must_use]
    pub fn supervisor(&self) -> &SupervisorRef {
        &self.running.supervisor
    }

    /// Its dumps. Sections and further trees can be added.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.running.tree
    }

    /// Stops the tree in order, then what stands in no tree, and waits for it; all of it within that time, whatever processes
    /// do. When eight tenths of the time are over (or all but two seconds), a dump is written of what is still there: from
    /// then on, processes are killed.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the stop goes on if the future is dropped. One that has begun is not begun again: its time counts.
    pub async fn stop(&self, within: Duration) -> FinalReport {
        Running::begin_stop(&self.running, EndCause::Asked, within);
        self.finished().await
    }

    /// Waits until it has ended, and its runtime with it: stopped by somebody or by a signal, or by itself.
    pub async fn finished(&self) -> FinalReport {
        poll_fn(|cx| self.running.poll_report(cx)).await
    }
}

impl Running {
    /// Waits for the end of the root, and sees to what follows.
    fn watch(&self) {
        let began = self.runtime.now();
        let reason = self.runtime.block_on(self.supervisor.address().ended());
        if std::mem::replace(&mut self.end.lock().begun, true) {
            // Somebody stops it.
            return;
        }
        let seen = self.supervisor.observe().supervisor();
        let id = &self.id;
        // A runtime that shuts down tells all processes at once: children that obey sooner than their supervisor cannot be
        // restarted, which is no failure.
        let cause = match &seen.gave_up {
            Some(child) if !self.runtime.is_shutting_down() => EndCause::GaveUp(Arc::clone(child)),
            _ => EndCause::Ended(reason.clone()),
        };
        match &cause {
            EndCause::GaveUp(child) => self.dump(format!("{id} gave up: {child} failed too often")),
            _ if !reason.is_orderly() => self.dump(format!("{id} ended: {reason}")),
            _ => {}
        }
        let tree = Some(StopReport { reason, wedged: seen.wedged });
        let shutdown = self.wait(self.runtime.shutdown(AFTERMATH), self.runtime.now().saturating_add(2 * AFTERMATH));
        let took = self.runtime.now().saturating_sub(began);
        self.report(FinalReport { cause, tree, runtime: shutdown.unwrap_or_default(), took, overran: false });
    }

    /// Stops it on a thread, unless it is being stopped or has ended.
    fn begin_stop(running: &Arc<Self>, cause: EndCause, within: Duration) {
        if std::mem::replace(&mut running.end.lock().begun, true) {
            return;
        }
        let (on_thread, why) = (Arc::clone(running), cause.clone());
        if spawn("stop", move || on_thread.stop(why, within)).is_err() {
            // No thread to be had: this one does it.
            running.stop(cause, within);
        }
    }

    fn stop(&self, cause: EndCause, within: Duration) {
        let began = self.runtime.now();
        let at = |time: Duration| began.saturating_add(time);
        let rest = REST.min(within / 10);
        let for_tree = within.saturating_sub(rest);
        let patient = for_tree.saturating_sub(REST.min(within / 10));
        let mut stop = pin!(self.supervisor.stop(for_tree));
        let mut tree = self.wait(stop.as_mut(), at(patient));
        let overran = tree.is_none();
        if overran {
            self.dump(format!("the stop has taken {} of {}", age(millis(patient)), age(millis(within))));
            // It is over by then, and told a little later.
            tree = self.wait(stop.as_mut(), at(for_tree + rest / 2));
        }
        let left = at(within).saturating_sub(self.runtime.now());
        // It ends by itself in that time, give or take what the machine is slow.
        let shutdown = self.wait(self.runtime.shutdown(left), at(within).saturating_add(AFTERMATH));
        let took = self.runtime.now().saturating_sub(began);
        self.report(FinalReport { cause, tree, runtime: shutdown.unwrap_or_default(), took, overran });
    }

    fn dump(&self, occasion: String) {
        (self.output)(&self.tree.look(&Look::new().occasion(occasion)));
    }

    /// Polls on this thread until that time.
    fn wait<F: Future>(&self, future: F, until: Duration) -> Option<F::Output> {
        let mut future = pin!(future);
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut cx = Polling::from_waker(&waker);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return Some(output);
            }
            let left = until.saturating_sub(self.runtime.now());
            if left.is_zero() {
                return None;
            }
            std::thread::park_timeout(left);
        }
    }

    fn report(&self, report: FinalReport) {
        let mut end = self.end.lock();
        end.report = Some(report);
        let waiting = std::mem::take(&mut end.waiting);
        drop(end);
        waiting.into_iter().for_each(Waker::wake);
    }

    fn poll_report(&self, cx: &Polling<'_>) -> Poll<FinalReport> {
        let waker = cx.waker().clone();
        let mut end = self.end.lock();
        if let Some(report) = end.report.clone() {
            drop(end);
            return Poll::Ready(report);
        }
        let known = end.waiting.iter().any(|known| known.will_wake(&waker));
        if !known {
            end.waiting.push(waker);
        }
        Poll::Pending
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Ears {
    #[cfg(unix)]
    fn open(
        running: &Arc<Running>,
        dump_on_signal: bool,
        socket: Option<PathBuf>,
        stop: Option<Duration>,
    ) -> io::Result<Self> {
        use crate::tree::serve::{OnSignals, Socket, listen_to_signals};
        let dump = dump_on_signal.then(|| {
            let running = Arc::downgrade(running);
            let dump = move || {
                if let Some(running) = running.upgrade() {
                    running.dump("SIGUSR1 came".to_owned());
                }
            };
            Box::new(dump) as Box<dyn Fn() + Send>
        });
        let stop = stop.map(|within| {
            let running = Arc::downgrade(running);
            let stop = move |signal| {
                if let Some(running) = running.upgrade() {
                    Running::begin_stop(&running, EndCause::Signal(signal), within);
                }
            };
            Box::new(stop) as Box<dyn Fn(i32) + Send>
        });
        let socket = socket.map(|path| Socket::open(&path, running.tree.clone())).transpose()?;
        let signals =
            if dump.is_some() || stop.is_some() { Some(listen_to_signals(OnSignals { dump, stop })?) } else { None };
        Ok(Self { _signals: signals, _socket: socket })
    }

    #[cfg(not(unix))]
    fn open(_: &Arc<Running>, _: bool, _: Option<PathBuf>, _: Option<Duration>) -> io::Result<Self> {
        Ok(Self::default())
    }
}

/// A thread that waits for the world outside, and for no worker.
pub(crate) fn spawn(role: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = std::thread::Builder::new().name(format!("colloquium {role}"));
    #[expect(clippy::disallowed_methods, reason = "it has to go on when every worker is stuck")]
    thread.spawn(body).map(drop)
}

/// To standard error, at one go.
fn print(dump: &SupervisionTree) {
    let mut error = io::stderr().lock();
    let plain = Text::new();
    let colours = error.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let text = dump.text(&if colours { plain.colours() } else { plain });
    // Nobody may read it.
    let _ = error.write_all(text.as_bytes());
}

impl FinalReport {
    /// Whether everything ended that had begun, in time and in order: nobody outside the tree had to be killed.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let orderly = matches!(self.cause, EndCause::Asked | EndCause::Signal(_));
        orderly
            && !self.overran
            && self.runtime.killed == 0
            && self.runtime.wedged.is_empty()
            && self.tree.as_ref().is_some_and(StopReport::is_clean)
    }
}

impl fmt::Display for FinalReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            EndCause::Asked => f.write_str("stopped")?,
            EndCause::Signal(signal) => write!(f, "stopped by signal {signal}")?,
            EndCause::GaveUp(child) => write!(f, "gave up, since {child} failed too often")?,
            EndCause::Ended(reason) => write!(f, "ended: {reason}")?,
        }
        write!(f, " in {}", age(millis(self.took)))?;
        match &self.tree {
            None => f.write_str("; the tree did not come to its end")?,
            Some(tree) => {
                for wedged in &tree.wedged {
                    write!(f, "; {} ({}) is wedged", wedged.id, wedged.pid)?;
                }
            }
        }
        let ShutdownReport { stopped, killed, wedged, .. } = &self.runtime;
        write!(f, "; of the rest {stopped} stopped, {killed} killed, {} wedged", wedged.len())
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root").field("id", &self.id).field("supervisor", &self.supervisor).finish_non_exhaustive()
    }
}

impl fmt::Debug for RunningRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RunningRoot({}, {})", self.running.id, self.running.supervisor.pid())
    }
}
