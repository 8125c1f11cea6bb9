//! Driver: dumps: what is to be seen of a runtime and its supervision trees, taken whole at one moment.
mod attached;
mod collect;
mod data;
mod dot;
mod format;
mod judge;
mod options;
mod paint;
mod processes;
#[cfg(unix)]
mod request;
mod root;
mod rooted;
mod section;
#[cfg(unix)]
mod serve;
#[cfg(test)]
mod tests;
mod text;
mod word;

pub use attached::Attached;
pub(crate) use attached::Slot;
pub use data::{
    Attention, Awaited, Doing, Exit, Exits, Mail, Next, Node, Reason, Restarts, RuntimeHealth, Severity, Summary,
    SupervisionTree,
};
pub use format::{age, number};
pub use options::{Look, Text};
pub use root::{EndCause, FinalReport, Root, RootError, RunningRoot};
pub use rooted::{RootSupervisor, Rooted};
pub use section::{Annotation, Section, Shown};
pub use word::State;

use crate::snapshot::Observer;
use collect::{Collector, millis};
use colloquium_runtime::{AbnormalExit, Handle, Pid, RuntimeInfo};
use options::{ATTENTION, EXITS, SECTIONS};
use parking_lot::RwLock;
use section::Placed;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Sees a runtime with its supervision trees, and takes dumps of it ([`Tree::look`]). A cheap handle.
///
/// It takes no part in anybody's work, needs no worker, and waits for no process: it can be had from any thread when all
/// workers are stuck.
///
/// # Examples
///
/// ```
/// use colloquium_runtime::{Context, Runtime};
/// use colloquium_supervisor::tree::{Look, Tree};
/// use colloquium_supervisor::{ChildSpec, Supervisor};
///
/// let runtime = Runtime::new()?;
/// let idle = ChildSpec::worker("idle", async |mut ctx: Context<()>| ctx.recv().await);
/// let root = runtime.block_on(Supervisor::new().child(idle).start(&runtime))?;
/// let tree = Tree::new(&runtime);
/// tree.add_root("root", root.observe());
/// let dump = tree.look(&Look::new());
/// assert_eq!((&*dump.trees[0].id, &*dump.trees[0].children[0].id), ("root", "idle"));
/// assert!(dump.attention.is_empty());
/// println!("{dump}");
/// println!("{}", dump.json());
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[derive(Clone)]
pub struct Tree {
    inner: Arc<Inner>,
}

/// A tree that lasts as long as somebody else holds it.
#[derive(Default)]
pub(crate) struct WeakTree(Weak<Inner>);

impl WeakTree {
    pub(crate) fn upgrade(&self) -> Option<Tree> {
        self.0.upgrade().map(|inner| Tree { inner })
    }
}

struct Inner {
    runtime: Handle,
    roots: RwLock<Vec<(String, Observer)>>,
    sections: RwLock<Vec<Arc<Slot>>>,
}

