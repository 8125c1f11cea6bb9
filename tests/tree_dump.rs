//! Dumps of running trees: what is wrong and what is not, with processes that are stuck, sections of others, and storms meanwhile.

mod tree;
mod workers;

use colloquium::tree::{Annotation, Attention, Doing, Look, Node, Section, Severity, Shown, State, Text, Tree};
use colloquium::{
    Backoff, ChildRef, ChildSpec, ChildrenSet, Context, DynamicSupervisor, ExitReason, Pid, ReplyTo, Restart, Runtime,
    SupervisionTree, Supervisor,
};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tree::{LONG, Log, SECOND, bad, fall, mortal, state, successor, three, very_many};
use workers::{SIZES, in_thread, on_each_size, on_sizes, until};

/// The node with this path.
fn find<'a>(dump: &'a SupervisionTree, path: &[&str]) -> Option<&'a Node> {
    let (first, rest) = path.split_first()?;
    let mut node = dump.trees.iter().chain(&dump.unsupervised).find(|node| node.id == *first)?;
    for id in rest {
        node = node.children.iter().find(|node| node.id == *id)?;
    }
    Some(node)
}

fn state_of(dump: &SupervisionTree, path: &[&str]) -> Option<State> {
    find(dump, path).and_then(|node| node.state)
}

fn told<'a>(dump: &'a SupervisionTree, path: &str) -> Option<&'a Attention> {
    dump.attention.iter().find(|attention| attention.path == path)
}

/// A child that says that it is in its poll, and comes out of it when it is let out.
fn stuck_in(entered: Sender<()>, release: Receiver<()>) -> colloquium::ChildBuilder<()> {
    let (entered, release) = (Arc::new(Mutex::new(entered)), Arc::new(Mutex::new(release)));
    ChildSpec::worker("stuck", move |mut ctx: Context<()>| {
        let (entered, release) = (Arc::clone(&entered), Arc::clone(&release));
        async move {
            ctx.recv().await;
            let _ = entered.lock().expect("no panic").send(());
            let _ = release.lock().expect("no panic").recv_timeout(LONG);
            std::future::pending::<()>().await;
        }
    })
}

#[test]
fn a_dump_shows_what_is_where_and_nothing_wrong_in_a_sound_tree() {
    on_each_size(async |runtime| {
        let set = ChildrenSet::new();
        let (inner, log) = (ChildRef::vacant(), Log::default());
        let inner_at = inner.clone();
        let root = Supervisor::new()
            .child(ChildSpec::supervisor("inner", move || {
                Supervisor::new().child(mortal("leaf", &Log::default()).at(&inner_at))
            }))
            .child(ChildSpec::set("set", &set))
            .child(mortal("idler", &log));
        let root = root.start(&runtime).await.expect("it starts");
        for _ in 0..3 {
            set.spawn(async |mut ctx: Context<()>| ctx.recv().await).expect("it is open");
        }
        let build = runtime.build().name("stranger");
        let stranger = build.spawn(async |mut ctx: Context<ReplyTo<()>>| {
            let _unanswered = ctx.recv().await;
            drop(ctx.recv().await);
        });
        let stranger = stranger.expect("room");
        let asks = runtime.build().label("asks").spawn({
            let stranger = stranger.clone();
            async move |_: Context<()>| drop(stranger.call(|reply_to| reply_to).no_timeout().await)
        });
        let _asks = asks.expect("room");
        let tree = Tree::new(&runtime);
        tree.add_root("root", root.observe());
        let settled = |dump: &SupervisionTree| {
            state_of(dump, &["root", "inner", "leaf"]) == Some(State::Idle)
                && state_of(dump, &["root", "idler"]) == Some(State::Idle)
                && find(dump, &["root", "set"])
                    .and_then(|set| set.more.clone())
                    .is_some_and(|more| more.states.get(&State::Idle) == Some(&3))
        };
        until(&runtime, || settled(&tree.look(&Look::new()))).await;
        let dump = tree.look(&Look::new());
        assert_eq!((dump.schema, dump.attention.len(), dump.unread, dump.exits.total), (1, 0, 0, 0), "{dump}");
        assert_eq!(dump.runtime.processes, 10, "{dump}");
        let order: Vec<&str> = dump.trees[0].children.iter().map(|child| &*child.id).collect();
        assert_eq!(order, ["inner", "set", "idler"]);
        assert_eq!(find(&dump, &["root", "inner"]).and_then(|inner| inner.kind.as_deref()), Some("one_for_one"));
        assert_eq!(
            find(&dump, &["root"]).and_then(|root| root.doing.clone()).map(|doing| match doing {
                Doing::Supervises(children) => children.values().sum::<usize>(),
                _ => 0,
            }),
            Some(3)
        );
        let strangers = dump.unsupervised.as_ref().expect("two");
        assert_eq!((strangers.kind.as_deref(), strangers.children.len()), (Some("2"), 2), "{dump}");
        assert!(find(&dump, &["unsupervised", "stranger"]).is_some(), "{dump}");
        drop(inner);
        assert!(root.stop(LONG).await.is_clean());
        let after = tree.look(&Look::new());
        let gone = told(&after, "root").map(|attention| (attention.severity, attention.state));
        assert_eq!(gone, Some((Severity::Error, State::Stopped)), "{after}");
    });
}

