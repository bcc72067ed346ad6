//! What several tests share.

pub(crate) mod app;
pub(crate) mod client;
pub(crate) mod google;
pub(crate) mod raw;
pub(crate) mod wire;
