//! Processes that link, monitor and end each other at once, and what must hold of them when all is quiet.
use crate::model::stage::{await_agreement, ended_now, receive};
use colloquium::{Address, Context, Down, Exit, ExitReason, MonitorRef, Pid, Runtime};
use proptest::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// Few, so that those who run at once meet often.
const PROCESSES: usize = 4;
/// What each does before all is compared: little, since only the last things done to a pair decide how it ends.
const DEEDS: usize = 3;
/// Monitors that one process makes: as many as `info` lists, so that each can be looked up there.
const MONITORS: usize = 30;

/// What one process does, some deeds at a time.
pub(crate) type Script = Vec<Deed>;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Deed {
    Link(usize),
    Unlink(usize),
    Monitor(usize),
    /// One of its own monitors, by the order of making.
    Demonitor {
        monitor: usize,
        flush: bool,
    },
    Trap(bool),
    Exit(usize),
    Kill(usize),
    /// Its walk over its links may go on meanwhile.
    KillAndUnlink(usize),
    Yield,
}

/// Links and unlinks mostly, and seldom an end, which leaves less to race.
pub(crate) fn scripts() -> impl Strategy<Value = Vec<Script>> {
    let whom = 0..PROCESSES;
    let deed = prop_oneof![
        300 => whom.clone().prop_map(Deed::Link),
        300 => whom.clone().prop_map(Deed::Unlink),
        40 => whom.clone().prop_map(Deed::Monitor),
        20 => (0..MONITORS, any::<bool>()).prop_map(|(monitor, flush)| Deed::Demonitor { monitor, flush }),
        6 => prop::bool::weighted(0.8).prop_map(Deed::Trap),
        1 => whom.clone().prop_map(Deed::Exit),
        1 => whom.clone().prop_map(Deed::Kill),
        1 => whom.prop_map(Deed::KillAndUnlink),
        20 => Just(Deed::Yield),
    ];
    let script = (prop::bool::weighted(0.7), prop::collection::vec(deed, 20..120)).prop_map(|(trap, mut deeds)| {
        deeds.insert(0, Deed::Trap(trap));
        deeds
    });
    prop::collection::vec(script, PROCESSES)
}

enum Msg {
    Begin(Round),
    Report(mpsc::Sender<Report>),
    Exit(Exit),
    Down(usize, Down),
}

/// A few deeds of one process, done when others do theirs.
struct Round {
    deeds: Script,
    everybody: Arc<[Address<Msg>]>,
    gate: Arc<Gate>,
    /// Dropped when all is done, or with the process.
    _done: mpsc::Sender<()>,
}

/// Lets processes go at the same moment, as many as there are workers to run them.
struct Gate {
    awaited: AtomicUsize,
}

impl Gate {
    fn meet(&self) {
        // Those who are awaited may be dead, or behind this one in its worker's queue: it does not wait for long.
        const PATIENCE: usize = 5000;
        let _ = self.awaited.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |awaited| awaited.checked_sub(1));
        for _ in 0..PATIENCE {
            if self.awaited.load(Ordering::SeqCst) == 0 {
                return;
            }
            std::hint::spin_loop();
        }
    }
}

#[derive(Debug)]
struct Made {
    target: Pid,
    reference: MonitorRef,
    removal: Removal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Removal {
    None,
    /// Before it fired.
    InTime,
    AfterItFired {
        flushed: bool,
    },
}

/// What a process that is left has to say at the end.
#[derive(Default)]
struct Report {
    made: Vec<Made>,
    /// Links it made to each, in the order of `everybody`.
    linked: [usize; PROCESSES],
    /// Exits received of each that was dead when an unlink had returned, by then.
    exits_at_unlink: [Option<usize>; PROCESSES],
    exits: Vec<Exit>,
    downs: Vec<(usize, Down)>,
}

async fn act(mut ctx: Context<Msg>) {
    let mut report = Report::default();
    loop {
        match ctx.recv().await {
            Msg::Begin(round) => {
                round.gate.meet();
                for deed in &round.deeds {
                    carry_out(&mut ctx, &round.everybody, &mut report, *deed).await;
                }
            }
            Msg::Report(to) => drop(to.send(std::mem::take(&mut report))),
            message => report.note(message),
        }
    }
}

impl Report {
    fn note(&mut self, message: Msg) {
        match message {
            Msg::Exit(exit) => self.exits.push(exit),
            Msg::Down(number, down) => self.downs.push((number, down)),
            Msg::Begin(_) | Msg::Report(_) => unreachable!("not while it does what the last one asked for"),
        }
    }

