//! Driver: what supervisors tell operators through `tracing`: crashes and escalations, with fields, at a bounded rate.

mod tree;
mod workers;

use colloquium::{
    Backoff, ChildRef, ChildSpec, Context, ExitReason, Ready, Restart, Runtime, Shutdown, Simulation, Supervisor,
    Unavailable,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use tracing::field::{Field, Visit};
use tracing::{Level, Metadata};
use tree::{LONG, Log, SECOND, mortal};
use workers::{on_threads, until};

/// An event: its level, where it comes from, and its fields as text, by their names; what it says is one of them.
#[derive(Clone, Debug)]
struct Told {
    level: Level,
    target: String,
    fields: BTreeMap<&'static str, String>,
}

impl Told {
    fn get(&self, field: &str) -> Option<&str> {
        self.fields.get(field).map(String::as_str)
    }

    fn says(&self, message: &str) -> bool {
        self.get("message") == Some(message)
    }
}

struct Fields<'a>(&'a mut BTreeMap<&'static str, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

struct Listener;

impl tracing::Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().starts_with("colloquium")
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = BTreeMap::new();
        event.record(&mut Fields(&mut fields));
        let metadata = event.metadata();
        let told = Told { level: *metadata.level(), target: metadata.target().to_owned(), fields };
        seen().lock().expect("no listener fails").push(told);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

fn seen() -> &'static Mutex<Vec<Told>> {
    static SEEN: OnceLock<Mutex<Vec<Told>>> = OnceLock::new();
    SEEN.get_or_init(|| {
        tracing::subscriber::set_global_default(Listener).expect("nobody else listens");
        Mutex::default()
    })
}

/// What was told of a child so far. The listener hears all tests of this program at once: each has ids of its own.
fn told_of(child: &str) -> Vec<Told> {
    let seen = seen().lock().expect("no listener fails");
    seen.iter().filter(|told| told.get("child") == Some(child)).cloned().collect()
}

/// Forgets what other runtimes' supervisors told of these children: their pids are called alike.
fn afresh(children: &[&str]) {
    let mut seen = seen().lock().expect("no listener fails");
    seen.retain(|told| told.get("child").is_none_or(|child| !children.contains(&child)));
}

/// Crashes a child, and waits until it is up again, or is not to be.
async fn crash(runtime: &Runtime, child: &ChildRef<ExitReason>) {
    let first = child.address().expect("it is up");
    first.send(ExitReason::error("it is broken")).expect("it lives");
    first.ended().await;
    until(runtime, || match child.address() {
        Ok(next) => next.pid() != first.pid(),
        Err(why) => matches!(why, Unavailable::Gone | Unavailable::Stopped),
    })
    .await;
}

#[test]
fn a_crash_is_told_with_who_why_and_what_the_child_is_called() {
    on_threads(async |runtime| {
        afresh(&["crashes"]);
        let spec = mortal("crashes", &Log::default()).build().expect("a sound specification");
        let child = spec.reference();
        let supervisor = Supervisor::new().child(spec).start(&runtime).await.expect("it starts");
        let first = child.address().expect("it is up").pid();
        assert_eq!(runtime.info(first).expect("it lives").label.as_deref(), Some("crashes"));
        crash(&runtime, &child).await;
        let whose = |told: &Told| told.get("supervisor") == Some(&supervisor.pid().to_string());
        let told: Vec<Told> = told_of("crashes").into_iter().filter(whose).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        let told = &told[0];
        assert!(
            told.says("child ended") && told.level == Level::WARN && told.target.starts_with("colloquium_supervisor")
        );
        assert_eq!(told.get("pid"), Some(&*first.to_string()));
        assert_eq!((told.get("reason"), told.get("suppressed")), (Some("it is broken"), Some("0")));
        let exit = runtime.abnormal_exits().into_iter().find(|exit| exit.pid == first).expect("it is kept");
        assert_eq!(exit.label.as_deref(), Some("crashes"));
        let seen = seen().lock().expect("no listener fails").clone();
        let ended =
            seen.iter().find(|told| told.says("process ended abnormally") && told.get("label") == Some("crashes"));
        assert_eq!(ended.and_then(|told| told.get("reason")), Some("it is broken"));
        assert!(supervisor.stop(LONG).await.is_clean());
        assert_eq!(told_of("crashes").into_iter().filter(whose).count(), 1, "a stop as told is nothing to tell of");
    });
}

#[test]
fn an_end_that_may_be_is_not_told() {
    on_threads(async |runtime| {
        afresh(&["leaves"]);
        let spec =
            mortal("leaves", &Log::default()).restart(Restart::Transient).build().expect("a sound specification");
        let child = spec.reference();
        let supervisor = Supervisor::new().child(spec).start(&runtime).await.expect("it starts");
        child.address().expect("it is up").send(ExitReason::Normal).expect("it lives");
        until(&runtime, || child.address() == Err(Unavailable::Stopped)).await;
        assert!(told_of("leaves").is_empty());
        assert!(supervisor.stop(LONG).await.is_clean());
    });
}