#[test]
fn a_dump_says_who_is_stuck_and_who_is_wedged() {
    on_sizes(&[1], async |runtime| {
        let ((entered, inside), (release, held)) = (channel(), channel());
        let spec = stuck_in(entered, held).build().expect("good");
        let stuck = spec.reference();
        let root = Supervisor::new().child(spec).child(mortal("other", &Log::default()));
        let root = root.start(&runtime).await.expect("it starts");
        let tree = Tree::new(&runtime);
        tree.add_root("root", root.observe());
        stuck.address().expect("it is up").send(()).expect("it lives");
        inside.recv_timeout(LONG).expect("it is in its poll");
        // Time passes by looking; a spare thread has nothing to do.
        let dump = loop {
            let dump = tree.look(&Look::new());
            if dump.runtime.stalled == 1 {
                break dump;
            }
            std::thread::yield_now();
        };
        let attention = told(&dump, "root/stuck").expect("somebody should look");
        assert_eq!((attention.state, dump.attention[0].path.as_str()), (State::Stuck, "root/stuck"), "{dump}");
        assert!(attention.for_ms >= Some(250) && attention.text.contains("nothing happens by itself"), "{dump}");
        assert_eq!(state_of(&dump, &["root", "stuck"]), Some(State::Stuck));
        // Killed, it is there all the same.
        stuck.address().expect("it is up").kill();
        let dump = tree.look(&Look::new());
        assert_eq!(told(&dump, "root/stuck").map(|attention| attention.state), Some(State::Wedged), "{dump}");
        drop(release);
        let fresh = stuck.clone();
        until(&runtime, || tree.look(&Look::new()).attention.is_empty() && fresh.address().is_ok()).await;
    });
}

#[test]
fn a_child_that_backs_off_is_told_of_with_its_next_start_and_its_end() {
    on_each_size(async |runtime| {
        let backoff = Backoff::default().first(1000 * SECOND).cap(1000 * SECOND);
        let flaky = mortal("flaky", &Log::default()).backoff(backoff).build().expect("good");
        let place = flaky.reference();
        let root = Supervisor::new().child(flaky).start(&runtime).await.expect("it starts");
        let tree = Tree::new(&runtime);
        tree.add_root("root", root.observe());
        let old = fall(&place, bad()).await;
        let second = successor(&runtime, &place, &old).await;
        fall(&place, ExitReason::error("no route to host")).await;
        until(&runtime, || state(&root, "flaky") == Some(colloquium::ChildState::BackOff)).await;
        until(&runtime, || tree.look(&Look::new()).exits.total == 2).await;
        let dump = tree.look(&Look::new());
        let attention = told(&dump, "root/flaky").expect("somebody should look");
        assert_eq!((attention.severity, attention.state), (Severity::Error, State::BackOff));
        assert!(
            attention.text.starts_with("start 3 of 10 in ") && attention.text.ends_with("last exit: no route to host"),
            "{dump}"
        );
        let last: Vec<(&str, &str)> = dump.exits.last.iter().map(|exit| (&*exit.path, &*exit.reason.text)).collect();
        assert_eq!(last, [("root/flaky", "no route to host"), ("root/flaky", "bad")]);
        assert_eq!(dump.exits.last[0].pid, second.pid().to_string());
        assert!(root.stop(LONG).await.is_clean());
    });
}

