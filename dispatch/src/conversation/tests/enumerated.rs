//! Pure: the conversation's machine, enumerated: every event in every phase, and every sequence of some length.
use super::*;

const TERMS: Terms = Terms { at_most_once: false, accepted: false, attempts: 5, poison: 3 };

#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    Assigned,
    Start,
    Completed,
    Failed(Wanted),
    Lost(End),
    Decide,
}

const EVENTS: [Event; 9] = [
    Event::Assigned,
    Event::Start,
    Event::Completed,
    Event::Failed(Wanted::Retry),
    Event::Failed(Wanted::Discard),
    Event::Lost(End::OwnPanic),
    Event::Lost(End::ByLink),
    Event::Lost(End::Otherwise),
    Event::Decide,
];

/// Whether the event can happen: only a handler that has begun can return.
fn can_happen(machine: &Machine, event: Event) -> bool {
    match event {
        Event::Completed | Event::Failed(_) => machine.phase == Phase::Started,
        Event::Assigned | Event::Start | Event::Lost(_) | Event::Decide => true,
    }
}

/// Applies it; the verdict that came out of it.
fn apply(machine: &mut Machine, event: Event) -> Option<Verdict> {
    let of_next = |next| if let Next::Over(verdict) = next { verdict } else { None };
    match event {
        Event::Assigned => {
            let _ = machine.assigned();
            None
        }
        Event::Start => match machine.start() {
            Start::Go(verdict) => verdict,
            Start::Withdrawn => None,
        },
        Event::Completed => of_next(machine.completed()),
        Event::Failed(wanted) => of_next(machine.failed(wanted)),
        Event::Lost(end) => of_next(machine.lost(end)),
        Event::Decide => machine.decide(DispatchErrorKind::Cancelled).1,
    }
}

/// All sequences of seven events under all terms: the invariants hold after each step.
#[test]
fn one_verdict_no_second_start_and_over_is_over() {
    for at_most_once in [false, true] {
        for accepted in [false, true] {
            let terms = Terms { at_most_once, accepted, ..TERMS };
            explore(&Machine::new(terms), 0, 7);
        }
    }
}

fn explore(machine: &Machine, verdicts: u32, left: u32) {
    assert_eq!(verdicts > 0, machine.decided, "decided and told are one: {machine:?}");
    assert!(verdicts <= 1, "invariant 1: {machine:?}");
    assert!(!machine.terms.at_most_once || machine.started <= 1, "invariant 3: {machine:?}");
    assert!(machine.phase != Phase::Over || machine.decided, "over without an outcome: {machine:?}");
    assert!(machine.blamed < machine.terms.poison || machine.is_over(), "{machine:?}");
    if left == 0 {
        return;
    }
    for event in EVENTS {
        if !can_happen(machine, event) {
            continue;
        }
        let mut after = machine.clone();
        let verdict = apply(&mut after, event);
        let completes = event == Event::Completed;
        if verdict == Some(Verdict::Delivered) {
            let accepted = machine.terms.accepted && event == Event::Start;
            assert!(completes || accepted, "invariant 2: {event:?} on {machine:?}");
        }
        if machine.is_over() {
            assert_eq!((after.phase, verdict), (Phase::Over, None), "{event:?} on {machine:?}");
        }
        explore(&after, verdicts + u32::from(verdict.is_some()), left - 1);
    }
}

fn started(terms: Terms) -> Machine {
    let mut machine = Machine::new(terms);
    assert!(machine.assigned());
    assert_eq!(machine.start(), Start::Go(None));
    machine
}

fn again(machine: &mut Machine) {
    assert!(machine.assigned());
    assert_eq!(machine.start(), Start::Go(None));
}

#[test]
fn a_crash_is_rerouted_at_once_then_delayed_then_poison() {
    let mut machine = started(TERMS);
    assert_eq!(machine.lost(End::OwnPanic), Next::Route { alone: false });
    again(&mut machine);
    assert_eq!(machine.lost(End::Overdue), Next::Pause { delayed: 0, exactly: None });
    again(&mut machine);
    assert_eq!(machine.lost(End::OwnPanic), Next::Over(Some(Verdict::Failed(DispatchErrorKind::Poisoned))));
}

