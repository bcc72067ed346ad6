//! A listener's socket: its seat, and the way of its clips.

use std::sync::Arc;

use socketioxide::TransportType;
use socketioxide::extract::SocketRef;
use socketioxide::socket::DisconnectReason;

use super::bearer::{self, Bearer};
use super::handshake::Attempt;
use super::parting::Dismissed;
use super::wire::{self, Refusal, StateMessage};
use super::{Sockets, now};
use crate::broadcast::{Place, Refused, Role};
use crate::directory::Freshness;
use crate::relay::{Seat, SocketId};
use crate::transport::{Emission, Emit, Mark, Outbox};

const ROLE: Role = Role::Listener;

/// What a listener's socket holds. Dropping it leaves the livestream.
pub(super) struct ListenerSeat {
    sockets: Sockets,
    place: Place,
    seat: Arc<Seat>,
    bearer: Arc<Bearer>,
}

impl Drop for ListenerSeat {
    fn drop(&mut self) {
        let Bearer {
            livestream, caller, ..
        } = &*self.bearer;
        self.sockets.0.relay.leave(livestream, self.place);
        // Its livestream may be over, and know it no more.
        self.seat.outbox.shut();
        let missed = self.seat.outbox.missed();
        if missed > 0 {
            tracing::info!(livestream.id = %livestream, user.id = %caller.user, missed, "a listener was too slow for some clips");
        }
    }
}

fn seat(socket: &SocketRef) -> Option<Arc<ListenerSeat>> {
    socket.extensions.get::<Arc<ListenerSeat>>()
}

fn bearer(socket: &SocketRef) -> Option<Arc<Bearer>> {
    Some(seat(socket)?.bearer.clone())
}

/// Registers what a listener may send, before anything is known about it.
pub(super) fn register(sockets: &Sockets, socket: &SocketRef) {
    bearer::register(sockets, socket, bearer);
}

/// Checks a listener, and gives it its place.
pub(super) async fn admit(attempt: Attempt<'_>) -> Result<(), Refusal> {
    let Attempt {
        sockets,
        socket,
        claim,
        ..
    } = attempt;
    let relay = &sockets.0.relay;
    let (caller, _) = attempt.identify().await?;
    let livestream = claim.livestream.clone();
    let livestream = livestream.ok_or_else(|| Refusal::DoesNotExist(claim.named.clone()))?;
    // What is on air here or on another node exists: no document is asked for, and no outage there keeps listeners out.
    let mut elsewhere = None;
    if !relay.is_started(&livestream) {
        elsewhere = attempt.step(relay.look_elsewhere(&livestream)).await?;
    }
    if !relay.is_started(&livestream) && elsewhere.is_none() {
        let pending = if sockets.0.directory.is_cached(&livestream) {
            None
        } else {
            let limits = &sockets.0.lookup_limits;
            Some(limits.begin(&caller.user, claim.address)?)
        };
        let entry = attempt
            .look_up(&livestream, Freshness::Cached, pending, |_| true)
            .await?;
        let entry = entry.ok_or_else(|| Refusal::DoesNotExist(livestream.to_string()))?;
        let on_another_node = entry.streamer_connected && !relay.clears_stale_flag(&livestream);
        if !on_another_node && !relay.is_started(&livestream) {
            return Err(Refusal::NotStarted(livestream));
        }
    }
    let counted = sockets
        .0
        .users
        .count(&caller.user, ROLE, &livestream, false);
    let counted = counted.ok_or(Refusal::TooMany)?;
    let emit = emit(sockets, socket.id);
    let (connections, shared) = (sockets.0.connections.clone(), sockets.0.shared_writes);
    let outbox = Outbox::new(connections, attempt.session.clone(), shared, emit);
    let seat = Arc::new(Seat {
        socket: socket.id,
        outbox,
    });
    let place = match relay.join(&livestream, &seat, elsewhere, now()) {
        Ok(place) => place,
        Err(Refused::Full) => return Err(Refusal::Full),
        Err(_) => return Err(Refusal::NotStarted(livestream)),
    };
    let seat = ListenerSeat {
        sockets: sockets.clone(),
        place,
        seat,
        bearer: Arc::new(Bearer::new(attempt, livestream, caller, counted)),
    };
    socket.extensions.insert(Arc::new(seat));
    bearer::watch(sockets, socket, gone);
    Ok(())
}

/// How the socket's outbox speaks through the library. It finds the socket each time: nothing may hold one.
fn emit(sockets: &Sockets, id: SocketId) -> Emit {
    let sockets = sockets.clone();
    Box::new(move |emission| {
        let Some(socket) = sockets.find(ROLE, id) else {
            return false;
        };
        match emission {
            Emission::Clip(clip) => socket.emit(wire::AUDIO, clip).is_ok(),
            Emission::Mark(mark) => {
                socket.transport_type() == TransportType::Websocket
                    && sockets.emit(&socket, Mark::EVENT, mark)
            }
        }
    })
}

/// The socket is connected: says so, and lets its clips out.
pub(super) fn greet(sockets: &Sockets, socket: &SocketRef) {
    let Some(seat) = seat(socket) else { return };
    sockets.log_let_in(socket, &seat.bearer);
    let text = wire::connected(&seat.bearer.caller.user, ROLE, &seat.bearer.livestream);
    sockets.emit(socket, wire::SUCCESS, &text);
    let (state, listeners) = sockets.0.relay.state(&seat.bearer.livestream);
    sockets.emit(socket, wire::STATE, &StateMessage::new(state, listeners));
    seat.seat.outbox.open();
    if !sockets
        .0
        .relay
        .is_seated(&seat.bearer.livestream, seat.place)
    {
        // The livestream ended between the check and now, when this socket could not be told yet.
        sockets.disconnect(ROLE, socket.id);
    }
}

fn gone(_: &Sockets, socket: &SocketRef, reason: DisconnectReason) {
    let Some(seat) = socket.extensions.remove::<Arc<ListenerSeat>>() else {
        return;
    };
    let bearer = &seat.bearer;
    tracing::debug!(livestream.id = %bearer.livestream, user.id = %bearer.caller.user, %reason, "listener's socket closed");
    let dismissed = socket.extensions.get::<Dismissed>().is_some();
    if dismissed || reason == DisconnectReason::ClientNSDisconnect {
        bearer.left();
    }
    // Dropping the seat leaves the livestream; unless something else was said, its client may come back.
}
