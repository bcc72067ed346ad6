//! A streamer's socket: its admission, its uploads, its end.

use std::sync::Arc;

use socketioxide::extract::{SocketRef, TryData};
use socketioxide::socket::DisconnectReason;

use super::admission::{self, Admission};
use super::attempt::Attempt;
use super::instance::SocketInstance;
use super::outgoing::Callback;
use super::passes::Invite;
use super::pending_acks::{PendingAck, PendingAcks};
use super::recording::{Wish, Wishing};
use super::uploads::{RawOptions, UploadArguments, UploadOptions};
use super::wire::{self, Ack, Refusal, StateMessage};
use super::{Sockets, now};
use crate::broadcast::{Epoch, Role};
use crate::directory::{Entry, Freshness};
use crate::limits::whole_millis;
use crate::relay::{NotStarted, Upload, UploadError, Uploaded};
use crate::transport::Occupancy;

const ROLE: Role = Role::Streamer;

/// The state of a streamer's socket. A drop without an end of the livestream counts as the loss of its transport.
pub(super) struct StreamerSocket {
    sockets: Sockets,
    epoch: Epoch,
    admission: Arc<Admission>,
    pending_acks: PendingAcks,
    wants_warnings: bool,
    wishing: Wishing,
}

impl Drop for StreamerSocket {
    fn drop(&mut self) {
        // Nothing happens if the livestream ended, or another socket took it over.
        let relay = &self.sockets.0.relay;
        relay.lost(&self.admission.livestream, self.epoch, now());
    }
}

fn streamer(socket: &SocketRef) -> Option<Arc<StreamerSocket>> {
    socket.extensions.get::<Arc<StreamerSocket>>()
}

/// Whether the socket is its livestream's streamer, or was, under this epoch.
pub(super) fn is_under(socket: &SocketRef, epoch: Epoch) -> bool {
    streamer(socket).is_some_and(|streamer| streamer.epoch == epoch)
}

/// Whether the socket is a streamer's whose client knows the event `warning`.
pub(super) fn wants_warnings(socket: &SocketRef) -> bool {
    streamer(socket).is_some_and(|streamer| streamer.wants_warnings)
}

pub(super) fn admission(socket: &SocketRef) -> Option<Arc<Admission>> {
    Some(streamer(socket)?.admission.clone())
}

/// Registers a streamer's events, before its check.
pub(super) fn register(sockets: &Sockets, socket: &SocketRef) {
    let room = sockets.clone();
    // Uploads are handled one after the other, in this closure: the library runs it before it reads on, and spawns only
    // the returned future, which is ready.
    let upload = move |socket: SocketRef,
                       TryData(arguments): TryData<UploadArguments>,
                       callback: Callback| {
        handle_upload(&room, &socket, arguments.ok(), callback);
        std::future::ready(())
    };
    socket.on(wire::UPLOAD, upload);
    let room = sockets.clone();
    let invite = move |socket: SocketRef, TryData(wish): TryData<(Invite,)>, callback: Callback| {
        let ack = match streamer(&socket) {
            Some(streamer) => {
                let Admission {
                    livestream, caller, ..
                } = &*streamer.admission;
                let wish = wish.ok().map(|(wish,)| wish);
                room.invite(livestream, streamer.epoch, &caller.user, wish)
            }
            None => Ack::error(wire::NOT_ON_AIR),
        };
        room.answer(callback, &ack);
        std::future::ready(())
    };
    socket.on(wire::INVITE, invite);
    let room = sockets.clone();
    let record = move |socket: SocketRef, TryData(wish): TryData<Wish>, callback: Callback| {
        let wishing = streamer(&socket).map(|it| it.wishing.clone());
        room.clone().record(wishing, wish.ok(), callback)
    };
    socket.on(wire::RECORDING, record);
    admission::register(sockets, socket, admission);
}

/// Checks a streamer, and makes it the livestream's streamer.
pub(super) async fn admit(
    attempt: &Attempt,
    socket: &SocketRef,
    occupancy: Occupancy,
) -> Result<(), Refusal> {
    let Attempt { sockets, epoch, .. } = attempt;
    let relay = &sockets.0.relay;
    let (caller, pending) = attempt.identify().await?;
    let livestream = attempt.livestream.clone().ok_or(Refusal::NotTheArtist)?;
    let theirs = |entry: &Entry| entry.artist == caller.user;
    let entry = attempt
        .look_up(&livestream, Freshness::Fresh, pending, theirs)
        .await?;
    let Some(Entry { record, .. }) = entry.filter(theirs) else {
        return Err(Refusal::NotTheArtist);
    };
    let replaces = relay.is_streamed_by(&livestream, &caller.user);
    let admission = Admission::new(attempt, occupancy, livestream, caller, replaces)?;
    let Admission {
        livestream, caller, ..
    } = &admission;
    // Before `acquire`, which would be in vain.
    if relay.is_superseded(livestream, *epoch) {
        return Err(Refusal::TakenOver(livestream.clone()));
    }
    if !attempt.step(relay.acquire(livestream, now())).await? {
        return Err(Refusal::Full);
    }
    let start = relay.start(livestream, &caller.user, socket.id.into(), *epoch, now());
    start.map_err(|error| match error {
        NotStarted::Full => Refusal::Full,
        NotStarted::Superseded => Refusal::TakenOver(livestream.clone()),
    })?;
    admission.enter(&attempt.token);
    let session = attempt.session.clone();
    session.activity.pressure.set_limit(sockets.0.answers);
    relay.allow_recording(livestream, *epoch, record);
    let pending_acks = PendingAcks::new(sockets, socket.id.into(), session.clone(), &caller.user);
    let wishing = Wishing {
        livestream: livestream.clone(),
        user: caller.user.clone(),
        epoch: *epoch,
        address: attempt.address,
        session,
        reading: Arc::default(),
    };
    let streamer = StreamerSocket {
        sockets: sockets.clone(),
        epoch: *epoch,
        admission: Arc::new(admission),
        pending_acks,
        wants_warnings: attempt.wishes.warnings,
        wishing,
    };
    socket.extensions.insert(Arc::new(streamer));
    admission::watch(sockets, socket, gone);
    Ok(())
}

