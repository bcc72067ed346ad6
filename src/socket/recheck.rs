//! What another look at the documents and accounts of what is live means for sockets.

use secrecy::SecretString;

use super::wire::{self, StateMessage};
use super::{Sockets, streamer};
use crate::broadcast::{Role, State};
use crate::relay::{Ended, SocketId};

impl Sockets {
    /// The latest token of a streamer that is here.
    pub fn token_of(&self, streamer: SocketId) -> Option<SecretString> {
        let socket = self.find(Role::Streamer, streamer)?;
        streamer::admission(&socket)?.text()
    }

    /// Tells everybody that a livestream was ended by its document's deletion: it is over for its streamer too.
    pub async fn conclude_deleted(&self, ended: Ended, streamer: Option<SocketId>) {
        if let Some((id, socket)) =
            streamer.and_then(|id| Some((id, self.find(Role::Streamer, id)?)))
        {
            let message = StateMessage::new(State::Ended, 0);
            if let Err(error) = socket.emit(wire::STATE, &message) {
                tracing::debug!(%error, "a streamer is disconnected without a word: its buffer is full");
            }
            self.disconnect(Role::Streamer, id);
        }
        self.conclude(ended).await;
    }

    /// Tells everybody that a livestream was ended because its streamer's account is gone.
    pub async fn conclude_disowned(&self, ended: Ended, streamer: SocketId) {
        self.dismiss(Role::Streamer, streamer, wire::TOKEN_INVALID);
        self.conclude(ended).await;
    }
}
