//! Pure: predicates over fields, as trees: data to be made, read, shown and compiled.
use super::RoutingMessage;
use super::compiled::Compiled;
use super::value::{FieldType, FieldValue, OwnedValue};
use crate::limits::{PREDICATE_DEPTH, PREDICATE_NODES};
use std::cmp::Ordering;
use std::fmt;
use std::ops::{BitAnd, BitOr, Bound, Not, RangeBounds};
use std::sync::Arc;
use thiserror::Error as ThisError;

/// What has to hold of a message's fields.
///
/// Made by [`field`] and put together by `&`, `|` and `!`, which do not short-cut anything: the parts have no effects.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Predicate {
    /// Holds always, or never.
    Constant(bool),
    /// The field is there.
    Exists(Arc<str>),
    /// The field is there, and compares so with a value.
    Compare(Arc<str>, Comparison, OwnedValue),
    /// The field is there, and lies between two values; each bound may be open, or none.
    Range(Arc<str>, Bound<OwnedValue>, Bound<OwnedValue>),
    /// All of these hold; with none, that is so.
    All(Vec<Predicate>),
    /// At least one of these holds; with none, that is not so.
    Any(Vec<Predicate>),
    /// This does not hold.
    Not(Box<Predicate>),
}

/// How a field is to compare with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// It is equal.
    Is,
    /// It is there and comparable, and not equal.
    IsNot,
    /// It is less.
    Less,
    /// It is less or equal.
    AtMost,
    /// It is more.
    More,
    /// It is more or equal.
    AtLeast,
}

/// Why a predicate does not compile. Nothing has been changed.
#[derive(Clone, Debug, PartialEq, ThisError)]
#[non_exhaustive]
pub enum PredicateError {
    /// The messages have no field of that name.
    #[error("there is no field {0:?}")]
    UnknownField(Arc<str>),
    /// The field has another type than what it is compared with: that would never hold.
    #[error("the field {field:?} is {kind} and is compared with {with}")]
    TypeMismatch {
        /// The field.
        field: Arc<str>,
        /// What it is.
        kind: FieldType,
        /// What it is compared with.
        with: FieldType,
    },
    /// The bounds of a range are of two types that do not compare, or NaN is compared with, which never holds.
    #[error("the field {0:?} is compared with what nothing compares with")]
    Incomparable(Arc<str>),
    /// The tree is deeper than is followed.
    #[error("the predicate is nested more than {0} deep")]
    TooDeep(usize),
    /// The tree has more nodes than a routing function should look at.
    #[error("the predicate has more than {0} parts")]
    TooLarge(usize),
}

/// A field by name, about which something is to be said.
#[derive(Clone, Debug)]
#[must_use = "it says nothing yet"]
pub struct Field(Arc<str>);

/// The field of that name.
pub fn field(name: impl Into<Arc<str>>) -> Field {
    Field(name.into())
}

impl Field {
    /// It is there.
    #[must_use]
    pub fn exists(self) -> Predicate {
        Predicate::Exists(self.0)
    }

    /// It is that.
    #[must_use]
    pub fn is(self, value: impl Into<OwnedValue>) -> Predicate {
        Predicate::Compare(self.0, Comparison::Is, value.into())
    }

    /// It is there, and not that.
    #[must_use]
    pub fn is_not(self, value: impl Into<OwnedValue>) -> Predicate {
        Predicate::Compare(self.0, Comparison::IsNot, value.into())
    }

    /// It is less than that.
    #[must_use]
    pub fn less_than(self, value: impl Into<OwnedValue>) -> Predicate {
        Predicate::Compare(self.0, Comparison::Less, value.into())
    }

    /// It is that or less.
    #[must_use]
    pub fn at_most(self, value: impl Into<OwnedValue>) -> Predicate {
        Predicate::Compare(self.0, Comparison::AtMost, value.into())
    }

    /// It is more than that.
    #[must_use]
    pub fn more_than(self, value: impl Into<OwnedValue>) -> Predicate {
        Predicate::Compare(self.0, Comparison::More, value.into())
    }

