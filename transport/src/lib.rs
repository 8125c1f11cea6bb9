//! Pure: transports as processes over `colloquium-runtime`; its public API arrives with the transport issue.
#![forbid(unsafe_code)]
