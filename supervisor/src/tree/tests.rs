//! Driver: the dump's text, JSON and graph against golden files. `COLLOQUIUM_GOLDEN=write cargo test` writes them anew.
use super::*;
use std::path::PathBuf;

fn quiet() -> SupervisionTree {
    let runtime = RuntimeHealth {
        name: "api-7f9c".to_owned(),
        up_ms: 273_600_000,
        workers: 16,
        busy: 7,
        run_queue: 12,
        blocking: 7,
        blocking_threads: 64,
        processes: 1055,
        process_limit: 1_000_000,
        timers: 88,
        ..RuntimeHealth::default()
    };
    SupervisionTree {
        schema: SupervisionTree::SCHEMA,
        version: "0.1.0".to_owned(),
        occasion: None,
        at_ms: 1_795_317_164_000,
        took_us: 3100,
        os_pid: 4121,
        runtime,
        attention: Vec::new(),
        attention_more: 0,
        exits: Exits::default(),
        trees: Vec::new(),
        unsupervised: None,
        unread: 0,
    }
}

fn at(mut node: Node, pid: &str, state: State, for_ms: u64) -> Node {
    node.pid = Some(pid.to_owned());
    node.mail = Some(Mail { bound: 65_536, ..Mail::default() });
    (node.state, node.for_ms) = (Some(state), Some(for_ms));
    node
}

fn supervisor(id: &str, pid: &str, kind: &str, used: usize, children: &[(State, usize)]) -> Node {
    let mut node = at(Node::new(id).kind(kind), pid, State::Up, 273_600_000);
    node.restarts = Some(Restarts::Window { used, limit: 3, period_ms: 5000 });
    node.doing = Some(Doing::Supervises(children.iter().copied().collect()));
    node
}

fn panicked() -> Reason {
    Reason { text: "panicked \"index 3, len 3\"".to_owned(), location: Some("/src/work/resize.rs:88:13".to_owned()) }
}

/// What DISPATCH.md shows: a stuck consumer, one that backs off, conversations and dead letters of another crate.
fn night() -> SupervisionTree {
    let blocking = |node: Node, for_ms| Node { doing: Some(Doing::Blocking { for_ms }), ..node };
    let stuck = Node { next: Some(Next::Kill { in_ms: 1000 }), ..at(Node::new("3"), "27.1", State::Stuck, 14_000) };
    let mut stuck = blocking(stuck, 14_000).note("8f3a try 2");
    stuck.mail = Some(Mail { held: 1, bound: 65_536, oldest_ms: Some(12_000), dropped: 0 });
    let backing = Node {
        state: Some(State::BackOff),
        for_ms: Some(1200),
        restarts: Some(Restarts::Unhealthy { starts: 3, give_up_after: 10 }),
        next: Some(Next::Start { in_ms: 1800 }),
        last_exit: Some(panicked()),
        ..Node::new("6")
    };
    let busy = blocking(at(Node::new("0"), "22.1", State::Busy, 8), 8).note("8f61 try 1");
    let states = [(State::Busy, 1), (State::Idle, 5), (State::Stuck, 1), (State::BackOff, 1)];
    let mut consumers = supervisor("consumers", "21.1", "one_for_one", 0, &states);
    consumers = consumers.child(busy).child(stuck.clone()).child(backing.clone());
    consumers.more = Some(Summary {
        count: 5,
        states: [(State::Idle, 5)].into_iter().collect(),
        mail: 17,
        oldest_mail_ms: Some(2300),
        oldest_ms: 90_000,
        note: None,
    });
    let mut conversations =
        Node::new("conversations").kind("1 024").note("6 started, 1 018 waiting, 3 on try 2 or more");
    conversations = conversations.child(at(Node::new("8e02").kind("key=771"), "79.9", State::Waiting, 1900));
    conversations.more = Some(Summary { count: 1023, ..Summary::default() });
    let letters = at(Node::new("dead letters"), "33.1", State::Idle, 300_000).note("1 new in 5m, 14 of 1 000");
    let mut resizers = at(Node::new("resizers").kind("consumer group"), "20.1", State::Overloaded, 31_000);
    resizers.restarts = Some(Restarts::Other("3 blamed".to_owned()));
    resizers = resizers.note("618/s in 530/s out 88/s shed").child(consumers).child(conversations).child(letters);
    let http = supervisor("http", "9.1", "one_for_one", 0, &[(State::Idle, 40), (State::Busy, 2)]);
    let root = supervisor("root", "0.1", "one_for_one", 1, &[(State::Up, 2)]).child(http).child(resizers);
    let mut rest = Node::new("unsupervised").kind("3");
    let caller = Node {
        doing: Some(Doing::Calls("9.1 (http)".to_owned())),
        ..at(Node::new("metrics"), "51.1", State::Waiting, 900)
    };
    rest = rest
        .child(Node { mail: Some(Mail { held: 12_345, bound: 65_536, oldest_ms: Some(900), dropped: 7 }), ..caller });
    rest.more = Some(Summary {
        count: 2,
        states: [(State::Idle, 2)].into_iter().collect(),
        oldest_ms: 32_400_000,
        ..Summary::default()
    });
    let exit = |second: u64, path: &str, pid: &str, note: &str, lived_ms| Exit {
        at_ms: 1_795_317_161_000 - second * 1000,
        pid: pid.to_owned(),
        path: path.to_owned(),
        reason: panicked(),
        lived_ms,
        note: (!note.is_empty()).then(|| note.to_owned()),
    };
    let exits = vec![
        exit(0, "resizers/6", "31.4", "blamed 71c2, 3rd: POISONED", 200),
        exit(1, "resizers/1", "24.1", "", 273_600_000),
    ];
    let mut attention = vec![
        Attention::new(
            Severity::Warning,
            "root/resizers",
            State::Overloaded,
            "waiting 1 018 of 1 024, oldest 1.9s of 2.0s; shedding 88/s; 6 of 8 usable",
        )
        .since(31_000),
    ];
    attention.extend(judge::attention(&stuck, "root/resizers/consumers/3"));
    attention.extend(judge::attention(&backing, "root/resizers/consumers/6"));
    judge::order(&mut attention);
    let exits = Exits { total: 11, last_hour: 11, last: exits };
    SupervisionTree { attention, exits, trees: vec![root], unsupervised: Some(rest), ..quiet() }
}

