//! Driver: a web service that hands uploads to supervised consumers; here, what it does with them.
//!
//! `cargo run -p webhook --features http`
#![forbid(unsafe_code)]

pub mod pgm;
