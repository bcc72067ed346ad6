//! Access to Google: one outbound client, the project's access tokens, and a refresh cache.
//!
//! [`Client`] makes every call; [`Access`] knows the project and issues access tokens; [`RefreshCache`] caches values
//! with a lifetime. [`identity`](crate::identity) checks tokens and [`directory`](crate::directory) reads livestreams;
//! both call Google through this module.
//!
//! **Invariant**: no text that leaves this module (errors, logs, metrics) contains a URL, a body or a token.

mod access;
mod account;
mod circuit;
mod client;
mod complaint;
mod emulators;
mod failure;
mod refresh_cache;

pub use access::{Access, Credentials};
pub use circuit::Health;
pub use client::{Client, Dependency, Lane, Reply};
pub use complaint::Complaint;
pub use emulators::Emulators;
pub use failure::Failure;
pub use refresh_cache::{Fetched, Newest, RefreshCache};

use crate::config::Problems;

/// The reason why Google cannot be accessed; detected at start.
#[derive(Debug, thiserror::Error)]
pub enum GoogleError {
    /// The HTTP client cannot be made.
    #[error("the outbound HTTP client cannot be made: {0}")]
    Client(String),
    /// The metrics are already registered.
    #[error("the metrics of calls to Google cannot be registered")]
    Metrics(#[from] prometheus::Error),
    /// An invalid configuration.
    #[error(transparent)]
    Config(#[from] Problems),
    /// No usable project id.
    #[error(
        "google.project_id is not set or no good: {0}; set it, as PROJECT_ID in the environment for example"
    )]
    Project(String),
}
