//! The Castaway media server.

pub mod broadcast;
pub mod config;
pub mod http;
pub mod limits;
pub mod metrics;
pub mod transport;
