//! The wire format: fixed vectors that any client's author can use, and properties over arbitrary events.

#[path = "protocol/keys.rs"]
mod keys;
#[path = "protocol/properties.rs"]
mod properties;
#[path = "protocol/vectors.rs"]
mod vectors;