/// Puts the livestream of a connected streamer on air, and notifies the streamer.
pub(super) fn greet(sockets: &Sockets, socket: &SocketRef) {
    let Some(streamer) = streamer(socket) else {
        return;
    };
    sockets.log_admission(socket, &streamer.admission);
    let (relay, livestream) = (&sockets.0.relay, &streamer.admission.livestream);
    // Dismissed between its check and now, when it could not be notified.
    if let Some(text) = relay.dismissal(livestream, streamer.epoch) {
        return sockets.dismiss(ROLE, socket.id.into(), &text);
    }
    if relay.air(livestream, streamer.epoch) {
        let text = wire::connected(&streamer.admission.caller.user, ROLE, livestream);
        sockets.emit(socket, wire::SUCCESS, &text);
        let standing = relay.standing(livestream);
        sockets.emit(socket, wire::STATE, &StateMessage::from(standing));
    } else {
        // Taken over between its check and now, when it could not be notified.
        sockets.dismiss(ROLE, socket.id.into(), &wire::taken_over(livestream));
    }
}

/// The clip, or what its streamer is told, and the metric's label.
fn checked(arguments: Option<UploadArguments>) -> Result<Upload, (&'static str, &'static str)> {
    let UploadArguments { clip, options } = arguments.ok_or((wire::NOT_A_CLIP, "not_a_clip"))?;
    let options = options
        .map(RawOptions::check)
        .transpose()
        .map_err(|text| (text, "bad_options"))?;
    if let Some(UploadOptions { id, captured_at }) = &options {
        tracing::trace!(clip.id = %id, ?captured_at, "upload with an id");
    }
    Ok(Upload {
        bytes: clip,
        id: options.map(|options| options.id),
    })
}

fn handle_upload(
    sockets: &Sockets,
    socket: &SocketRef,
    arguments: Option<UploadArguments>,
    callback: Callback,
) {
    let refused = |text: &str, retry_after_ms: Option<u64>| {
        sockets.emit(socket, wire::ERROR, text);
        Ack {
            retry_after_ms,
            ..Ack::error(text)
        }
    };
    let ack = match (streamer(socket), checked(arguments)) {
        // A refused socket has its reason already.
        (None, _) => Ack::error(wire::NOT_ON_AIR),
        (Some(_), Err((text, reason))) => {
            sockets
                .0
                .metrics
                .uploads_refused
                .with_label_values(&[reason])
                .inc();
            refused(text, None)
        }
        (Some(streamer), Ok(upload)) => {
            let Admission {
                livestream, caller, ..
            } = &*streamer.admission;
            match sockets
                .0
                .relay
                .upload(livestream, streamer.epoch, &caller.user, upload, now())
            {
                Ok(Uploaded {
                    sequence,
                    listeners,
                    ticket,
                    is_duplicate,
                    recorded,
                }) if ticket.is_some() || recorded.is_some() => {
                    // Answered once the clip is published, and on the disk.
                    return streamer.pending_acks.push(PendingAck {
                        sequence,
                        ticket,
                        recorded,
                        listeners,
                        is_duplicate,
                        callback,
                    });
                }
                Ok(uploaded) => {
                    sockets.emit(socket, wire::SUCCESS, &wire::received(&caller.user));
                    Ack::uploaded(uploaded.sequence, uploaded.listeners, uploaded.is_duplicate)
                }
                Err(UploadError::StaleEpoch) => {
                    // It hears of a takeover before its uploads are refused.
                    if sockets.0.relay.is_superseded(livestream, streamer.epoch) {
                        sockets.dismiss(ROLE, socket.id.into(), &wire::taken_over(livestream));
                    }
                    Ack::error(wire::NOT_ON_AIR)
                }
                Err(UploadError::Banned) => {
                    sockets.dismiss(ROLE, socket.id.into(), wire::BANNED);
                    Ack::error(wire::BANNED)
                }
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
    sockets.answer(callback, &ack);
}

fn gone(sockets: &Sockets, socket: &SocketRef, reason: DisconnectReason) {
    let Some(streamer) = socket.extensions.remove::<Arc<StreamerSocket>>() else {
        return;
    };
    let livestream = &streamer.admission.livestream;
    tracing::debug!(livestream.id = %livestream, user.id = %streamer.admission.caller.user, %reason, "streamer's socket closed");
    if reason == DisconnectReason::ClientNSDisconnect {
        streamer.admission.left();
        sockets.0.relay.end(livestream, streamer.epoch, now());
    } else if SocketInstance::of(socket).is_closed_by_server() {
        streamer.admission.left();
    }
    // Otherwise the drop of the streamer counts as the loss of its transport.
}
