//! A streamer's socket: its seat, its uploads, its end.

use std::sync::Arc;

use bytes::Bytes;
use socketioxide::extract::{AckSender, SocketRef, TryData};
use socketioxide::socket::DisconnectReason;

use super::bearer::{self, Bearer};
use super::handshake::{Auth, claim, identify, look_up};
use super::promises::{Promise, Promises};
use super::wire::{self, Ack, Refusal, StateMessage};
use super::{Dismissed, Sockets, now};
use crate::broadcast::{Lease, Role};
use crate::directory::Freshness;
use crate::limits::whole_millis;
use crate::relay::{Start, UploadError, Uploaded};

const ROLE: Role = Role::Streamer;

/// What a streamer's socket holds. Dropping it without a word counts as the loss of its transport.
pub(super) struct StreamerSeat {
    sockets: Sockets,
    lease: Lease,
    bearer: Arc<Bearer>,
    promises: Promises,
}

impl Drop for StreamerSeat {
    fn drop(&mut self) {
        // Nothing happens if the livestream ended, or another socket took it over.
        self.sockets.conclude_soon(self.sockets.0.relay.lost(
            &self.bearer.livestream,
            self.lease,
            now(),
        ));
    }
}

fn seat(socket: &SocketRef) -> Option<Arc<StreamerSeat>> {
    socket.extensions.get::<Arc<StreamerSeat>>()
}

fn bearer(socket: &SocketRef) -> Option<Arc<Bearer>> {
    Some(seat(socket)?.bearer.clone())
}

/// Registers what a streamer may send, before anything is known about it.
pub(super) fn register(sockets: &Sockets, socket: &SocketRef) {
    let room = sockets.clone();
    // Uploads are taken one after the other, here: the library runs this closure before it reads on, and spawns only
    // the future that is returned, which is ready.
    let upload = move |socket: SocketRef, TryData(clip): TryData<(Bytes,)>, ack: AckSender| {
        take(&room, &socket, clip.ok().map(|(clip,)| clip), ack);
        std::future::ready(())
    };
    socket.on(wire::UPLOAD, upload);
    bearer::register(sockets, socket, bearer);
}

/// Checks a streamer, and gives it the livestream.
pub(super) async fn admit(
    sockets: &Sockets,
    socket: &SocketRef,
    auth: Option<Auth>,
) -> Result<(), Refusal> {
    let claim = claim(socket, auth)?;
    let caller = identify(sockets, &claim, ROLE).await?;
    let livestream = claim.livestream.ok_or(Refusal::NotTheArtist)?;
    let entry = look_up(sockets, &livestream, Freshness::Fresh).await?;
    if entry.is_none_or(|entry| entry.artist != caller.user) {
        return Err(Refusal::NotTheArtist);
    }
    if !sockets.0.relay.acquire(&livestream, now()).await {
        return Err(Refusal::Full);
    }
    let start = sockets
        .0
        .relay
        .start(&livestream, &caller.user, socket.id, now());
    let Start { lease, replaced } = start.ok_or(Refusal::Full)?;
    if let Some(replaced) = replaced.filter(|replaced| *replaced != socket.id) {
        sockets.dismiss(ROLE, replaced, &wire::taken_over(&livestream));
    }
    let bearer = Arc::new(Bearer::new(ROLE, livestream, caller, &claim.token));
    let promises = Promises::new(sockets, socket.id, &bearer.caller.user);
    let seat = StreamerSeat {
        sockets: sockets.clone(),
        lease,
        bearer,
        promises,
    };
    socket.extensions.insert(Arc::new(seat));
    bearer::watch(sockets, socket, gone);
    Ok(())
}

/// The socket is connected: says so, and the livestream is on air.
pub(super) fn greet(sockets: &Sockets, socket: &SocketRef) {
    let Some(seat) = seat(socket) else { return };
    sockets.log_let_in(socket, &seat.bearer);
    if sockets.0.relay.air(&seat.bearer.livestream, seat.lease) {
        socket
            .emit(
                wire::SUCCESS,
                &wire::connected(&seat.bearer.caller.user, ROLE, &seat.bearer.livestream),
            )
            .ok();
        let (state, listeners) = sockets.0.relay.state(&seat.bearer.livestream);
        socket
            .emit(wire::STATE, &StateMessage::new(state, listeners))
            .ok();
    } else {
        // Taken over between its check and now, when it could not be told yet.
        sockets.dismiss(ROLE, socket.id, &wire::taken_over(&seat.bearer.livestream));
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

fn take(sockets: &Sockets, socket: &SocketRef, clip: Option<Bytes>, ack: AckSender) {
    let refused = |text: &str, retry_after_ms: Option<u64>| {
        socket.emit(wire::ERROR, text).ok();
        Ack {
            retry_after_ms,
            ..Ack::error(text)
        }
    };
    let said = match (seat(socket), clip) {
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
        (Some(seat), Some(clip)) => {
            let Bearer {
                livestream, caller, ..
            } = &*seat.bearer;
            match sockets
                .0
                .relay
                .upload(livestream, seat.lease, &caller.user, clip, now())
            {
                Ok(Uploaded {
                    listeners,
                    ticket: Some(ticket),
                    ..
                }) => {
                    // Told when the other nodes have it.
                    return seat.promises.keep(Promise {
                        ticket,
                        listeners,
                        ack,
                    });
                }
                Ok(uploaded) => {
                    socket
                        .emit(wire::SUCCESS, &wire::received(&caller.user))
                        .ok();
                    taken(uploaded.sequence, uploaded.listeners)
                }
                Err(UploadError::StaleLease) => Ack::error(wire::NOT_ON_AIR),
                Err(UploadError::Stopping) => refused(&Refusal::Unavailable.text(), None),
                Err(UploadError::TooLarge { limit }) => refused(&wire::too_large(limit), None),
                Err(UploadError::Exceeded(exceeded)) => {
                    let millis = whole_millis(exceeded.retry_after);
                    refused(&wire::rate_limited(millis), Some(millis))
                }
            }
        }
    };
    // Without a callback there is nobody to answer.
    ack.send(&said).ok();
}

fn gone(sockets: &Sockets, socket: &SocketRef, reason: DisconnectReason) {
    let Some(seat) = socket.extensions.remove::<Arc<StreamerSeat>>() else {
        return;
    };
    let livestream = &seat.bearer.livestream;
    tracing::debug!(livestream.id = %livestream, user.id = %seat.bearer.caller.user, %reason, "streamer's socket closed");
    if reason == DisconnectReason::ClientNSDisconnect {
        seat.bearer.left(sockets);
        sockets.conclude_soon(sockets.0.relay.end(livestream, seat.lease));
    } else if socket.extensions.get::<Dismissed>().is_none() {
        seat.bearer.lost(sockets);
    }
    // Dropping the seat says that the transport is gone, where nothing else was said.
}
