//! Pure: supervision trees over `colloquium-runtime`; its public API arrives with the supervisors' issue.
#![forbid(unsafe_code)]