    /// The exits that a link with `peer` brought.
    fn exits_of(&self, peer: Pid) -> impl Iterator<Item = &Exit> {
        self.exits.iter().filter(move |exit| exit.by_link && exit.from == Some(peer))
    }
}

/// Nobody links with the dead again: what has not come by now must never come.
fn unlink(ctx: &mut Context<Msg>, everybody: &[Address<Msg>], report: &mut Report, whom: usize) {
    let peer = &everybody[whom];
    ctx.unlink(peer);
    if !peer.is_alive() && report.exits_at_unlink[whom].is_none() {
        while let Some(message) = ctx.try_recv() {
            report.note(message);
        }
        report.exits_at_unlink[whom] = Some(report.exits_of(peer.pid()).count());
    }
}

async fn carry_out(ctx: &mut Context<Msg>, everybody: &[Address<Msg>], report: &mut Report, deed: Deed) {
    match deed {
        Deed::Link(whom) => {
            report.linked[whom] += 1;
            ctx.link(&everybody[whom]);
        }
        Deed::Unlink(whom) => unlink(ctx, everybody, report, whom),
        Deed::KillAndUnlink(whom) => {
            ctx.send_exit(&everybody[whom], ExitReason::Kill);
            unlink(ctx, everybody, report, whom);
        }
        Deed::Monitor(_) if report.made.len() == MONITORS => {}
        Deed::Monitor(whom) => {
            let number = report.made.len();
            let reference = ctx.monitor(&everybody[whom], move |down| Msg::Down(number, down));
            report.made.push(Made { target: everybody[whom].pid(), reference, removal: Removal::None });
        }
        Deed::Demonitor { monitor, flush } => {
            let me = ctx.pid();
            let Some(made) = report.made.get_mut(monitor) else { return };
            let stood = if flush {
                // Nothing has passed over its message, but an unlink may have received it.
                report.downs.retain(|(fired, _)| *fired != monitor);
                ctx.demonitor_flush(made.reference)
            } else {
                ctx.demonitor(made.reference)
            };
            if stood {
                made.removal = Removal::InTime;
            } else if made.target != me && made.removal == Removal::None {
                made.removal = Removal::AfterItFired { flushed: flush };
            } else if flush && let Removal::AfterItFired { flushed } = &mut made.removal {
                *flushed = true;
            }
        }
        Deed::Trap(true) => ctx.trap_exits(Msg::Exit),
        Deed::Trap(false) => ctx.untrap_exits(),
        Deed::Exit(whom) => ctx.send_exit(&everybody[whom], ExitReason::error("a")),
        Deed::Kill(whom) => ctx.send_exit(&everybody[whom], ExitReason::Kill),
        Deed::Yield => ctx.yield_now().await,
    }
}

/// Lets the scripts run against each other, some deeds at a time, and compares what all know of each other in between.
pub(crate) fn run(workers: usize, scripts: &[Script]) -> Result<(), String> {
    let runtime = Runtime::builder().workers(workers).build().expect("a runtime");
    runtime.block_on(run_in(runtime.clone(), workers, scripts))
}

/// As [`run`], in a runtime that is there. So many of its processes go at the same moment.
pub(crate) async fn run_in(runtime: Runtime, workers: usize, scripts: &[Script]) -> Result<(), String> {
    let everybody: Arc<[Address<Msg>]> = scripts.iter().map(|_| runtime.spawn(act).expect("a process")).collect();
    let rounds = scripts.iter().map(|script| script.len().div_ceil(DEEDS)).max().unwrap_or_default();
    for round in 0..rounds {
        let gate = Arc::new(Gate { awaited: AtomicUsize::new(workers) });
        let (done, all_done) = mpsc::channel();
        for (address, script) in everybody.iter().zip(scripts) {
            let deeds = script.iter().skip(round * DEEDS).take(DEEDS).copied().collect();
            let (everybody, gate, _done) = (Arc::clone(&everybody), Arc::clone(&gate), done.clone());
            let _ = address.send(Msg::Begin(Round { deeds, everybody, gate, _done }));
        }
        drop(done);
        if round == rounds / 2 {
            everybody[0].kill();
        }
        if receive(&all_done) != Err(mpsc::RecvTimeoutError::Disconnected) {
            return Err("a round did not end".to_owned());
        }
        await_agreement(|| unrest(&runtime, &everybody))?;
    }
    for (at, address) in everybody.iter().enumerate().filter(|(_, address)| address.is_alive()) {
        let (to, report) = mpsc::channel();
        let _ = address.send(Msg::Report(to));
        let report = receive(&report).map_err(|error| format!("process {at} reports nothing: {error}"))?;
        let checked = check_monitors(&runtime, &everybody, address, &report);
        checked.and_then(|()| check_exits(&everybody, &report)).map_err(|error| format!("process {at}: {error}"))?;
    }
    shut_down(&runtime).await
}

/// What still stands between a live process and a dead one, or only on one side. With nothing of that, nobody can end
/// any more: whoever is going to be told of a death still has the link or the monitor.
fn unrest(runtime: &Runtime, everybody: &[Address<Msg>]) -> Option<String> {
    for address in everybody {
        let pid = address.pid();
        let Some(info) = runtime.info(pid) else {
            if ended_now(address).is_none() {
                return Some(format!("{pid} has not ended"));
            }
            continue;
        };
        for peer in &info.links {
            if !runtime.info(*peer).is_some_and(|peer| peer.links.contains(&pid)) {
                return Some(format!("{pid} has a link with {peer}, which has none with it"));
            }
        }
        if info.link_count != info.links.len() || info.links.contains(&pid) {
            return Some(format!("{pid} shows {} links and names {:?}", info.link_count, info.links));
        }
        for target in everybody.iter().map(Address::pid) {
            let watched = count(&info.monitors, target);
            let known = runtime.info(target).map_or(0, |target| count(&target.monitored_by, pid));
            if watched != known {
                return Some(format!("{pid} monitors {target} {watched} times, which knows of {known}"));
            }
        }
        if info.monitored_by.iter().any(|watcher| !runtime.is_alive(*watcher)) {
            return Some(format!("{pid} is monitored by the dead: {:?}", info.monitored_by));
        }
    }
    None
}

fn count(pids: &[Pid], pid: Pid) -> usize {
    pids.iter().filter(|other| **other == pid).count()
}

/// Each monitor has fired once or its target lives; none that was removed in time has fired.
fn check_monitors(
    runtime: &Runtime,
    everybody: &[Address<Msg>],
    me: &Address<Msg>,
    report: &Report,
) -> Result<(), String> {
    let info = runtime.info(me.pid()).ok_or("it ended when all was quiet")?;
    for (number, made) in report.made.iter().enumerate() {
        let lives = runtime.is_alive(made.target);
        let downs: Vec<&Down> =
            report.downs.iter().filter(|(fired, _)| *fired == number).map(|(_, down)| down).collect();
        let expected = match made.removal {
            Removal::InTime => 0,
            Removal::None => usize::from(!lives),
            Removal::AfterItFired { .. } if lives => return Err(format!("{made:?} had fired for a live process")),
            Removal::AfterItFired { flushed } => usize::from(!flushed),
        };
        if downs.len() != expected {
            return Err(format!("{made:?}: {expected} downs expected: {downs:?}"));
        }
        for down in downs {
            let why = everybody.iter().find(|other| other.pid() == made.target).and_then(ended_now);
            let told = (down.monitor, down.pid) == (made.reference, Some(made.target));
            if !told || (Some(&down.reason) != why.as_ref() && down.reason != ExitReason::NoProcess) {
                return Err(format!("{made:?}: {down:?}, and it ended for {why:?}"));
            }
        }
    }
    for target in everybody.iter().map(Address::pid).filter(|pid| *pid != me.pid() && runtime.is_alive(*pid)) {
        let standing = report.made.iter().filter(|made| made.target == target && made.removal == Removal::None).count();
        let shown = count(&info.monitors, target);
        if shown != standing {
            return Err(format!("{standing} monitors stand on {target}, {shown} are shown"));
        }
    }
    Ok(())
}

/// A death comes along a link once at most, with the true reason; "no such process" at most once for each try to link.
fn check_exits(everybody: &[Address<Msg>], report: &Report) -> Result<(), String> {
    for (whom, peer) in everybody.iter().enumerate() {
        let exits: Vec<_> = report.exits_of(peer.pid()).collect();
        let linked = report.linked[whom];
        let Some(end) = ended_now(peer) else {
            if exits.is_empty() {
                continue;
            }
            return Err(format!("{peer:?} lives, and yet {exits:?}"));
        };
        let late = exits.iter().skip(report.exits_at_unlink[whom].unwrap_or(exits.len()));
        if let Some(late) = late.into_iter().find(|exit| exit.reason != ExitReason::NoProcess) {
            return Err(format!("{late:?} came after the unlink"));
        }
        let (told, refused): (Vec<_>, Vec<_>) = exits.into_iter().partition(|exit| exit.reason == end);
        let most_told = if end == ExitReason::NoProcess { 1 + linked } else { 1 };
        let all_refused = refused.iter().all(|exit| exit.reason == ExitReason::NoProcess);
        if told.len() > most_told || refused.len() > linked || !all_refused {
            return Err(format!("{peer:?} ended with {end:?}, linked {linked} times: {told:?} {refused:?}"));
        }
    }
    Ok(())
}

/// Stops everything; nothing may be left.
pub(crate) async fn shut_down(runtime: &Runtime) -> Result<(), String> {
    // Those that trap exits are told by a message that they do not heed.
    runtime.processes().into_iter().for_each(|pid| runtime.exit(pid, ExitReason::Kill));
    let report = runtime.shutdown(Duration::from_secs(60)).await;
    if !report.wedged.is_empty() {
        return Err(format!("still there after the shutdown: {:?}", report.wedged));
    }
    let info = runtime.runtime_info();
    let left = (info.processes, info.timers, info.names, runtime.processes().len());
    if left == (0, 0, 0, 0) { Ok(()) } else { Err(format!("left (processes, timers, names, pids): {left:?}")) }
}
