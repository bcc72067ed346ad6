//! A streamer's socket: its listener, its uploads, its end.

use std::sync::Arc;

use bytes::Bytes;
use socketioxide::extract::{SocketRef, TryData};
use socketioxide::socket::DisconnectReason;

use super::admission::{self, Admission};
use super::handshake::Attempt;
use super::outgoing::Callback;
use super::parting::ClosedByServer;
use super::pending_acks::{PendingAck, PendingAcks};
use super::wire::{self, Ack, Refusal, StateMessage};
use super::{Sockets, now};
use crate::broadcast::{Epoch, Role};
use crate::directory::{Entry, Freshness};
use crate::limits::whole_millis;
use crate::relay::{NotStarted, Start, UploadError, Uploaded};

const ROLE: Role = Role::Streamer;

/// What a streamer's socket holds. Dropping it without a word counts as the loss of its transport.
pub(super) struct StreamerSocket {
    sockets: Sockets,
    epoch: Epoch,
    admission: Arc<Admission>,
    pending_acks: PendingAcks,
}

impl Drop for StreamerSocket {
    fn drop(&mut self) {
        // Nothing happens if the livestream ended, or another socket took it over.
        self.sockets.conclude_soon(self.sockets.0.relay.lost(
            &self.admission.livestream,
            self.epoch,
            now(),
        ));
    }
}

fn listener(socket: &SocketRef) -> Option<Arc<StreamerSocket>> {
    socket.extensions.get::<Arc<StreamerSocket>>()
}

pub(super) fn admission(socket: &SocketRef) -> Option<Arc<Admission>> {
    Some(listener(socket)?.admission.clone())
}

/// Registers what a streamer may send, before anything is known about it.
pub(super) fn register(sockets: &Sockets, socket: &SocketRef) {
    let room = sockets.clone();
    // Uploads are taken one after the other, here: the library runs this closure before it reads on, and spawns only
    // the future that is returned, which is ready.
    let upload = move |socket: SocketRef, TryData(clip): TryData<(Bytes,)>, callback: Callback| {
        take(&room, &socket, clip.ok().map(|(clip,)| clip), callback);
        std::future::ready(())
    };
    socket.on(wire::UPLOAD, upload);
    admission::register(sockets, socket, admission);
}

/// Checks a streamer, and gives it the livestream.
pub(super) async fn admit(attempt: Attempt<'_>) -> Result<(), Refusal> {
    let Attempt {
        sockets,
        socket,
        credentials,
        ..
    } = attempt;
    let relay = &sockets.0.relay;
    let (caller, pending) = attempt.identify().await?;
    let livestream = credentials
        .livestream
        .clone()
        .ok_or(Refusal::NotTheArtist)?;
    let theirs = |entry: &Entry| entry.artist == caller.user;
    let entry = attempt
        .look_up(&livestream, Freshness::Fresh, pending, theirs)
        .await?;
    if !entry.is_some_and(|entry| theirs(&entry)) {
        return Err(Refusal::NotTheArtist);
    }
    let replaces = relay.is_streamed_by(&livestream, &caller.user);
    let counted = sockets
        .0
        .users
        .count(&caller.user, ROLE, &livestream, replaces);
    let counted = counted.ok_or(Refusal::TooMany)?;
    // Not asked of the other nodes in vain.
    if relay.is_superseded(&livestream, credentials.epoch) {
        return Err(Refusal::TakenOver(livestream));
    }
    if !attempt.step(relay.acquire(&livestream, now())).await? {
        return Err(Refusal::Full);
    }
    let start = relay.start(
        &livestream,
        &caller.user,
        socket.id,
        credentials.epoch,
        now(),
    );
    let Start { replaced } = start.map_err(|error| match error {
        NotStarted::Full => Refusal::Full,
        NotStarted::Superseded => Refusal::TakenOver(livestream.clone()),
    })?;
    if let Some(replaced) = replaced.filter(|replaced| *replaced != socket.id) {
        sockets.dismiss(ROLE, replaced, &wire::taken_over(&livestream));
    }
    let session = attempt.session.clone();
    session.pressure.set_limit(sockets.0.answers);
    let pending_acks = PendingAcks::new(sockets, socket.id, session, &caller.user);
    let epoch = credentials.epoch;
    let listener = StreamerSocket {
        sockets: sockets.clone(),
        epoch,
        admission: Arc::new(Admission::new(attempt, livestream, caller, counted)),
        pending_acks,
    };
    socket.extensions.insert(Arc::new(listener));
    admission::watch(sockets, socket, gone);
    Ok(())
}