fn many() -> SupervisionTree {
    let mut root = supervisor("root", "0.1", "one_for_one", 0, &[(State::Up, 1)]);
    let states = [(State::Idle, 99_980), (State::Busy, 19), (State::Overloaded, 1)];
    let mut sessions = supervisor("sessions", "1.1", "dynamic", 0, &states);
    for n in 0..3 {
        sessions =
            sessions.child(at(Node::new(format!("{}.1", 2 + n)), &format!("{}.1", 2 + n), State::Idle, 60_000 + n));
    }
    let mut full = at(Node::new("70211.1"), "70211.1", State::Overloaded, 0);
    (full.mail, full.for_ms) = (Some(Mail { held: 60_000, bound: 65_536, oldest_ms: Some(307_000), dropped: 0 }), None);
    let attention = judge::attention(&full, "root/sessions/70211.1").into_iter().collect();
    sessions = sessions.child(full);
    sessions.more = Some(Summary {
        count: 99_996,
        states: [(State::Idle, 99_977), (State::Busy, 19)].into_iter().collect(),
        mail: 1_234_567,
        oldest_mail_ms: Some(999),
        oldest_ms: 86_400_000,
        note: None,
    });
    root = root.child(sessions);
    SupervisionTree { trees: vec![root], attention, attention_more: 7, ..quiet() }
}

/// Names and reasons as no one would give them who meant well.
fn hostile() -> SupervisionTree {
    let long = "a-very-long-name-that-somebody-has-given-to-a-child/with/strokes/and-more";
    let mut node = at(Node::new("x\x1b[31m\nnew line"), "4294967295.4294967295", State::Stuck, 999_999_999_999);
    node.restarts = Some(Restarts::Window { used: 999_999, limit: 1_000_000, period_ms: 86_400_001 });
    node.last_exit =
        Some(Reason { text: format!("panicked {:?} {}", "\x07bell", "wörter ".repeat(40)), location: None });
    let deep = (0..30).fold(Node::new("leaf"), |below, n| Node::new(format!("level {}", 30 - n)).child(below));
    let attention = judge::attention(&node, &format!("root/{long}")).into_iter().collect();
    let root = supervisor(long, "0.1", "rest_for_one", 3, &[])
        .child(node)
        .child(deep)
        .child(Node::new("日本語の名前のとても長い子供の名前"));
    let occasion = Some("a shutdown has taken longer than it may".to_owned());
    SupervisionTree { trees: vec![root], attention, occasion, ..quiet() }
}