    /// It is that or more.
    #[must_use]
    pub fn at_least(self, value: impl Into<OwnedValue>) -> Predicate {
        Predicate::Compare(self.0, Comparison::AtLeast, value.into())
    }

    /// It lies in a range, as `field("total").between(10..20)`.
    #[must_use]
    pub fn between<V: Into<OwnedValue> + Clone>(self, range: impl RangeBounds<V>) -> Predicate {
        let owned = |bound: Bound<&V>| bound.cloned().map(Into::into);
        Predicate::Range(self.0, owned(range.start_bound()), owned(range.end_bound()))
    }

    /// It is one of these.
    #[must_use]
    pub fn one_of<V: Into<OwnedValue>>(self, values: impl IntoIterator<Item = V>) -> Predicate {
        let is = |value: V| Predicate::Compare(Arc::clone(&self.0), Comparison::Is, value.into());
        Predicate::Any(values.into_iter().map(is).collect())
    }
}

impl Comparison {
    pub(super) fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Is => ordering.is_eq(),
            Self::IsNot => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::AtMost => ordering.is_le(),
            Self::More => ordering.is_gt(),
            Self::AtLeast => ordering.is_ge(),
        }
    }
}

/// Whether a value lies between two others.
pub(super) fn lies_between(value: &FieldValue<'_>, from: &Bound<OwnedValue>, to: &Bound<OwnedValue>) -> bool {
    let above = match from {
        Bound::Unbounded => true,
        Bound::Included(from) => value.compare(&from.value()).is_some_and(Ordering::is_ge),
        Bound::Excluded(from) => value.compare(&from.value()).is_some_and(Ordering::is_gt),
    };
    above
        && match to {
            Bound::Unbounded => true,
            Bound::Included(to) => value.compare(&to.value()).is_some_and(Ordering::is_le),
            Bound::Excluded(to) => value.compare(&to.value()).is_some_and(Ordering::is_lt),
        }
}

impl Predicate {
    /// Whether it holds, found by walking the tree: what a compiled one agrees with. It asks for a field as often as that is named.
    /// For trees of any depth that was made in code; one from elsewhere is to be compiled, which is bounded.
    #[must_use]
    pub fn evaluate(&self, message: &impl RoutingMessage) -> bool {
        match self {
            Self::Constant(holds) => *holds,
            Self::Exists(name) => message.field(name).is_some(),
            Self::Compare(name, comparison, with) => message
                .field(name)
                .and_then(|value| value.compare(&with.value()))
                .is_some_and(|ordering| comparison.holds(ordering)),
            Self::Range(name, from, to) => message.field(name).is_some_and(|value| lies_between(&value, from, to)),
            Self::All(all) => all.iter().all(|part| part.evaluate(message)),
            Self::Any(any) => any.iter().any(|part| part.evaluate(message)),
            Self::Not(part) => !part.evaluate(message),
        }
    }

    /// Checks it against the fields that the messages have, and makes it fit to be asked of each.
    ///
    /// # Errors
    ///
    /// [`PredicateError`]: a field that is not there, a comparison that can never hold, or too much of it.
    pub fn compile<M: RoutingMessage>(&self) -> Result<Compiled, PredicateError> {
        let mut nodes = 0;
        self.check::<M>(0, &mut nodes)?;
        Ok(Compiled::new(self))
    }

