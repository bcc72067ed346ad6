//! A listener's socket: its admission, and the way of its clips.

use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use socketioxide::TransportType;
use socketioxide::extract::SocketRef;
use socketioxide::socket::DisconnectReason;

use super::admission::{self, Admission};
use super::attempt::Attempt;
use super::instance::SocketInstance;
use super::resumption::{ResumedMessage, outcome};
use super::wire::{self, Refusal, StateMessage};
use super::{Sockets, now};
use crate::broadcast::{ListenerId, LivestreamError, LivestreamId, Record, Role, UserId};
use crate::directory::Freshness;
use crate::relay::{FindError, Listener, SocketId};
use crate::transport::{ClipEvent, Emission, Emit, Gap, Mark, Occupancy, Outbox, event_frame};

const ROLE: Role = Role::Listener;

/// The state of a listener's socket. Its drop leaves the livestream.
pub(super) struct ListenerSocket {
    sockets: Sockets,
    listener_id: ListenerId,
    listener: Arc<Listener>,
    admission: Arc<Admission>,
}

impl Drop for ListenerSocket {
    fn drop(&mut self) {
        let Admission {
            livestream, caller, ..
        } = &*self.admission;
        self.sockets.0.relay.leave(livestream, self.listener_id);
        // An ended livestream no longer has the listener, and did not shut its outbox.
        self.listener.outbox.shut();
        let missed = self.listener.outbox.missed();
        if missed > 0 {
            tracing::info!(livestream.id = %livestream, user.id = %caller.user, missed, "listener was too slow for some clips");
        }
    }
}

fn listener(socket: &SocketRef) -> Option<Arc<ListenerSocket>> {
    socket.extensions.get::<Arc<ListenerSocket>>()
}

pub(super) fn admission(socket: &SocketRef) -> Option<Arc<Admission>> {
    Some(listener(socket)?.admission.clone())
}

/// Registers a listener's events, before its check.
pub(super) fn register(sockets: &Sockets, socket: &SocketRef) {
    admission::register(sockets, socket, admission);
}

/// Checks a listener, and adds it to the livestream.
pub(super) async fn admit(
    attempt: &Attempt,
    socket: &SocketRef,
    occupancy: Occupancy,
) -> Result<(), Refusal> {
    let sockets = &attempt.sockets;
    let relay = &sockets.0.relay;
    let (caller, _) = attempt.identify().await?;
    let livestream = attempt.livestream.clone();
    let livestream = livestream.ok_or_else(|| Refusal::DoesNotExist(attempt.named.to_string()))?;
    // A started livestream exists: its document is not read, and an outage of Firestore keeps no listener out.
    let elsewhere = match attempt.step(relay.find_started(&livestream)).await? {
        Ok(elsewhere) => elsewhere,
        Err(error) => check_document(attempt, &caller.user, &livestream, error).await?,
    };
    let admission = Admission::new(attempt, occupancy, livestream, caller, false)?;
    // Followed until it has joined.
    let mut following = None;
    if let Some(position) = attempt.wishes.resume {
        let reaching = relay.reach_back(&admission.livestream, position, elsewhere.as_ref());
        following = attempt.step(reaching).await?;
    }
    let listener = listening(attempt, socket.id.into(), &admission.caller.user);
    let livestream = &admission.livestream;
    let listener_id = match relay.join(livestream, &listener, elsewhere.as_ref(), now()) {
        Ok(listener_id) => listener_id,
        Err(LivestreamError::Full) => return Err(Refusal::Full),
        Err(_) => return Err(Refusal::NotStarted(livestream.clone())),
    };
    drop(following);
    admission.enter(&attempt.token);
    let listener = ListenerSocket {
        sockets: sockets.clone(),
        listener_id,
        listener,
        admission: Arc::new(admission),
    };
    socket.extensions.insert(Arc::new(listener));
    admission::watch(sockets, socket, gone);
    Ok(())
}

fn listening(attempt: &Attempt, socket: SocketId, user: &UserId) -> Arc<Listener> {
    let sockets = &attempt.sockets;
    Arc::new_cyclic(|listener: &Weak<Listener>| {
        let outbox = Outbox::new(
            sockets.0.connections.shared.clone(),
            attempt.session.clone(),
            sockets.0.shared_writes,
            emit(sockets, socket, listener.clone()),
        );
        Listener {
            socket,
            user: user.clone(),
            since: now(),
            outbox: outbox.with_event(attempt.wishes.event),
            dismissal: OnceLock::new(),
            wants_warnings: attempt.wishes.warnings,
            resume: attempt.wishes.resume,
            resumed: OnceLock::new(),
        }
    })
}

