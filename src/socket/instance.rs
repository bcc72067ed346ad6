//! One connection to a namespace, from before its check to its end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use socketioxide::extract::SocketRef;

use crate::broadcast::UserId;

/// In the extensions of each socket. A client that leaves and comes again on its session gets the same socket id, but
/// another instance.
#[derive(Clone, Default)]
pub(super) struct SocketInstance(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// The user of its token, for the log of its refusal.
    user: OnceLock<UserId>,
    /// The server has disconnected it: its end is no loss of a transport.
    is_closed: AtomicBool,
}

impl SocketInstance {
    /// The instance of a socket; another one if the socket has none any longer.
    pub(super) fn of(socket: &SocketRef) -> Self {
        socket.extensions.get::<Self>().unwrap_or_default()
    }

    /// Whether both are the same connection.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Records the user of its token.
    pub(super) fn belongs_to(&self, user: &UserId) {
        self.0.user.get_or_init(|| user.clone());
    }

    pub(super) fn user(&self) -> Option<&UserId> {
        self.0.user.get()
    }

    /// Records that the server disconnects it; false if it did so before.
    pub(super) fn close(&self) -> bool {
        !self.0.is_closed.swap(true, Ordering::SeqCst)
    }

    pub(super) fn is_closed_by_server(&self) -> bool {
        self.0.is_closed.load(Ordering::SeqCst)
    }
}
