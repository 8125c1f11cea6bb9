//! Pure: supervised dispatch over `colloquium-runtime`; its public API arrives with the dispatch issue.
#![forbid(unsafe_code)]
