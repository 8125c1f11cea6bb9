//! Driver: processes that use libraries made for tokio: a store that a Redis client talks to, and a web server by hyper.
//!
//! `cargo run -p with_tokio --features guest`
#![forbid(unsafe_code)]

#[cfg(feature = "guest")]
pub mod store;
#[cfg(feature = "guest")]
pub mod web;