#[test]
fn of_very_many_that_fail_together_the_first_are_shown_and_all_are_counted() {
    on_sizes(&[2], async |runtime| {
        // It is drawn from the whole of that: none of them is to be due while this runs.
        let backoff = || Backoff::default().first(1_000_000_000 * SECOND).cap(1_000_000_000 * SECOND);
        let ids: Vec<&'static str> = (0..120).map(|n| &*n.to_string().leak()).collect();
        let specs: Vec<_> =
            ids.iter().map(|id| mortal(id, &Log::default()).backoff(backoff()).build().expect("good")).collect();
        let places: Vec<_> = specs.iter().map(ChildSpec::reference).collect();
        let root = specs.into_iter().fold(Supervisor::new(), Supervisor::child);
        let root = root.start(&runtime).await.expect("it starts");
        let tree = Tree::new(&runtime);
        tree.add_root("root", root.observe());
        for place in &places {
            let old = fall(place, bad()).await;
            successor(&runtime, place, &old).await;
            fall(place, bad()).await;
        }
        let told = |dump: &SupervisionTree| dump.attention.len() + dump.attention_more;
        until(&runtime, || told(&tree.look(&Look::new())) == 120).await;
        let dump = tree.look(&Look::new());
        let more = dump.trees[0].more.as_ref().expect("the others");
        assert_eq!((dump.trees[0].children.len(), more.count), (16 + 50, 54), "{dump}");
        assert_eq!(more.states.get(&State::BackOff), Some(&54));
        assert!(root.stop(LONG).await.is_clean());
    });
}

/// A dump without what passes with time.
fn timeless(mut dump: SupervisionTree) -> SupervisionTree {
    fn calm(node: &mut Node) {
        node.for_ms = None;
        node.mail.iter_mut().for_each(|mail| mail.oldest_ms = None);
        node.more.iter_mut().for_each(|more| (more.oldest_ms, more.oldest_mail_ms) = (0, None));
        node.children.iter_mut().for_each(calm);
    }
    (dump.at_ms, dump.took_us, dump.runtime) = (0, 0, Default::default());
    dump.trees.iter_mut().chain(&mut dump.unsupervised).for_each(calm);
    for concern in &mut dump.attention {
        concern.for_ms = None;
        if let Some(at) = concern.text.find(", oldest ") {
            concern.text.truncate(at);
        }
    }
    dump
}

#[test]
fn dumps_can_be_compared_and_many_like_children_are_summed_up() {
    on_sizes(&SIZES, async |runtime| {
        let many = very_many(&runtime);
        let dynamic = DynamicSupervisor::new(async |mut ctx: Context<u32>, _: ()| {
            ctx.recv_matching(|n| *n == u32::MAX).await;
        });
        let dynamic = dynamic.start(&runtime).await.expect("it starts");
        let mut loud = None;
        for n in 0..many {
            let place = dynamic.start_child(()).await.expect("it starts");
            if n == many / 2 {
                loud = Some(place.address().expect("it is up"));
            }
        }
        let loud = loud.expect("one of them");
        let tree = Tree::new(&runtime);
        tree.add_root("sessions", dynamic.supervisor().observe());
        for n in 0..40_000 {
            loud.send(n).expect("there is room");
        }
        until(&runtime, || {
            let dump = tree.look(&Look::new());
            dump.runtime.busy == 0 && dump.runtime.run_queue == 0 && dump.attention.len() == 1
        })
        .await;
        let (one, two) = (tree.look(&Look::new()), tree.look(&Look::new()));
        assert_eq!(timeless(one.clone()), timeless(two));
        let sessions = &one.trees[0];
        let more = sessions.more.as_ref().expect("the others");
        assert_eq!((sessions.children.len(), more.count), (17, many - 17));
        let shown = sessions.children.last().expect("one in trouble");
        assert_eq!((shown.state, shown.pid.as_deref()), (Some(State::Overloaded), Some(&*loud.pid().to_string())));
        let few = tree.look(&Look::new().children(2));
        assert_eq!(few.trees[0].children.len(), 3, "two, and the one in trouble");
        assert!(one.text(&Text::new()).lines().count() < 40);
        dynamic.supervisor().stop(LONG).await;
    });
}