    fn check<M: RoutingMessage>(&self, depth: usize, nodes: &mut usize) -> Result<(), PredicateError> {
        *nodes += 1;
        if depth > PREDICATE_DEPTH {
            return Err(PredicateError::TooDeep(PREDICATE_DEPTH));
        }
        if *nodes > PREDICATE_NODES {
            return Err(PredicateError::TooLarge(PREDICATE_NODES));
        }
        match self {
            Self::Constant(_) => Ok(()),
            Self::Exists(name) => kind_of::<M>(name).map(drop),
            Self::Compare(name, _, with) => comparable::<M>(name, with),
            Self::Range(name, from, to) => {
                kind_of::<M>(name)?;
                let bounds = [from, to].map(|bound| match bound {
                    Bound::Included(value) | Bound::Excluded(value) => Some(value),
                    Bound::Unbounded => None,
                });
                bounds.into_iter().flatten().try_for_each(|with| comparable::<M>(name, with))?;
                match bounds {
                    [Some(from), Some(to)] if from.value().compare(&to.value()).is_none() => {
                        Err(PredicateError::Incomparable(Arc::clone(name)))
                    }
                    _ => Ok(()),
                }
            }
            Self::All(parts) | Self::Any(parts) => parts.iter().try_for_each(|part| part.check::<M>(depth + 1, nodes)),
            Self::Not(part) => part.check::<M>(depth + 1, nodes),
        }
    }
}

/// The type of a field; `None` if nothing is known.
fn kind_of<M: RoutingMessage>(name: &Arc<str>) -> Result<Option<FieldType>, PredicateError> {
    if M::FIELDS.is_empty() {
        return Ok(None);
    }
    let known = M::FIELDS.iter().find(|(field, _)| **field == **name);
    known.map(|(_, kind)| Some(*kind)).ok_or_else(|| PredicateError::UnknownField(Arc::clone(name)))
}

fn comparable<M: RoutingMessage>(name: &Arc<str>, with: &OwnedValue) -> Result<(), PredicateError> {
    let with = with.value();
    if with.compare(&with).is_none() {
        return Err(PredicateError::Incomparable(Arc::clone(name)));
    }
    match kind_of::<M>(name)? {
        Some(kind) if !kind.compares_with(with.kind()) => {
            Err(PredicateError::TypeMismatch { field: Arc::clone(name), kind, with: with.kind() })
        }
        _ => Ok(()),
    }
}

impl BitAnd for Predicate {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        match self {
            Self::All(mut all) => {
                all.push(other);
                Self::All(all)
            }
            first => Self::All(vec![first, other]),
        }
    }
}

impl BitOr for Predicate {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        match self {
            Self::Any(mut any) => {
                any.push(other);
                Self::Any(any)
            }
            first => Self::Any(vec![first, other]),
        }
    }
}

impl Not for Predicate {
    type Output = Self;
    fn not(self) -> Self {
        Self::Not(Box::new(self))
    }
}

impl fmt::Display for OwnedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(value) => write!(f, "{value:?}"),
        }
    }
}

impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |f: &mut fmt::Formatter<'_>, parts: &[Self], by: &str, none: &str| {
            if parts.is_empty() {
                return f.write_str(none);
            }
            f.write_str("(")?;
            for (at, part) in parts.iter().enumerate() {
                f.write_str(if at > 0 { by } else { "" })?;
                part.fmt(f)?;
            }
            f.write_str(")")
        };
        match self {
            Self::Constant(holds) => holds.fmt(f),
            Self::Exists(name) => write!(f, "{name} exists"),
            Self::Compare(name, comparison, with) => {
                let sign = match comparison {
                    Comparison::Is => "==",
                    Comparison::IsNot => "!=",
                    Comparison::Less => "<",
                    Comparison::AtMost => "<=",
                    Comparison::More => ">",
                    Comparison::AtLeast => ">=",
                };
                write!(f, "{name} {sign} {with}")
            }
            Self::Range(name, from, to) => {
                write!(f, "{name} in ")?;
                match from {
                    Bound::Included(from) => write!(f, "[{from}, ")?,
                    Bound::Excluded(from) => write!(f, "({from}, ")?,
                    Bound::Unbounded => f.write_str("(.., ")?,
                }
                match to {
                    Bound::Included(to) => write!(f, "{to}]"),
                    Bound::Excluded(to) => write!(f, "{to})"),
                    Bound::Unbounded => f.write_str("..)"),
                }
            }
            Self::All(parts) => joined(f, parts, " and ", "true"),
            Self::Any(parts) => joined(f, parts, " or ", "false"),
            Self::Not(part) => write!(f, "not {part}"),
        }
    }
}
