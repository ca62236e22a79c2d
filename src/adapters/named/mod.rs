//! soon
#![forbid(unsafe_code)]
