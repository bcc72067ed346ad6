//! The Castaway media server.

pub mod broadcast;
pub mod config;
pub mod directory;
pub mod google;
pub mod identity;
pub mod limits;
pub mod metrics;
pub mod transport;
