//! Pure: compiled predicates agree with direct evaluation, on every tree and message; and with what is plainly meant.
use super::super::{FieldType, PredicateError, Rules, Target, field};
use super::*;
use crate::RoutingDecision;
use proptest::prelude::*;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// Any value in any field, or none; nothing is known of it beforehand.
#[derive(Clone, Debug)]
struct Loose([Option<OwnedValue>; 4]);

impl RoutingMessage for Loose {
    fn field(&self, name: &str) -> Option<FieldValue<'_>> {
        let at = NAMES.iter().position(|known| *known == name)?;
        self.0[at].as_ref().map(OwnedValue::value)
    }
}

/// Each field has its type.
#[derive(Debug)]
struct Strict(i64, Option<f64>, &'static str);

impl RoutingMessage for Strict {
    fn field(&self, name: &str) -> Option<FieldValue<'_>> {
        match name {
            "whole" => Some(self.0.into()),
            "float" => self.1.map(Into::into),
            "text" => Some(self.2.into()),
            _ => None,
        }
    }

    const FIELDS: &'static [(&'static str, FieldType)] =
        &[("whole", FieldType::Integer), ("float", FieldType::Float), ("text", FieldType::Text)];
}

/// Few of each kind, so that they often meet; and the odd ones.
fn values() -> impl Strategy<Value = OwnedValue> {
    prop_oneof![
        any::<bool>().prop_map(OwnedValue::Bool),
        prop_oneof![-2..3i64, Just(i64::MAX), Just((1 << 53) + 1)].prop_map(OwnedValue::Integer),
        prop_oneof![Just(-0.0), Just(0.5), Just(1.0), Just(f64::INFINITY), Just(9_007_199_254_740_992.0)]
            .prop_map(OwnedValue::Float),
        prop_oneof![Just(""), Just("a"), Just("b"), Just("é")].prop_map(OwnedValue::from),
    ]
}

fn comparisons() -> impl Strategy<Value = Comparison> {
    use Comparison::{AtLeast, AtMost, Is, IsNot, Less, More};
    prop::sample::select(vec![Is, IsNot, Less, AtMost, More, AtLeast])
}

fn bounds() -> impl Strategy<Value = Bound<OwnedValue>> {
    prop_oneof![Just(Bound::Unbounded), values().prop_map(Bound::Included), values().prop_map(Bound::Excluded),]
}

fn predicates() -> impl Strategy<Value = Predicate> {
    let name = || prop::sample::select(NAMES.to_vec()).prop_map(Arc::<str>::from);
    let leaf = prop_oneof![
        1 => any::<bool>().prop_map(Predicate::Constant),
        2 => name().prop_map(Predicate::Exists),
        4 => (name(), comparisons(), values()).prop_map(|(name, how, with)| Predicate::Compare(name, how, with)),
        2 => (name(), bounds(), bounds()).prop_map(|(name, from, to)| Predicate::Range(name, from, to)),
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Predicate::All),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Predicate::Any),
            inner.prop_map(|part| !part),
        ]
    })
}

fn messages() -> impl Strategy<Value = Loose> {
    let any_value = prop_oneof![9 => values(), 1 => Just(OwnedValue::Float(f64::NAN))];
    prop::array::uniform4(prop::option::weighted(0.8, any_value)).prop_map(Loose)
}

