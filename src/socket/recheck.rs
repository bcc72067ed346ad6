//! Effects of a repeated check of documents and accounts on sockets.

use secrecy::SecretString;

use super::wire::{self, StateMessage};
use super::{Sockets, streamer};
use crate::broadcast::{Role, State};
use crate::relay::{Ended, SocketId};

impl Sockets {
    /// The latest token of a streamer on this node.
    pub fn token_of(&self, streamer: SocketId) -> Option<SecretString> {
        let socket = self.find(Role::Streamer, streamer)?;
        streamer::admission(&socket)?.token()
    }

    /// Notifies the streamer and all listeners that a livestream has ended, since its document was deleted.
    pub async fn conclude_deleted(&self, ended: Ended, streamer: Option<SocketId>) {
        if let Some((id, socket)) =
            streamer.and_then(|id| Some((id, self.find(Role::Streamer, id)?)))
        {
            let message = StateMessage::new(State::Ended, 0);
            self.emit(&socket, wire::STATE, &message);
            self.disconnect(Role::Streamer, id);
        }
        self.conclude(ended).await;
    }

    /// Notifies the streamer and all listeners that a livestream has ended, since its streamer's account is gone.
    pub async fn conclude_disowned(&self, ended: Ended, streamer: SocketId) {
        self.dismiss(Role::Streamer, streamer, wire::TOKEN_INVALID);
        self.conclude(ended).await;
    }
}
