//! Where a daemon listens, and where it keeps its files.

use std::net::SocketAddr;
use std::path::PathBuf;

/// The addresses on which a daemon listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The client port.
    pub clients: SocketAddr,
    /// The health port.
    pub health: SocketAddr,
}

/// Directories that systemd creates.
#[derive(Debug, Clone, Default)]
pub struct Directories {
    /// `STATE_DIRECTORY`: survives a stop and a reboot.
    pub state: Option<PathBuf>,
    /// `RUNTIME_DIRECTORY`: survives only a restart of the daemon.
    pub runtime: Option<PathBuf>,
}
