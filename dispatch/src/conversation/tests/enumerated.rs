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
    Decide(DispatchErrorKind),
}

const EVENTS: [Event; 10] = [
    Event::Assigned,
    Event::Start,
    Event::Completed,
    Event::Failed(Wanted::Retry),
    Event::Failed(Wanted::Discard),
    Event::Lost(End::OwnPanic),
    Event::Lost(End::ByLink),
    Event::Lost(End::Otherwise),
    Event::Decide(DispatchErrorKind::Cancelled),
    Event::Decide(DispatchErrorKind::DeadlineExceeded),
];

/// Whether the event can happen: only a handler that has begun can return.
fn can_happen(machine: &Machine, event: Event) -> bool {
    match event {
        Event::Completed | Event::Failed(_) => machine.phase == Phase::Started,
        Event::Assigned | Event::Start | Event::Lost(_) | Event::Decide(_) => true,
    }
}

/// Applies it; the verdict that came out of it.
fn apply(machine: &mut Machine, event: Event) -> Option<Verdict> {
    let of_next = |next| if let Next::Over(last) = next { last.told } else { None };
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
        Event::Decide(kind) => match machine.decide(kind) {
            Decided::Before => None,
            Decided::AndOver(last) => last.told,
            Decided::WhileStarted(told) => told,
        },
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
    assert!(!machine.at_most_once || machine.started <= 1, "invariant 3: {machine:?}");
    assert!(machine.phase != Phase::Over || machine.decided, "over without an outcome: {machine:?}");
    assert!(machine.blamed < machine.poison || machine.is_over(), "{machine:?}");
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
            let accepted = machine.accepted && event == Event::Start;
            assert!(completes || accepted, "invariant 2: {event:?} on {machine:?}");
        }
        if !machine.is_over() && after.is_over() && !completes && verdict.is_none() && machine.accepted {
            assert!(machine.decided, "only what was accepted may end untold: {event:?} on {machine:?}");
        }
        if machine.is_over() {
            assert_eq!((after.phase, verdict), (Phase::Over, None), "{event:?} on {machine:?}");
        }
        explore(&after, verdicts + u32::from(verdict.is_some()), left - 1);
    }
}

fn only_told(kind: DispatchErrorKind) -> Last {
    Last { told: Some(Verdict::Failed(kind)), dead: None }
}

fn buried(kind: DispatchErrorKind) -> Next {
    Next::Over(Last { told: Some(Verdict::Failed(kind)), dead: Some(kind) })
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
    assert_eq!(machine.lost(End::OwnPanic), buried(DispatchErrorKind::Poisoned));
}

#[test]
fn an_error_is_delayed_and_five_are_the_last() {
    let mut machine = started(TERMS);
    for delayed in 0..4 {
        assert_eq!(machine.failed(Wanted::Retry), Next::Pause { delayed, exactly: None });
        again(&mut machine);
    }
    assert_eq!(machine.failed(Wanted::Retry), buried(DispatchErrorKind::Poisoned));
    let mut machine = started(TERMS);
    let exactly = Some(Duration::from_secs(1));
    assert_eq!(machine.failed(Wanted::RetryAfter(Duration::from_secs(1))), Next::Pause { delayed: 0, exactly });
    again(&mut machine);
    assert_eq!(machine.failed(Wanted::Discard), buried(DispatchErrorKind::Discarded));
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
    assert_eq!(machine.lost(End::ByLink), buried(DispatchErrorKind::Poisoned));
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
    assert_eq!(machine.lost(End::Otherwise), Next::Over(only_told(DispatchErrorKind::Conversation)));
}

#[test]
fn at_most_once_reroutes_what_is_queued_and_ends_what_is_started() {
    let terms = Terms { at_most_once: true, ..TERMS };
    let mut machine = Machine::new(terms);
    assert!(machine.assigned());
    assert_eq!(machine.lost(End::OwnPanic), Next::Route { alone: false });
    again(&mut machine);
    assert_eq!(machine.lost(End::Otherwise), buried(DispatchErrorKind::MaybeCompleted));
    assert_eq!(started(terms).failed(Wanted::Retry), buried(DispatchErrorKind::Discarded));
}

#[test]
fn a_decision_withdraws_what_is_queued_and_waits_for_what_is_started() {
    let kind = DispatchErrorKind::DeadlineExceeded;
    let mut machine = Machine::new(TERMS);
    assert_eq!(machine.decide(kind), Decided::AndOver(only_told(kind)));
    let mut machine = Machine::new(TERMS);
    assert!(machine.assigned());
    assert_eq!(machine.decide(kind), Decided::AndOver(only_told(kind)));
    assert_eq!((machine.start(), machine.decide(kind)), (Start::Withdrawn, Decided::Before));
    let mut machine = started(TERMS);
    assert_eq!(machine.decide(kind), Decided::WhileStarted(Some(Verdict::Failed(kind))));
    assert_eq!(machine.decide(kind), Decided::Before);
    let silent = Next::Over(Last { told: None, dead: None });
    assert_eq!(machine.clone().completed(), silent);
    assert_eq!(machine.clone().failed(Wanted::Retry), silent, "nobody waits for another try");
    assert_eq!(machine.lost(End::OwnPanic), silent);
}

/// Nobody waits for an accepted message: what ends badly is a dead letter, and the caller may go once a handler has begun.
#[test]
fn an_accepted_message_ends_well_or_as_a_dead_letter() {
    let (deadline, cancelled) = (DispatchErrorKind::DeadlineExceeded, DispatchErrorKind::Cancelled);
    let terms = Terms { accepted: true, ..TERMS };
    let mut fresh = Machine::new(terms);
    assert_eq!(fresh.clone().decide(cancelled), Decided::AndOver(only_told(cancelled)));
    assert!(fresh.assigned());
    assert_eq!(fresh.start(), Start::Go(Some(Verdict::Delivered)));
    assert_eq!(fresh.decide(cancelled), Decided::Before);
    let silent = |dead| Next::Over(Last { told: None, dead });
    assert_eq!(fresh.clone().completed(), silent(None));
    assert_eq!(fresh.clone().failed(Wanted::Discard), silent(Some(DispatchErrorKind::Discarded)));
    let mut parked = fresh.clone();
    assert_eq!(parked.lost(End::OwnPanic), Next::Route { alone: false });
    assert_eq!(parked.decide(deadline), Decided::AndOver(Last { told: None, dead: Some(deadline) }));
    assert_eq!(fresh.decide(deadline), Decided::WhileStarted(None));
    assert!(fresh.is_unwanted());
    assert_eq!(fresh.clone().completed(), silent(None), "it has ended well after all");
    assert_eq!(fresh.lost(End::Overdue), silent(Some(deadline)));
}