impl Tree {
    /// A runtime without a tree: everything in it is unsupervised as yet.
    #[must_use]
    pub fn new(runtime: &Handle) -> Self {
        let inner = Inner { runtime: runtime.clone(), roots: RwLock::default(), sections: RwLock::default() };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn downgrade(&self) -> WeakTree {
        WeakTree(Arc::downgrade(&self.inner))
    }

    /// One more tree, shown under this name after those before it.
    pub fn add_root(&self, id: impl Into<String>, root: Observer) {
        self.inner.roots.write().push((id.into(), root));
    }

    /// Something more that is shown in every dump. What a supervisor of the tree has ([`SupervisorRef::add_section`]) is shown without that.
    ///
    /// [`SupervisorRef::add_section`]: crate::SupervisorRef::add_section
    pub fn add_section(&self, section: impl Section) {
        self.inner.sections.write().push(Slot::new(section));
    }

    /// The sections of its own and those of the supervisors in it.
    fn sections(&self) -> Vec<Arc<Slot>> {
        let mut all = self.inner.sections.read().clone();
        let roots = self.inner.roots.read().clone();
        roots.iter().for_each(|(_, root)| root.board().sections(&mut all));
        all
    }

    pub(crate) fn now(&self) -> Duration {
        self.inner.runtime.now()
    }

    /// Takes a dump, on this thread.
    ///
    /// It costs a few hundred nanoseconds a process, and holds no lock longer than some microseconds. Sections are asked on a
    /// thread of their own.
    #[must_use]
    pub fn look(&self, look: &Look) -> SupervisionTree {
        let runtime = &self.inner.runtime;
        let began = runtime.now();
        let mut shown = self.ask_sections();
        let (info, exits) = (runtime.runtime_info(), runtime.abnormal_exits());
        let kept = &exits[exits.len().saturating_sub(EXITS)..];
        // A supervisor that was itself restarted since still says where its children stood.
        let wanted = kept.iter().flat_map(|exit| [Some(exit.pid), exit.parent]).flatten().collect();
        let mut collector = Collector::new(runtime, look, &mut shown, wanted);
        let roots = self.inner.roots.read().clone();
        let mut trees: Vec<Node> = roots.iter().filter_map(|(id, root)| collector.tree(id, root)).collect();
        let whole = look.subtree.is_none();
        let mut strangers = if whole { collector.strangers() } else { BTreeMap::new() };
        let mut unsupervised = strangers.remove(&None);
        for (owner, spawned) in strangers {
            let owner = owner.map(|pid| pid.to_string()).unwrap_or_default();
            hang(&mut trees, &owner, |node| {
                node.children.extend(spawned.children);
                node.more = node.more.take().or(spawned.more);
            });
        }
        for (owner, note) in std::mem::take(&mut shown.rests) {
            hang(&mut trees, &owner.to_string(), |node| {
                if let Some(more) = &mut node.more {
                    more.states.clear();
                    more.note = (!note.is_empty()).then_some(note);
                }
            });
        }
        for (owner, node) in std::mem::take(&mut shown.nodes) {
            place(&mut trees, &mut unsupervised, owner, node, whole);
        }
        let health = health(&info);
        let mut attention = collector.attention;
        put(&mut attention, std::mem::take(&mut shown.placed), &collector.paths, &collector.endings);
        attention.extend(judge::runtime(&health, collector.unread));
        judge::order(&mut attention);
        let attention_more = collector.attention_more + attention.len().saturating_sub(ATTENTION);
        attention.truncate(ATTENTION);
        SupervisionTree {
            schema: SupervisionTree::SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            occasion: look.occasion.clone(),
            at_ms: millis(info.since_1970),
            took_us: u64::try_from(runtime.now().saturating_sub(began).as_micros()).unwrap_or(u64::MAX),
            os_pid: std::process::id(),
            runtime: health,
            attention,
            attention_more,
            exits: endings(&info, &exits, &collector.paths, &shown.blame),
            trees,
            unsupervised,
            unread: collector.unread,
        }
    }

    /// What the sections have to show. Those that do not answer in time are told of instead, and left alone until they have.
    fn ask_sections(&self) -> Shown {
        let slots = self.sections();
        let (answer, answers) = channel();
        let mut all = Shown::new();
        let late = |slot: &Slot| {
            let text = "a section of the dump has not answered in time; it is not shown";
            Attention::new(Severity::Warning, slot.section.name(), State::Unread, text)
        };
        let (mut awaited, mut about) = (Vec::new(), BTreeSet::new());
        for (at, slot) in slots.iter().enumerate() {
            if slot.asked.swap(true, Ordering::AcqRel) || !ask(at, slot, answer.clone()) {
                all.attention.push(late(slot));
            } else {
                awaited.push(at);
            }
        }
        drop(answer);
        let until = self.inner.runtime.now().saturating_add(SECTIONS);
        while !awaited.is_empty() {
            match answers.recv_timeout(until.saturating_sub(self.inner.runtime.now())) {
                Ok((at, subject, shown)) => {
                    awaited.retain(|awaited| *awaited != at);
                    // Who was added by hand as well is shown once.
                    if subject.is_none_or(|subject| about.insert(subject)) {
                        merge(&mut all, shown);
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        all.attention.extend(awaited.into_iter().map(|at| late(&slots[at])));
        all
    }
}

/// Asks one section on a thread; false if there is none to be had.
fn ask(at: usize, slot: &Arc<Slot>, answer: Sender<(usize, Option<Pid>, Shown)>) -> bool {
    let asked = Arc::clone(slot);
    let thread = std::thread::Builder::new().name("colloquium dump".to_owned());
    #[expect(clippy::disallowed_methods, reason = "a section that hangs is not to keep the dump from coming")]
    let started = thread.spawn(move || {
        let ask = AssertUnwindSafe(|| (asked.section.subject(), asked.section.show()));
        let (subject, shown) = catch_unwind(ask).unwrap_or_else(|payload| {
            std::mem::forget(payload);
            let text = "a section of the dump has panicked; it is not shown";
            let failed = Attention::new(Severity::Warning, asked.section.name(), State::Failed, text);
            (None, Shown::new().attention(failed))
        });
        asked.asked.store(false, Ordering::Release);
        // Who asked may have given up.
        let _ = answer.send((at, subject, shown));
    });
    if started.is_err() {
        slot.asked.store(false, Ordering::Release);
    }
    started.is_ok()
}

fn merge(all: &mut Shown, shown: Shown) {
    all.annotations.extend(shown.annotations);
    all.of_children.extend(shown.of_children);
    all.placed.extend(shown.placed);
    all.rests.extend(shown.rests);
    all.nodes.extend(shown.nodes);
    all.attention.extend(shown.attention);
    all.blame.extend(shown.blame);
}

/// Adds what sections say is wrong with what is in the tree, unless the same is told already.
fn put(
    attention: &mut Vec<Attention>,
    placed: Vec<Placed>,
    paths: &BTreeMap<Pid, String>,
    endings: &BTreeMap<String, Reason>,
) {
    for Placed { supervisor, child, attention: mut wrong } in placed {
        if let Some(path) = paths.get(&supervisor) {
            wrong.path = child.map_or_else(|| path.clone(), |child| format!("{path}/{child}"));
        }
        if let Some(ending) = endings.get(&wrong.path) {
            wrong.text += &format!("; last exit: {}", judge::reason(ending));
        }
        if !attention.iter().any(|told| told.path == wrong.path && told.state == wrong.state) {
            attention.push(wrong);
        }
    }
}

/// Does something with the node of this process; false if it is not there.
fn hang(nodes: &mut [Node], pid: &str, act: impl FnOnce(&mut Node)) -> bool {
    fn find<'a>(nodes: &'a mut [Node], pid: &str) -> Option<&'a mut Node> {
        nodes
            .iter_mut()
            .find_map(|node| if node.pid.as_deref() == Some(pid) { Some(node) } else { find(&mut node.children, pid) })
    }
    find(nodes, pid).map(act).is_some()
}

/// Puts a section's node where it belongs.
fn place(trees: &mut Vec<Node>, rest: &mut Option<Node>, owner: Option<Pid>, node: Node, whole: bool) {
    let Some(owner) = owner.map(|pid| pid.to_string()) else {
        // A tree of its own is no part of another.
        if whole {
            trees.push(node);
        }
        return;
    };
    let mut node = Some(node);
    let mut put = |below: &mut Node| below.children.extend(node.take());
    if !hang(trees, &owner, &mut put)
        && !rest.as_mut().is_some_and(|rest| hang(&mut rest.children, &owner, &mut put))
        && whole
    {
        put(rest.get_or_insert_with(|| Node::new("unsupervised").kind("0")));
    }
}

fn health(info: &RuntimeInfo) -> RuntimeHealth {
    let stuck = Duration::from_millis(judge::STUCK_MS);
    let polling = || info.workers.iter().filter_map(|worker| worker.polling);
    RuntimeHealth {
        name: info.name.to_string(),
        up_ms: millis(info.uptime),
        workers: info.workers.len(),
        busy: polling().count(),
        stalled: polling().filter(|(_, time)| *time >= stuck).count(),
        spares: info.spares,
        stuck: info.stalled,
        run_queue: info.queued + info.workers.iter().map(|worker| worker.queued).sum::<usize>(),
        blocking: info.blocking.running,
        blocking_threads: info.blocking.threads,
        blocking_queue: info.blocking.queued,
        processes: info.processes,
        process_limit: info.process_limit,
        timers: info.timers,
    }
}

fn endings(
    info: &RuntimeInfo,
    kept: &[AbnormalExit],
    paths: &BTreeMap<Pid, String>,
    blame: &BTreeMap<Pid, String>,
) -> Exits {
    let hour_ago = millis(info.since_1970).saturating_sub(3_600_000);
    let last = kept.iter().rev().take(EXITS).map(|exit| {
        let parent = exit.parent.and_then(|parent| paths.get(&parent));
        let name = exit.name.as_ref().or(exit.label.as_ref()).map(ToString::to_string);
        let known = paths.get(&exit.pid).cloned().or_else(|| {
            let own = name.clone().unwrap_or_else(|| exit.pid.to_string());
            parent.map(|parent| format!("{parent}/{own}"))
        });
        Exit {
            at_ms: unix_ms(exit.at),
            pid: exit.pid.to_string(),
            path: known.or(name).unwrap_or_else(|| exit.pid.to_string()),
            reason: collect::reason(&exit.reason),
            lived_ms: millis(exit.lived),
            note: blame.get(&exit.pid).cloned(),
        }
    });
    let last_hour = kept.iter().filter(|exit| unix_ms(exit.at) >= hour_ago).count();
    Exits { total: info.abnormal_exits, last_hour, last: last.collect() }
}

fn unix_ms(at: SystemTime) -> u64 {
    millis(at.duration_since(UNIX_EPOCH).unwrap_or_default())
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let roots: Vec<String> = self.inner.roots.read().iter().map(|(id, _)| id.clone()).collect();
        f.debug_struct("Tree").field("runtime", &self.inner.runtime).field("roots", &roots).finish_non_exhaustive()
    }
}

impl SupervisionTree {
    /// The dump as JSON, on lines of its own for each field, so that two can be compared.
    #[must_use]
    pub fn json(&self) -> String {
        // There are only strings, numbers, and maps whose keys are words: what could go wrong is told in its place.
        serde_json::to_string_pretty(self).unwrap_or_else(|error| error.to_string())
    }

    /// Reads what [`SupervisionTree::json`] has written.
    ///
    /// # Errors
    ///
    /// As `serde_json` says: another form, or not JSON.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}
