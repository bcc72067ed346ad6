//! Sockets that systemd opened before the daemon started, so that a restart refuses no connection.

use std::net::TcpListener;

use anyhow::{Context as _, bail};
use listenfd::ListenFd;

use crate::app::Inherited;

/// Takes the sockets named `clients` and `health`; none without socket activation.
pub fn take() -> anyhow::Result<Inherited> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut passed = ListenFd::from_env();
    let mut inherited = Inherited::default();
    for (index, name) in (0..passed.len()).zip(names.split(':')) {
        let listener: TcpListener = passed
            .take_tcp_listener(index)
            .ok()
            .flatten()
            .with_context(|| {
                format!("the socket {name:?} from systemd is no TCP socket that listens")
            })?;
        match name {
            "clients" => inherited.clients = Some(listener),
            "health" => inherited.health = Some(listener),
            _ => bail!(
                "systemd passed a socket named {name:?}; FileDescriptorName= must be clients or health"
            ),
        }
    }
    Ok(inherited)
}
