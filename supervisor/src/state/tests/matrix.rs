//! Pure: the full matrix: restart × reason × strategy × which child × siblings × whose restart fails, against the book.
use super::world::{Seen, World, bad, settings};
use crate::spec::{Flags, Restart, Settings, Strategy};
use colloquium_runtime::ExitReason;

const IDS: [&str; 3] = ["a", "b", "c"];
const RESTARTS: [Restart; 3] = [Restart::Permanent, Restart::Transient, Restart::Temporary];
const STRATEGIES: [Strategy; 3] = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne];

/// The table of conformance/otp.md §13.3, reason by reason: is it restarted if permanent, transient, temporary?
fn reasons() -> [(ExitReason, [bool; 3]); 7] {
    [
        (ExitReason::Normal, [true, false, false]),
        (ExitReason::Shutdown, [true, false, false]),
        (ExitReason::shutdown_with("x"), [true, false, false]),
        (bad(), [true, true, false]),
        (ExitReason::Killed, [true, true, false]),
        (ExitReason::Kill, [true, true, false]),
        (ExitReason::NoConnection, [true, true, false]),
    ]
}

/// Who is restarted with whom: by strategy, for each of the three children.
fn group(strategy: Strategy, fallen: usize) -> &'static [usize] {
    let table: [[&[usize]; 3]; 3] =
        [[&[0], &[1], &[2]], [&[0, 1, 2], &[0, 1, 2], &[0, 1, 2]], [&[0, 1, 2], &[1, 2], &[2]]];
    let row = STRATEGIES.iter().position(|other| *other == strategy).expect("one of three");
    table[row][fallen]
}

struct Case {
    strategy: Strategy,
    restarts: [Restart; 3],
    fallen: usize,
    restarted: bool,
    /// Whose next start fails, once.
    fails: Option<usize>,
}

/// What the book says: the log, and then how the children stand: up, without process, or gone.
fn by_the_book(case: &Case) -> (Vec<Seen>, [char; 3]) {
    let mut log = Vec::new();
    let mut up = ['+'; 3];
    up[case.fallen] = '-';
    if !case.restarted {
        if case.restarts[case.fallen] == Restart::Temporary {
            up[case.fallen] = ' ';
            log.push(Seen::Gone(IDS[case.fallen]));
        }
        return (log, up);
    }
    let mut fails = case.fails;
    let mut tried = Some(case.fallen);
    while let Some(child) = tried.take() {
        for member in group(case.strategy, child).iter().rev() {
            if up[*member] == '+' {
                log.push(Seen::Stop(IDS[*member]));
                up[*member] = '-';
                if case.restarts[*member] == Restart::Temporary {
                    log.push(Seen::Gone(IDS[*member]));
                    up[*member] = ' ';
                }
            }
        }
        for member in group(case.strategy, child) {
            if up[*member] == ' ' || tried.is_some() {
                continue;
            }
            if fails == Some(*member) {
                log.extend([Seen::Fail(IDS[*member]), Seen::Turn(IDS[*member])]);
                fails = None;
                tried = Some(*member);
            } else {
                log.push(Seen::Start(IDS[*member]));
                up[*member] = '+';
            }
        }
    }
    (log, up)
}

fn child(restart: Restart) -> Settings {
    Settings { restart, ..settings() }
}

#[test]
fn every_end_of_every_child_has_the_consequences_of_the_book() {
    let mut cases = 0;
    for strategy in STRATEGIES {
        for (reason, restarted) in reasons() {
            for combination in 0..27 {
                let restarts = [combination % 3, combination / 3 % 3, combination / 9].map(|at| RESTARTS[at]);
                for fallen in 0..3 {
                    for fails in [None, Some(0), Some(1), Some(2)] {
                        let row = RESTARTS.iter().position(|restart| *restart == restarts[fallen]);
                        let restarted = restarted[row.expect("one of three")];
                        check(&Case { strategy, restarts, fallen, restarted, fails }, &reason);
                        cases += 1;
                    }
                }
            }
        }
    }
    assert_eq!(cases, 3 * 7 * 27 * 3 * 4);
}

fn check(case: &Case, reason: &ExitReason) {
    let Case { strategy, restarts, fallen, restarted, fails } = case;
    let said = format!("{strategy:?} {restarts:?} {fallen} ends: {reason:?}; fails: {fails:?}");
    let flags = Flags { strategy: *strategy, intensity: 100, ..Flags::default() };
    let children = [0, 1, 2].map(|at| (IDS[at], child(restarts[at])));
    let mut world = World::begun(flags, &children);
    assert_eq!(world.log(), [Seen::Start("a"), Seen::Start("b"), Seen::Start("c"), Seen::Begun], "{said}");
    if let Some(fails) = fails {
        world.failing.insert(IDS[*fails], 1);
    }
    let before = IDS.map(|id| world.process(id));
    world.fall(IDS[*fallen], reason.clone());
    while world.take_turn() {}
    let (log, up) = by_the_book(case);
    assert_eq!(world.log(), log, "{said}");
    let signs = IDS.iter().zip(up).filter(|(_, up)| *up != ' ');
    let picture: Vec<String> = signs.map(|(id, up)| format!("{id}{up}")).collect();
    assert_eq!(world.picture(), picture.join(" "), "{said}");
    for (at, before) in before.into_iter().enumerate() {
        let touched = *restarted && group(*strategy, *fallen).contains(&at) || at == *fallen;
        assert_eq!(world.process(IDS[at]) == before, !touched, "{said}: {} is the one that was", IDS[at]);
    }
    // One restart is counted for the group, and one for each retry.
    let retried = fails.is_some_and(|fails| log.contains(&Seen::Fail(IDS[fails])));
    let counted = usize::from(*restarted) + usize::from(retried);
    assert_eq!(world.machine.intensity.used(world.now).0, counted, "{said}");
    assert!(world.watched.is_empty(), "{said}");
}
