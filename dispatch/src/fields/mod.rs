//! Pure: routing by what messages say of themselves: fields by name, and predicates over them that are data.
//!
//! A message tells its fields ([`RoutingMessage`]); a [`Predicate`] is a tree of comparisons over fields, made in code (or read
//! from a configuration) and checked once; a list of rules, each a predicate and where its messages go, becomes a
//! [`RoutingFunction`].
//!
//! ```
//! use colloquium_dispatch::fields::{FieldType, FieldValue, Predicate, Rules, RoutingMessage, Target, field};
//!
//! struct Order { country: String, total: i64, express: Option<bool> }
//!
//! impl RoutingMessage for Order {
//!     fn field(&self, name: &str) -> Option<FieldValue<'_>> {
//!         match name {
//!             "country" => Some(self.country.as_str().into()),
//!             "total" => Some(self.total.into()),
//!             "express" => self.express.map(Into::into),
//!             _ => None,
//!         }
//!     }
//!     const FIELDS: &'static [(&'static str, FieldType)] =
//!         &[("country", FieldType::Text), ("total", FieldType::Integer), ("express", FieldType::Bool)];
//! }
//!
//! let large = field("total").at_least(1000) & !field("country").one_of(["CH", "NO"]);
//! let order = Order { country: "DE".into(), total: 2500, express: None };
//! assert!(large.compile::<Order>()?.holds(&order));
//! assert!(!field("express").exists().compile::<Order>()?.holds(&order));
//!
//! // What cannot be meant is told before the first message comes.
//! let error = field("total").is("much").compile::<Order>().unwrap_err();
//! assert_eq!(error.to_string(), "the field \"total\" is an integer and is compared with a text");
//!
//! let routing = Rules::new().rule(large, Target::tag("heavy")).default(Target::Any).compile::<Order>()?;
//! # let _ = routing;
//! # Ok::<(), colloquium_dispatch::fields::PredicateError>(())
//! ```
//!
//! # Values
//!
//! Integers and floats compare by value, exactly (2⁵³ + 1 is more than 2⁵³ as a float). Text compares by bytes. Values of other
//! kinds do not compare with each other. A comparison with a field that is missing does not hold, whatever it is; nor does one
//! with NaN on either side, of equality neither. So `!(a < b)` is not `a >= b` where there may be none, and a predicate that needs
//! the field says so: `field("a").exists() & !field("a").less_than(3)`.
mod compiled;
mod predicate;
mod rules;
mod value;

pub use compiled::Compiled;
pub use predicate::{Comparison, Field, Predicate, PredicateError, field};
pub use rules::{Rules, Target};
pub use value::{FieldType, FieldValue, OwnedValue};

#[allow(unused_imports, reason = "the documentation names it")]
use crate::RoutingFunction;

/// A message that tells its fields.
///
/// Not to be slow: a routing function asks on every dispatch, on whoever dispatches.
pub trait RoutingMessage {
    /// The value of a field; `None` if the message has none of that name, or has not set it.
    fn field(&self, name: &str) -> Option<FieldValue<'_>>;

    /// The fields that there may be, and their types, so that a predicate over others, or over values of other types, is refused
    /// when it is compiled. Left empty, nothing is known, and a predicate over a field that never is simply does not hold.
    const FIELDS: &'static [(&'static str, FieldType)] = &[];
}