#[test]
fn giving_up_is_an_error_that_says_whether_it_escalates() {
    on_threads(async |runtime| {
        afresh(&["escalates", "stays-failed"]);
        let escalates = mortal("escalates", &Log::default()).build().expect("a sound specification");
        let backoff = Backoff::default().give_up_after(1).leave_failed();
        let stays = mortal("stays-failed", &Log::default()).backoff(backoff).build().expect("a sound specification");
        let (one, other) = (escalates.reference(), stays.reference());
        let supervisor = Supervisor::new().intensity(0, SECOND).child(escalates).child(stays);
        let supervisor = supervisor.start(&runtime).await.expect("it starts");
        let mine = |child: &str| {
            let mine = |told: &Told| told.get("supervisor") == Some(&supervisor.pid().to_string());
            let told: Vec<Told> = told_of(child).into_iter().filter(mine).collect();
            told.into_iter().filter(|told| told.says("child failed too often")).collect::<Vec<Told>>()
        };
        crash(&runtime, &other).await;
        assert!(mine("escalates").is_empty());
        crash(&runtime, &one).await;
        supervisor.address().ended().await;
        for (child, escalates) in [("stays-failed", "false"), ("escalates", "true")] {
            let told = mine(child);
            assert_eq!(told.len(), 1, "{child}");
            assert_eq!((told[0].level, told[0].get("escalates")), (Level::ERROR, Some(escalates)));
        }
    });
}

#[test]
fn a_restart_that_fails_and_a_child_that_ends_otherwise_than_told_are_told() {
    on_threads(async |runtime| {
        afresh(&["fails-again", "sulks"]);
        let starts = Arc::new(AtomicUsize::new(0));
        let spec = ChildSpec::initialised("fails-again", move |mut ctx: Context<ExitReason>, ready: Ready| {
            let first = starts.fetch_add(1, Ordering::SeqCst) == 0;
            async move {
                if !first {
                    return ExitReason::error("no second time");
                }
                ready.up();
                ctx.recv().await
            }
        });
        let spec = spec.build().expect("a sound specification");
        let child = spec.reference();
        let sulks = ChildSpec::worker("sulks", async |mut ctx: Context<()>| {
            ctx.trap_exits(drop);
            ctx.recv().await;
            ExitReason::error("not like this")
        });
        let supervisor = Supervisor::new().intensity(2, SECOND * 1000).child(spec).child(sulks);
        let supervisor = supervisor.start(&runtime).await.expect("it starts");
        crash(&runtime, &child).await;
        supervisor.address().ended().await;
        let mine = |told: &Told| told.get("supervisor") == Some(&supervisor.pid().to_string());
        let said = |child: &str, message: &str| {
            let told: Vec<Told> = told_of(child).into_iter().filter(mine).filter(|told| told.says(message)).collect();
            told
        };
        let failed = said("fails-again", "child could not be restarted");
        assert_eq!(failed.len(), 2, "{failed:?}");
        let failure = Some("ended before it was ready: no second time");
        assert!(failed.iter().all(|told| told.level == Level::WARN && told.get("failure") == failure), "{failed:?}");
        let sulked = said("sulks", "child stopped otherwise than told");
        assert_eq!(sulked.len(), 1, "{sulked:?}");
        assert_eq!((sulked[0].level, sulked[0].get("reason")), (Level::WARN, Some("not like this")));
    });
}

#[test]
fn a_child_that_cannot_be_killed_is_an_error() {
    on_threads(async |runtime| {
        afresh(&["spins"]);
        let (begun, free) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (is_begun, is_free) = (Arc::clone(&begun), Arc::clone(&free));
        let spins = ChildSpec::worker("spins", move |_: Context<()>| {
            let (begun, free) = (Arc::clone(&is_begun), Arc::clone(&is_free));
            async move {
                begun.store(true, Ordering::SeqCst);
                while !free.load(Ordering::SeqCst) {
                    std::thread::yield_now();
                }
            }
        });
        let supervisor = Supervisor::new().child(spins.shutdown(Shutdown::BrutalKill));
        let supervisor = supervisor.start(&runtime).await.expect("it starts");
        until(&runtime, || begun.load(Ordering::SeqCst)).await;
        let report = supervisor.stop(LONG).await;
        free.store(true, Ordering::SeqCst);
        let pid = report.wedged.first().expect("it could not be killed").pid.to_string();
        let mine = |told: &Told| told.get("supervisor") == Some(&supervisor.pid().to_string());
        let told: Vec<Told> = told_of("spins").into_iter().filter(mine).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].says("child cannot be killed: its poll does not return") && told[0].level == Level::ERROR);
        assert_eq!(told[0].get("pid"), Some(&*pid));
    });
}

#[test]
fn ten_crashes_a_second_are_told_and_the_next_tells_of_the_rest() {
    seen();
    // In a simulation no time passes but by sleeping (or next to none): all of these fall into one second.
    let told = Simulation::new(0).once().run(async |runtime| {
        let spec = mortal("storms", &Log::default()).build().expect("a sound specification");
        let child = spec.reference();
        let supervisor = Supervisor::new().intensity(1000, SECOND).child(spec);
        let supervisor = supervisor.start(&runtime).await.expect("it starts");
        for _ in 0..30 {
            crash(&runtime, &child).await;
        }
        let before = told_of("storms").len();
        runtime.sleep(2 * SECOND).await;
        crash(&runtime, &child).await;
        supervisor.stop(LONG).await;
        before
    });
    let told = (told.expect("it passes").value, told_of("storms"));
    let suppressed: Vec<&str> = told.1.iter().filter_map(|told| told.get("suppressed")).collect();
    assert_eq!((told.0, suppressed.len(), suppressed.last()), (10, 11, Some(&"20")));
    assert!(suppressed[..10].iter().all(|suppressed| *suppressed == "0"));
}
