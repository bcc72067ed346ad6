//! Sockets that systemd opened before the daemon started, so that a restart refuses no connection.

use anyhow::{Context as _, bail};
use listenfd::ListenFd;

use crate::app::Inherited;

/// Takes the sockets named `clients`, `health` and `admin`; none without socket activation.
pub fn take() -> anyhow::Result<Inherited> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut passed = ListenFd::from_env();
    let mut inherited = Inherited::default();
    for (index, name) in (0..passed.len()).zip(names.split(':')) {
        let wrong = |kind| format!("the socket {name:?} from systemd is no {kind} that listens");
        match name {
            "clients" | "health" => {
                let found = passed.take_tcp_listener(index).ok().flatten();
                let listener = found.with_context(|| wrong("TCP socket"))?;
                if name == "clients" {
                    inherited.clients = Some(listener);
                } else {
                    inherited.health = Some(listener);
                }
            }
            "admin" => {
                let found = passed.take_unix_listener(index).ok().flatten();
                inherited.admin = Some(found.with_context(|| wrong("Unix socket"))?);
            }
            _ => bail!(
                "systemd passed a socket named {name:?}; FileDescriptorName= must be clients, health or admin"
            ),
        }
    }
    Ok(inherited)
}
