//! callgate gives a camera, a phone exchange, a streaming server or a file a Nostr identity that can be called.
//!
//! The folder names are the architecture; `ARCHITECTURE.md` says what each module does not know.

pub mod call;
pub mod config;
pub mod endpoint;
pub mod protocol;
pub mod recording;
pub mod sdp;

#[cfg(feature = "daemon")]
pub mod cli;
#[cfg(feature = "daemon")]
pub mod gateway;
#[cfg(feature = "daemon")]
pub mod media;
#[cfg(feature = "daemon")]
pub mod signaling;
#[cfg(feature = "daemon")]
pub mod store;
#[cfg(feature = "daemon")]
pub mod web;