/// The socket is connected: says so, and the livestream is on air.
pub(super) fn greet(sockets: &Sockets, socket: &SocketRef) {
    let Some(listener) = listener(socket) else {
        return;
    };
    sockets.log_admission(socket, &listener.admission);
    if sockets
        .0
        .relay
        .air(&listener.admission.livestream, listener.epoch)
    {
        let text = wire::connected(
            &listener.admission.caller.user,
            ROLE,
            &listener.admission.livestream,
        );
        sockets.emit(socket, wire::SUCCESS, &text);
        let (state, listeners) = sockets.0.relay.state(&listener.admission.livestream);
        sockets.emit(socket, wire::STATE, &StateMessage::new(state, listeners));
    } else {
        // Taken over between its check and now, when it could not be told yet.
        sockets.dismiss(
            ROLE,
            socket.id,
            &wire::taken_over(&listener.admission.livestream),
        );
    }
}

pub(super) fn taken(sequence: u64, listeners: usize) -> Ack {
    Ack {
        ok: true,
        sequence: Some(sequence),
        listeners: Some(listeners),
        ..Ack::default()
    }
}

fn take(sockets: &Sockets, socket: &SocketRef, clip: Option<Bytes>, callback: Callback) {
    let refused = |text: &str, retry_after_ms: Option<u64>| {
        sockets.emit(socket, wire::ERROR, text);
        Ack {
            retry_after_ms,
            ..Ack::error(text)
        }
    };
    let said = match (listener(socket), clip) {
        // A socket that was refused has been told why already.
        (None, _) => Ack::error(wire::NOT_ON_AIR),
        (Some(_), None) => {
            sockets
                .0
                .metrics
                .uploads_refused
                .with_label_values(&["not_a_clip"])
                .inc();
            refused(wire::NOT_A_CLIP, None)
        }
        (Some(listener), Some(clip)) => {
            let Admission {
                livestream, caller, ..
            } = &*listener.admission;
            match sockets
                .0
                .relay
                .upload(livestream, listener.epoch, &caller.user, clip, now())
            {
                Ok(Uploaded {
                    listeners,
                    ticket: Some(ticket),
                    ..
                }) => {
                    // Told when the other nodes have it.
                    return listener.pending_acks.keep(PendingAck {
                        ticket,
                        listeners,
                        callback,
                    });
                }
                Ok(uploaded) => {
                    sockets.emit(socket, wire::SUCCESS, &wire::received(&caller.user));
                    taken(uploaded.sequence, uploaded.listeners)
                }
                Err(UploadError::StaleEpoch) => Ack::error(wire::NOT_ON_AIR),
                Err(UploadError::Stopping) => refused(&Refusal::Unavailable.text(), None),
                Err(UploadError::Empty) => refused(wire::NOT_A_CLIP, None),
                Err(UploadError::TooLarge { limit }) => refused(&wire::too_large(limit), None),
                Err(UploadError::Exceeded(exceeded)) => {
                    let millis = whole_millis(exceeded.retry_after);
                    refused(&wire::rate_limited(millis), Some(millis))
                }
            }
        }
    };
    sockets.answer(callback, &said);
}

fn gone(sockets: &Sockets, socket: &SocketRef, reason: DisconnectReason) {
    let Some(listener) = socket.extensions.remove::<Arc<StreamerSocket>>() else {
        return;
    };
    let livestream = &listener.admission.livestream;
    tracing::debug!(livestream.id = %livestream, user.id = %listener.admission.caller.user, %reason, "streamer's socket closed");
    if reason == DisconnectReason::ClientNSDisconnect {
        listener.admission.left();
        sockets.conclude_soon(sockets.0.relay.end(livestream, listener.epoch, now()));
    } else if socket.extensions.get::<ClosedByServer>().is_some() {
        listener.admission.left();
    }
    // Dropping the listener says that the transport is gone, where nothing else was said.
}