#[test]
fn a_look_can_be_at_a_part() {
    on_each_size(async |runtime| {
        let log = Log::default();
        let inner = |id: &str| ChildSpec::supervisor(id, || three(&Log::default(), Supervisor::new()).0);
        let root = Supervisor::new().child(inner("x")).child(inner("y")).child(mortal("z", &log));
        let root = root.start(&runtime).await.expect("it starts");
        let tree = Tree::new(&runtime);
        tree.add_root("root", root.observe());
        let dump = tree.look(&Look::new().subtree("root/y"));
        let ids: Vec<&str> = dump.trees[0].children.iter().map(|child| &*child.id).collect();
        assert_eq!((&*dump.trees[0].id, ids, dump.unsupervised), ("y", vec!["a", "b", "c"], None));
        assert_eq!(tree.look(&Look::new().subtree("root/y/b")).trees[0].id, "b");
        assert!(tree.look(&Look::new().subtree("root/nobody")).trees.is_empty());
        let shallow = tree.look(&Look::new().depth(2));
        assert_eq!(shallow.trees[0].children.len(), 3);
        assert!(shallow.trees[0].children.iter().all(|child| child.children.is_empty()), "{shallow}");
        assert_eq!(shallow.unsupervised, None, "what is not shown stands in the tree all the same");
        assert!(tree.look(&Look::new().depth(1)).trees[0].children.is_empty());
        assert!(root.stop(LONG).await.is_clean());
    });
}

/// What dispatch will be to a dump.
struct Consumers {
    consumer: Pid,
    asked: Arc<AtomicUsize>,
}

impl Section for Consumers {
    fn name(&self) -> &'static str {
        "consumers"
    }

    fn show(&self) -> Shown {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let wrong = Attention::new(Severity::Warning, "jobs", State::Overloaded, "waiting 9 of 10; shedding 3/s");
        Shown::new()
            .annotate(
                self.consumer,
                Annotation::new().kind("consumer").restarts("3 blamed").note("8f61 try 1").state(State::Busy, Some(8)),
            )
            .below(self.consumer, Node::new("8f61").kind("key=771").state(State::Busy))
            .tree(Node::new("dead letters").note("14 of 1 000"))
            .attention(wrong.since(1000))
            .blame(self.consumer, "blamed 71c2")
    }
}

struct Hangs(Mutex<Receiver<()>>);

impl Section for Hangs {
    fn name(&self) -> &'static str {
        "hangs"
    }

    fn show(&self) -> Shown {
        let _ = self.0.lock().expect("no panic").recv_timeout(LONG);
        Shown::new().tree(Node::new("late"))
    }
}

struct Panics;

impl Section for Panics {
    fn name(&self) -> &'static str {
        "panics"
    }

    fn show(&self) -> Shown {
        // Without the panic hook, which may take its time to print.
        std::panic::resume_unwind(Box::new("a section"))
    }
}

/// Panics when it is asked what it is about.
struct Confused;

impl Section for Confused {
    fn name(&self) -> &'static str {
        "confused"
    }

    fn show(&self) -> Shown {
        Shown::new()
    }

    fn subject(&self) -> Option<Pid> {
        std::panic::resume_unwind(Box::new("a section"))
    }
}

