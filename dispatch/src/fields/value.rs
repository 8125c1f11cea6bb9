//! Pure: values of fields, and how they compare.
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// What a field is.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum FieldValue<'a> {
    /// Yes or no.
    Bool(bool),
    /// A whole number; larger ones than it holds are told as text or as a float.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(&'a str),
}

/// What kind of value a field has. Numbers of both kinds compare with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FieldType {
    /// [`FieldValue::Bool`].
    Bool,
    /// [`FieldValue::Integer`].
    Integer,
    /// [`FieldValue::Float`].
    Float,
    /// [`FieldValue::Text`].
    Text,
}

/// A value that a predicate holds. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum OwnedValue {
    /// As [`FieldValue::Bool`].
    Bool(bool),
    /// As [`FieldValue::Integer`].
    Integer(i64),
    /// As [`FieldValue::Float`].
    Float(f64),
    /// As [`FieldValue::Text`].
    Text(Arc<str>),
}

impl FieldValue<'_> {
    /// Its type.
    #[must_use]
    pub fn kind(&self) -> FieldType {
        match self {
            Self::Bool(_) => FieldType::Bool,
            Self::Integer(_) => FieldType::Integer,
            Self::Float(_) => FieldType::Float,
            Self::Text(_) => FieldType::Text,
        }
    }

    /// How it compares; `None` if it does not: values of different kinds, or NaN.
    #[must_use]
    pub fn compare(&self, other: &FieldValue<'_>) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), FieldValue::Bool(b)) => Some(a.cmp(b)),
            (Self::Integer(a), FieldValue::Integer(b)) => Some(a.cmp(b)),
            (Self::Float(a), FieldValue::Float(b)) => a.partial_cmp(b),
            (Self::Integer(a), FieldValue::Float(b)) => whole_with_float(*a, *b),
            (Self::Float(a), FieldValue::Integer(b)) => whole_with_float(*b, *a).map(Ordering::reverse),
            (Self::Text(a), FieldValue::Text(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
            _ => None,
        }
    }
}

impl OwnedValue {
    /// It, borrowed.
    #[must_use]
    pub fn value(&self) -> FieldValue<'_> {
        match self {
            Self::Bool(value) => FieldValue::Bool(*value),
            Self::Integer(value) => FieldValue::Integer(*value),
            Self::Float(value) => FieldValue::Float(*value),
            Self::Text(value) => FieldValue::Text(value),
        }
    }
}

impl FieldType {
    /// Whether values of the two can compare.
    #[must_use]
    pub fn compares_with(self, other: Self) -> bool {
        let number = |kind| matches!(kind, Self::Integer | Self::Float);
        self == other || number(self) && number(other)
    }
}

/// Exactly: a cast of the integer would round from 2⁵³ on.
fn whole_with_float(whole: i64, float: f64) -> Option<Ordering> {
    // The first float that no i64 reaches, 2⁶³.
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if float.is_nan() {
        return None;
    }
    if float >= BEYOND {
        return Some(Ordering::Less);
    }
    if float < -BEYOND {
        return Some(Ordering::Greater);
    }
    let floor = float.floor();
    #[expect(clippy::cast_possible_truncation, reason = "it is whole, and within the range")]
    let below = floor as i64;
    // With the same whole part, what stands behind the point decides.
    Some(whole.cmp(&below).then(if float > floor { Ordering::Less } else { Ordering::Equal }))
}

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "a truth value",
            Self::Integer => "an integer",
            Self::Float => "a float",
            Self::Text => "a text",
        })
    }
}

macro_rules! from_values {
    ($($from:ty => $variant:ident($value:ident) $into:expr;)*) => {$(
        impl From<$from> for FieldValue<'_> {
            fn from($value: $from) -> Self {
                Self::$variant($into)
            }
        }

        impl From<$from> for OwnedValue {
            fn from($value: $from) -> Self {
                Self::$variant($into)
            }
        }
    )*};
}

from_values! {
    bool => Bool(value) value;
    i64 => Integer(value) value;
    i32 => Integer(value) value.into();
    i16 => Integer(value) value.into();
    i8 => Integer(value) value.into();
    u32 => Integer(value) value.into();
    u16 => Integer(value) value.into();
    u8 => Integer(value) value.into();
    f64 => Float(value) value;
    f32 => Float(value) value.into();
}

impl<'a> From<&'a str> for FieldValue<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for FieldValue<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for OwnedValue {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for OwnedValue {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Around every place where a cast would round or saturate.
    #[test]
    fn whole_numbers_compare_with_floats_exactly() {
        let two53: i64 = 1 << 53;
        let table = [
            (two53 + 1, 9_007_199_254_740_992.0, Some(Ordering::Greater)),
            (two53, 9_007_199_254_740_992.0, Some(Ordering::Equal)),
            (i64::MAX, 9_223_372_036_854_775_808.0, Some(Ordering::Less)),
            (i64::MIN, -9_223_372_036_854_775_808.0, Some(Ordering::Equal)),
            (i64::MIN, f64::NEG_INFINITY, Some(Ordering::Greater)),
            (i64::MAX, f64::INFINITY, Some(Ordering::Less)),
            (0, f64::NAN, None),
            (0, -0.0, Some(Ordering::Equal)),
            (1, 1.5, Some(Ordering::Less)),
            (2, 1.5, Some(Ordering::Greater)),
            (-1, -1.5, Some(Ordering::Greater)),
            (-2, -1.5, Some(Ordering::Less)),
        ];
        for (whole, float, expected) in table {
            let (whole, float) = (FieldValue::Integer(whole), FieldValue::Float(float));
            assert_eq!(whole.compare(&float), expected, "{whole:?} {float:?}");
            assert_eq!(float.compare(&whole), expected.map(Ordering::reverse), "{float:?} {whole:?}");
        }
    }

    #[test]
    fn values_of_other_kinds_do_not_compare() {
        let all = [FieldValue::Bool(true), FieldValue::Integer(1), FieldValue::Float(1.0), FieldValue::Text("1")];
        for a in all {
            for b in all {
                let comparable = a.kind().compares_with(b.kind());
                assert_eq!(a.compare(&b), comparable.then_some(Ordering::Equal), "{a:?} {b:?}");
            }
        }
    }
}
