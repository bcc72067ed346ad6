//! The Unix socket of the operator's API: systemd's, or else one in the runtime directory.
//!
//! **Invariant**: a file of the daemon's own lets in its user and root alone.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net;
use std::path::Path;

use anyhow::Context as _;
use tokio::net::UnixListener;
use tokio::sync::mpsc;

use super::Parts;
use crate::http::api::Peer;

/// The socket's name in the runtime directory.
const NAME: &str = "api.sock";

/// The socket that systemd passed, or one in the runtime directory; none without either.
pub(super) fn listen(
    passed: Option<net::UnixListener>,
    runtime: Option<&Path>,
) -> anyhow::Result<Option<UnixListener>> {
    if let Some(passed) = passed {
        passed.set_nonblocking(true)?;
        return Ok(Some(UnixListener::from_std(passed)?));
    }
    let Some(directory) = runtime else {
        return Ok(None);
    };
    let path = directory.join(NAME);
    let shown = path.display();
    let is_socket = fs::symlink_metadata(&path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket {
        // Of the previous process.
        fs::remove_file(&path).with_context(|| format!("cannot replace {shown}"))?;
    }
    let listener = UnixListener::bind(&path)
        .with_context(|| format!("cannot listen on {shown}, the socket of the operator's API"))?;
    fs::set_permissions(&path, Permissions::from_mode(0o600))
        .with_context(|| format!("cannot set the rights of {shown}"))?;
    Ok(Some(listener))
}

impl Parts {
    /// Serves the API on its socket from now on.
    pub(super) fn serve_operator(
        &self,
        failed: &mpsc::Sender<String>,
        socket: Option<UnixListener>,
    ) {
        if let Some(socket) = socket {
            let routes = self.api.router();
            let service = routes.into_make_service_with_connect_info::<Peer>();
            self.spawn(failed, "operator's socket", axum::serve(socket, service));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn socket_of_a_previous_process_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        drop(listen(None, Some(directory.path())).unwrap().unwrap());
        assert!(listen(None, Some(directory.path())).unwrap().is_some());
        let found = fs::metadata(directory.path().join(NAME)).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, 0o600);
        assert!(listen(None, None).unwrap().is_none());
    }

    #[tokio::test]
    async fn socket_of_systemd_replaces_an_own_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let passed = net::UnixListener::bind(&path).unwrap();
        let socket = listen(Some(passed), Some(directory.path())).unwrap();
        let address = socket.unwrap().local_addr().unwrap();
        assert_eq!(address.as_pathname(), Some(&*path));
        assert!(!directory.path().join(NAME).exists());
    }

    #[tokio::test]
    async fn file_that_is_no_socket_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(NAME), "x").unwrap();
        assert!(listen(None, Some(directory.path())).is_err());
        assert!(directory.path().join(NAME).exists());
    }
}