#[test]
fn sections_of_other_crates_are_shown_and_one_that_hangs_or_panics_is_told_of() {
    on_sizes(&[2], async |runtime| {
        let spec = mortal("consumer", &Log::default()).restart(Restart::Temporary).build().expect("good");
        let place = spec.reference();
        let root = Supervisor::new().child(spec).start(&runtime).await.expect("it starts");
        let tree = Tree::new(&runtime);
        tree.add_root("root", root.observe());
        let (asked, consumer) = (Arc::new(AtomicUsize::new(0)), place.address().expect("it is up").pid());
        tree.add_section(Consumers { consumer, asked: Arc::clone(&asked) });
        until(&runtime, || told(&tree.look(&Look::new()), "jobs").is_some()).await;
        let dump = tree.look(&Look::new());
        let node = find(&dump, &["root", "consumer"]).expect("it is shown");
        assert_eq!(
            (node.kind.as_deref(), node.state, node.note.as_deref()),
            (Some("consumer"), Some(State::Busy), Some("8f61 try 1"))
        );
        assert_eq!(state_of(&dump, &["root", "consumer", "8f61"]), Some(State::Busy), "{dump}");
        assert!(find(&dump, &["dead letters"]).is_some() && told(&dump, "jobs").is_some(), "{dump}");
        let (release, held) = channel();
        tree.add_section(Hangs(Mutex::new(held)));
        tree.add_section(Panics);
        tree.add_section(Confused);
        // A section has a fifth of a second: the other two may be late on a machine that is busy, but not always.
        for _ in 0..2 {
            let before = asked.load(Ordering::SeqCst);
            until(&runtime, || {
                let dump = tree.look(&Look::new());
                assert_eq!(told(&dump, "hangs").map(|attention| attention.state), Some(State::Unread), "{dump}");
                assert_eq!(find(&dump, &["late"]), None);
                find(&dump, &["root", "consumer", "8f61"]).is_some()
                    && ["panics", "confused"]
                        .iter()
                        .all(|name| told(&dump, name).is_some_and(|attention| attention.state == State::Failed))
            })
            .await;
            assert!(asked.load(Ordering::SeqCst) > before);
        }
        drop(release);
        until(&runtime, || find(&tree.look(&Look::new()), &["late"]).is_some()).await;
        // The consumer ends: its end is blamed on somebody.
        fall(&place, bad()).await;
        until(&runtime, || tree.look(&Look::new()).exits.total == 1).await;
        let dump = tree.look(&Look::new());
        assert_eq!(dump.exits.last[0].note.as_deref(), Some("blamed 71c2"));
        // What hung below it is not lost: once it is gone altogether, it hangs below nobody.
        until(&runtime, || find(&tree.look(&Look::new()), &["unsupervised", "8f61"]).is_some()).await;
        assert!(root.stop(LONG).await.is_clean());
    });
}

#[test]
fn dumps_are_taken_all_the_time_while_trees_fall_and_rise() {
    on_sizes(&SIZES, async |runtime: Runtime| {
        let (supervisor, places) = three(&Log::default(), Supervisor::new().intensity(100_000, SECOND));
        let (root, tree) = (supervisor.start(&runtime).await.expect("it starts"), Tree::new(&runtime));
        tree.add_root("root", root.observe());
        let over = Arc::new(AtomicBool::new(false));
        let looker = in_thread({
            let (over, tree) = (Arc::clone(&over), tree.clone());
            move || {
                let mut whole = 0_usize;
                while !over.load(Ordering::SeqCst) || whole == 0 {
                    let dump = tree.look(&Look::new());
                    let ids: Vec<&str> = dump.trees[0].children.iter().map(|child| &*child.id).collect();
                    // Whoever holds a lock may have been taken its processor for longer than a dump waits: then it says so.
                    let unread = dump.unread > 0 || dump.attention.iter().any(|told| told.state == State::Unread);
                    assert!(unread || ids == ["a", "b", "c"], "{dump}");
                    assert!(!dump.text(&Text::new()).is_empty() && dump.json().len() > 100);
                    whole += usize::from(!unread);
                }
            }
        });
        let short = runtime.build().label("short").spawn(async |mut ctx: Context<()>| {
            for _ in 0..2000 {
                ctx.spawn(async |_: Context<()>| ()).expect("room");
                ctx.yield_now().await;
            }
        });
        for round in 0..100 {
            let old = fall(&places[round % 3], bad()).await;
            successor(&runtime, &places[round % 3], &old).await;
        }
        short.expect("room").ended().await;
        over.store(true, Ordering::SeqCst);
        looker.join().expect("every dump was whole");
        assert!(root.stop(Duration::from_secs(20)).await.is_clean());
    });
}