#[test]
fn an_error_is_delayed_and_five_are_the_last() {
    let mut machine = started(TERMS);
    for delayed in 0..4 {
        assert_eq!(machine.failed(Wanted::Retry), Next::Pause { delayed, exactly: None });
        again(&mut machine);
    }
    assert_eq!(machine.failed(Wanted::Retry), Next::Over(Some(Verdict::Failed(DispatchErrorKind::Poisoned))));
    let mut machine = started(TERMS);
    let exactly = Some(Duration::from_secs(1));
    assert_eq!(machine.failed(Wanted::RetryAfter(Duration::from_secs(1))), Next::Pause { delayed: 0, exactly });
    again(&mut machine);
    assert_eq!(machine.failed(Wanted::Discard), Next::Over(Some(Verdict::Failed(DispatchErrorKind::Discarded))));
}

#[test]
fn suspect_twice_runs_alone_and_five_times_is_the_end() {
    let mut machine = started(TERMS);
    assert_eq!(machine.lost(End::ByLink), Next::Route { alone: false });
    for _ in 0..3 {
        again(&mut machine);
        assert_eq!(machine.lost(End::ByLink), Next::Route { alone: true });
    }
    again(&mut machine);
    assert_eq!(machine.lost(End::ByLink), Next::Over(Some(Verdict::Failed(DispatchErrorKind::Poisoned))));
}

#[test]
fn unblamed_losses_are_free_sixty_four_times() {
    let mut machine = Machine::new(TERMS);
    for n in 0..FREE_REROUTES {
        assert!(machine.assigned());
        if n % 2 == 0 {
            assert_eq!(machine.start(), Start::Go(None));
        }
        assert_eq!(machine.lost(End::Otherwise), Next::Route { alone: false });
    }
    assert!(machine.assigned());
    assert_eq!(machine.lost(End::Otherwise), Next::Over(Some(Verdict::Failed(DispatchErrorKind::Conversation))));
}

#[test]
fn at_most_once_reroutes_what_is_queued_and_ends_what_is_started() {
    let terms = Terms { at_most_once: true, ..TERMS };
    let mut machine = Machine::new(terms);
    assert!(machine.assigned());
    assert_eq!(machine.lost(End::OwnPanic), Next::Route { alone: false });
    again(&mut machine);
    assert_eq!(machine.lost(End::Otherwise), Next::Over(Some(Verdict::Failed(DispatchErrorKind::MaybeCompleted))));
    assert_eq!(started(terms).failed(Wanted::Retry), Next::Over(Some(Verdict::Failed(DispatchErrorKind::Discarded))));
}

#[test]
fn a_decision_withdraws_what_is_queued_and_waits_for_what_is_started() {
    let kind = DispatchErrorKind::DeadlineExceeded;
    let told = Some(Verdict::Failed(kind));
    let mut machine = Machine::new(TERMS);
    assert_eq!(machine.decide(kind), (Decided::AndOver { was_queued: false }, told));
    let mut machine = Machine::new(TERMS);
    assert!(machine.assigned());
    assert_eq!(machine.decide(kind), (Decided::AndOver { was_queued: true }, told));
    assert_eq!((machine.start(), machine.decide(kind)), (Start::Withdrawn, (Decided::Before, None)));
    let mut machine = started(TERMS);
    assert_eq!(machine.decide(kind), (Decided::WhileStarted, told));
    assert_eq!(machine.decide(kind), (Decided::Before, None));
    assert_eq!(machine.clone().completed(), Next::Over(None));
    assert_eq!(machine.clone().failed(Wanted::Retry), Next::Over(None), "nobody waits for another try");
    assert_eq!(machine.lost(End::OwnPanic), Next::Over(None));
}
