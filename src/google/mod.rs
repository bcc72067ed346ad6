//! Google as this server meets it: one outbound client, the way into the project, and values that are kept.
//!
//! [`Client`] makes every call; [`Access`] knows the project and hands out access tokens; [`RefreshCache`] holds what Google
//! gives for a while. Who a token stands for is the business of [`identity`](crate::identity), which livestreams
//! exist that of [`directory`](crate::directory); both go through here.
//!
//! **Invariant**: nothing that leaves this room as text (errors, logs, metrics) holds a URL, a body or a token.

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

/// Why there is no way to Google; found at start.
#[derive(Debug, thiserror::Error)]
pub enum GoogleError {
    /// The HTTP client cannot be made.
    #[error("the outbound HTTP client cannot be made: {0}")]
    Client(String),
    /// The figures are registered already.
    #[error("the figures about Google cannot be registered")]
    Figures(#[from] prometheus::Error),
    /// A configuration that is no good.
    #[error(transparent)]
    Config(#[from] Problems),
    /// No project.
    #[error(
        "google.project_id is not set or no good: {0}; set it, as PROJECT_ID in the environment for example"
    )]
    Project(String),
}