fn golden(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/tree/golden").join(name);
    if std::env::var_os("COLLOQUIUM_GOLDEN").is_some() {
        std::fs::write(&path, text).expect("the golden file can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(text == expected, "{name} is not as it was:\n{text}");
}

fn fits(text: &str, width: usize) {
    for line in text.lines() {
        assert!(paint::columns(line) <= width && line.trim_end() == line, "{line:?}");
    }
}

#[test]
fn the_text_is_that_of_the_golden_files() {
    let wide = Text::new();
    for (name, tree, options) in [
        ("empty.txt", quiet(), wide),
        ("night.txt", night(), wide),
        ("night_ascii.txt", night(), wide.ascii()),
        ("night_narrow.txt", night(), wide.width(60)),
        ("night_colours.txt", night(), wide.colours()),
        ("many.txt", many(), wide),
        ("hostile.txt", hostile(), wide),
        ("hostile_narrow.txt", hostile(), wide.width(40).ascii()),
    ] {
        let text = tree.text(&options);
        if !options.colours {
            fits(&text, options.width);
        }
        assert!(!options.ascii || text.is_ascii());
        golden(name, &text);
    }
}

#[test]
fn colours_add_nothing_but_colours() {
    let coloured = night().text(&Text::new().colours());
    let pieces = coloured.split("\x1b[");
    // The first has no code before it.
    let bare: String = pieces.skip(1).map(|piece| piece.split_once('m').expect("a code ends").1).collect();
    assert_eq!(bare, night().text(&Text::new()));
}

#[test]
fn json_carries_all_and_comes_back_as_it_was() {
    for tree in [quiet(), night(), many(), hostile()] {
        assert_eq!(serde_json::from_str::<SupervisionTree>(&tree.json()).ok(), Some(tree));
    }
    golden("night.json", &night().json());
}

#[test]
fn the_graph_has_every_node_once_and_nothing_unquoted() {
    let dot = night().dot();
    golden("night.dot", &dot);
    for id in ["root", "http", "resizers", "consumers", "8e02", "dead letters", "metrics", "… 1 023 more"] {
        assert_eq!(dot.matches(&format!("label=\"{id}")).count(), 1, "{id}");
    }
    let (nodes, edges) = (dot.matches("fillcolor").count(), dot.matches(" -> ").count());
    assert_eq!(nodes, edges + 2, "a forest of two trees");
    assert!(hostile().dot().lines().all(|line| line.matches('"').count() % 2 == 0));
}

#[test]
fn a_look_below_a_supervisor_whose_lock_is_held_says_so() {
    use crate::children::Key;
    use crate::{ChildSpec, Supervisor};
    use colloquium_runtime::{Context, Runtime};
    let runtime = Runtime::builder().workers(1).build().expect("a worker");
    let leaf = || ChildSpec::worker("leaf", async |mut ctx: Context<()>| ctx.recv().await);
    let inner = ChildSpec::supervisor("inner", move || Supervisor::new().child(leaf()));
    let root = runtime.block_on(Supervisor::new().child(inner).start(&runtime)).expect("it starts");
    let (tree, look) = (Tree::new(&runtime), Look::new().subtree("root/inner/leaf"));
    tree.add_root("root", root.observe());
    assert_eq!(tree.look(&look).trees[0].id, "leaf");
    let below = root.board().subtree(Key::FIRST).expect("a supervisor");
    for (board, path) in [(root.board().clone(), "root"), (below, "root/inner")] {
        let held = board.machine();
        let dump = tree.look(&look);
        drop(held);
        let told: Vec<_> = dump.attention.iter().map(|told| (&*told.path, told.state)).collect();
        assert_eq!(told, [(path, State::Unread)], "{dump}");
        assert_eq!((&*dump.trees[0].id, dump.trees[0].state), (path, Some(State::Unread)), "{dump}");
    }
    assert_eq!(tree.look(&Look::new().subtree("root/inner/other")).trees, [], "there is none");
}