/// Whether the bounds of some range in it never compare: that is refused.
fn has_bad_range(predicate: &Predicate) -> bool {
    match predicate {
        Predicate::Range(_, Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => {
            a.value().compare(&b.value()).is_none()
        }
        Predicate::All(parts) | Predicate::Any(parts) => parts.iter().any(has_bad_range),
        Predicate::Not(part) => has_bad_range(part),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The tree, walked, and the line of tests say the same of every message; what does not compile is named.
    #[test]
    fn a_compiled_predicate_agrees_with_its_tree(predicate in predicates(), messages in prop::collection::vec(messages(), 1..20)) {
        match predicate.compile::<Loose>() {
            Ok(compiled) => for message in messages {
                prop_assert_eq!(compiled.holds(&message), predicate.evaluate(&message), "{} on {:?}", predicate, message);
            },
            Err(PredicateError::Incomparable(_)) => prop_assert!(has_bad_range(&predicate), "{}", predicate),
            Err(other) => prop_assert!(false, "{}", other),
        }
    }

    /// The operators mean what they mean of truth values.
    #[test]
    fn and_or_and_not_are_those_of_truth_values(a in predicates(), b in predicates(), message in messages()) {
        let (is_a, is_b) = (a.evaluate(&message), b.evaluate(&message));
        prop_assert_eq!((a.clone() & b.clone()).evaluate(&message), is_a && is_b);
        prop_assert_eq!((a.clone() | b).evaluate(&message), is_a || is_b);
        prop_assert_eq!((!a).evaluate(&message), !is_a);
    }

    /// The first rule that holds decides, compiled or not.
    #[test]
    fn compiled_rules_agree_with_the_list(predicates in prop::collection::vec(predicates(), 0..5), message in messages()) {
        let target = |n: usize| if n.is_multiple_of(2) { Target::Consumer(crate::ConsumerId::new(n as u64)) } else { Target::Nobody };
        let mut rules = Rules::new().default(Target::Any);
        for (n, predicate) in predicates.into_iter().filter(|predicate| !has_bad_range(predicate)).enumerate() {
            rules = rules.rule(predicate, target(n));
        }
        let expected = match rules.target(&message) {
            Target::Consumer(id) => RoutingDecision::To(*id),
            Target::Nobody => RoutingDecision::Nobody,
            _ => RoutingDecision::Wait,
        };
        let function = rules.compile::<Loose>().expect("bad ones were left out");
        prop_assert_eq!(function.see(&message, &[]), expected);
    }
}

#[test]
fn a_field_is_asked_for_once_and_only_when_it_matters() {
    use std::cell::RefCell;
    struct Asked(RefCell<Vec<String>>);
    impl RoutingMessage for Asked {
        fn field(&self, name: &str) -> Option<FieldValue<'_>> {
            self.0.borrow_mut().push(name.to_owned());
            Some(FieldValue::Integer(1))
        }
    }
    let predicate =
        (field("x").is(1) & field("x").less_than(3) & field("y").is(2)) | field("z").is(1) | field("w").exists();
    let message = Asked(RefCell::default());
    assert!(predicate.compile::<Asked>().expect("nothing is known of it").holds(&message));
    assert_eq!(*message.0.borrow(), ["x", "y", "z"]);
}

#[test]
fn what_can_never_hold_is_refused() {
    let mismatch = |name: &str, kind, with| Err(PredicateError::TypeMismatch { field: name.into(), kind, with });
    let compile = |predicate: Predicate| predicate.compile::<Strict>().map(drop);
    assert_eq!(compile(field("other").exists()), Err(PredicateError::UnknownField("other".into())));
    assert_eq!(compile(field("other").is(1)), Err(PredicateError::UnknownField("other".into())));
    assert_eq!(compile(field("other").between::<i64>(..)), Err(PredicateError::UnknownField("other".into())));
    assert_eq!(compile(!field("text").is(1)), mismatch("text", FieldType::Text, FieldType::Integer));
    assert_eq!(compile(field("whole").is(true)), mismatch("whole", FieldType::Integer, FieldType::Bool));
    assert_eq!(compile(field("float").between("a".."b")), mismatch("float", FieldType::Float, FieldType::Text));
    assert_eq!(compile(field("float").is(f64::NAN)), Err(PredicateError::Incomparable("float".into())));
    let (from, to) = (Bound::Included(1.into()), Bound::Included("a".into()));
    let odd = Predicate::Range("x".into(), from, to);
    assert_eq!(odd.compile::<Loose>().map(drop), Err(PredicateError::Incomparable("x".into())));
    assert!(compile(field("whole").less_than(0.5) & field("float").at_least(1) & field("text").one_of(["a"])).is_ok());
}

#[test]
fn missing_fields_and_nan_satisfy_no_comparison() {
    let strict = Strict(1, None, "x");
    let nan = Strict(1, Some(f64::NAN), "x");
    let all = [Comparison::Is, Comparison::IsNot, Comparison::Less, Comparison::AtMost, Comparison::More];
    for comparison in all.into_iter().chain([Comparison::AtLeast]) {
        let predicate = Predicate::Compare("float".into(), comparison, 1.0.into());
        let compiled = predicate.compile::<Strict>().expect("it can hold");
        assert_eq!((compiled.holds(&strict), compiled.holds(&nan)), (false, false), "{predicate}");
    }
    let unbounded = field("float").between::<f64>(..).compile::<Strict>().expect("it can hold");
    assert_eq!((unbounded.holds(&strict), unbounded.holds(&nan)), (false, true), "no bound is no comparison");
}

#[test]
fn too_much_is_refused_and_not_followed() {
    let mut deep = field("whole").is(1);
    for _ in 0..crate::limits::PREDICATE_DEPTH {
        deep = !deep;
    }
    assert!(deep.compile::<Strict>().is_ok());
    assert!(matches!((!deep).compile::<Strict>(), Err(PredicateError::TooDeep(_))));
    let many = |n| field("text").one_of(vec!["a"; n]);
    assert!(many(crate::limits::PREDICATE_NODES - 1).compile::<Strict>().is_ok());
    assert!(matches!(many(crate::limits::PREDICATE_NODES).compile::<Strict>(), Err(PredicateError::TooLarge(_))));
}

#[test]
fn a_predicate_reads_as_it_is_meant() {
    let predicate = field("total").between(10..20) & !(field("country").is("CH") | field("express").exists());
    assert_eq!(predicate.to_string(), "(total in [10, 20) and not (country == \"CH\" or express exists))");
    assert_eq!(
        (Predicate::All(vec![]).to_string(), Predicate::Any(vec![]).to_string()),
        ("true".into(), "false".into())
    );
}