/// The record to expect of a livestream that is not known to have started: if its document says so, another node has it.
/// While Redis is away the document alone knows, so no listener is refused for a cached one.
async fn check_document(
    attempt: &Attempt,
    user: &UserId,
    livestream: &LivestreamId,
    error: FindError,
) -> Result<Option<Record>, Refusal> {
    let sockets = &attempt.sockets;
    let limits = &sockets.0.lookup_limits;
    let is_cached = sockets.0.directory.is_cached(livestream);
    let pending = (!is_cached).then(|| limits.begin(user, attempt.address));
    let mut entry = attempt
        .look_up(livestream, Freshness::Cached, pending.transpose()?, |_| {
            true
        })
        .await?;
    let is_off_air = entry.as_ref().is_some_and(|it| !it.streamer_connected);
    if is_cached && is_off_air && matches!(error, FindError::Away(_)) {
        let pending = limits.begin(user, attempt.address)?;
        entry = attempt
            .look_up(livestream, Freshness::Fresh, Some(pending), |_| true)
            .await?;
    }
    let entry = entry.ok_or_else(|| Refusal::DoesNotExist(livestream.to_string()))?;
    let is_elsewhere = entry.streamer_connected && !sockets.0.relay.clears_stale_flag(livestream);
    Ok(is_elsewhere.then(Record::expected))
}

/// Sends an outbox's messages through the library. It finds the socket each time: an outbox must not keep one.
fn emit(sockets: &Sockets, id: SocketId, listener: Weak<Listener>) -> Emit {
    let sockets = sockets.clone();
    Box::new(move |emission| {
        let socket = sockets.find(ROLE, id);
        match (emission, socket) {
            (Emission::Waits, _) => {
                sockets.0.relay.waits_for_room(listener.clone());
                true
            }
            (_, None) => false,
            (Emission::Clip(clip), Some(socket)) => match &clip.about {
                None => socket.emit(ClipEvent::Audio.name(), &clip.payload).is_ok(),
                Some(about) => {
                    let message = about.message(&clip.payload);
                    socket.emit(ClipEvent::Clip.name(), &message).is_ok()
                }
            },
            (Emission::Gap(gap), Some(socket)) => socket.emit(Gap::EVENT, &gap).is_ok(),
            (Emission::Mark(mark), Some(socket)) => {
                socket.transport_type() == TransportType::Websocket
                    && sockets.emit(&socket, Mark::EVENT, mark)
            }
        }
    })
}

/// The first events to a listener as frames of our own: fewer writes and less memory than as packets of the library.
fn welcome(
    success: &str,
    state: &StateMessage,
    resumed: Option<&ResumedMessage>,
) -> serde_json::Result<Bytes> {
    let mut frames = vec![
        event_frame(wire::SUCCESS, &success)?,
        event_frame(wire::STATE, state)?,
    ];
    if let Some(resumed) = resumed {
        frames.push(event_frame(wire::RESUMED, resumed)?);
    }
    Ok(frames.concat().into())
}

/// Notifies a connected listener, and opens its outbox.
pub(super) fn greet(sockets: &Sockets, socket: &SocketRef) {
    let Some(listener) = listener(socket) else {
        return;
    };
    sockets.log_admission(socket, &listener.admission);
    // Dismissed between the check and now, when it could not be notified.
    if let Some(text) = listener.listener.dismissal.get() {
        return sockets.dismiss(ROLE, socket.id.into(), text);
    }
    let text = wire::connected(
        &listener.admission.caller.user,
        ROLE,
        &listener.admission.livestream,
    );
    let standing = sockets.0.relay.standing(&listener.admission.livestream);
    let state = StateMessage::from(standing);
    let resumed = listener.listener.resumed.get().map(|resumed| {
        let resumes = &sockets.0.metrics.resumes;
        resumes.with_label_values(&[outcome(*resumed)]).inc();
        ResumedMessage::from(*resumed)
    });
    let outbox = &listener.listener.outbox;
    let welcome = welcome(&text, &state, resumed.as_ref());
    if !welcome.is_ok_and(|frames| outbox.welcome(&frames)) {
        sockets.emit(socket, wire::SUCCESS, &text);
        sockets.emit(socket, wire::STATE, &state);
        if let Some(resumed) = &resumed {
            sockets.emit(socket, wire::RESUMED, resumed);
        }
        outbox.open();
    }
    // A change between the look and the welcome was told before it.
    let standing = StateMessage::from(sockets.0.relay.standing(&listener.admission.livestream));
    if standing != state {
        sockets.emit(socket, wire::STATE, &standing);
    }
    if !sockets
        .0
        .relay
        .has_listener(&listener.admission.livestream, listener.listener_id)
    {
        // The livestream ended between the check and now, when this socket could not be notified.
        sockets.disconnect(ROLE, socket.id.into());
    }
}

fn gone(_: &Sockets, socket: &SocketRef, reason: DisconnectReason) {
    let Some(listener) = socket.extensions.remove::<Arc<ListenerSocket>>() else {
        return;
    };
    let admission = &listener.admission;
    tracing::debug!(livestream.id = %admission.livestream, user.id = %admission.caller.user, %reason, "listener's socket closed");
    let dismissed = SocketInstance::of(socket).is_closed_by_server();
    if dismissed || reason == DisconnectReason::ClientNSDisconnect {
        admission.left();
    }
    // The drop of the listener leaves the livestream; without `left` its client may return.
}
