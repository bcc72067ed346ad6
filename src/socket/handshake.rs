//! The check of a client, in the contract's order: token there, livestream there, token good, livestream good.

use std::sync::Arc;

use serde::Deserialize;
use socketioxide::SocketIo;
use socketioxide::extract::{SocketRef, TryData};
use socketioxide::handler::ConnectHandler;

use super::{Sockets, Visit, Visitor, listener, streamer, wire};
use crate::broadcast::{LivestreamId, Role};
use crate::directory::{Entry, Freshness};
use crate::identity::{Caller, IdentityError};
use crate::transport::Greeting;

use wire::Refusal;

/// The CONNECT payload, for clients that cannot send headers.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct Auth {
    #[serde(default)]
    id_token: Option<String>,
    #[serde(default)]
    livestream_id: Option<String>,
}

/// Who a socket says it is, and where it wants to go. The token is shown nowhere.
pub(super) struct Claim {
    pub(super) token: Box<str>,
    /// As it was named: it need not be an id.
    pub(super) named: String,
    /// None: what was named cannot be an id, so there is no such livestream, and nobody is asked for it.
    pub(super) livestream: Option<LivestreamId>,
}

/// What became of the check: the seat's own extension holds the rest.
#[derive(Clone)]
pub(super) struct Refused(pub(super) Refusal);

/// Registers both namespaces. Each has its check as a middleware, so that it is done before CONNECT is answered.
pub(super) fn register(sockets: &Sockets, io: &SocketIo, greeting: &Greeting) {
    let connect = |role: Role| {
        let (checker, greeter) = (sockets.clone(), sockets.clone());
        let middleware = move |socket: SocketRef, TryData(auth): TryData<Auth>| {
            let sockets = checker.clone();
            async move {
                socket.extensions.insert(Visit::default());
                match role {
                    Role::Streamer => streamer::register(&sockets, &socket),
                    Role::Listener => listener::register(&sockets, &socket),
                }
                let timer = sockets.0.metrics.check.start_timer();
                let admitted = match role {
                    Role::Streamer => streamer::admit(&sockets, &socket, auth.ok()).await,
                    Role::Listener => listener::admit(&sockets, &socket, auth.ok()).await,
                };
                timer.observe_duration();
                match admitted {
                    // Counted as joined for as long as the socket is there.
                    Ok(()) => {
                        let member = sockets.session(&socket).join();
                        socket.extensions.insert(Arc::new(member));
                    }
                    Err(refusal) => {
                        socket.extensions.insert(Refused(refusal));
                    }
                }
                // Never an error: that would be CONNECT_ERROR, for which the shipped app is not prepared.
                Ok::<(), std::convert::Infallible>(())
            }
        };
        let handler = move |socket: SocketRef| {
            // What runs here runs before the library takes the next packet; the future it wants has nothing to do.
            if let Some(Refused(refusal)) = socket.extensions.get::<Refused>() {
                greeter.refuse(role, &socket, &refusal);
            } else {
                greeter
                    .0
                    .metrics
                    .accepted
                    .with_label_values(&[role.as_str()])
                    .inc();
                match role {
                    Role::Streamer => streamer::greet(&greeter, &socket),
                    Role::Listener => listener::greet(&greeter, &socket),
                }
            }
            std::future::ready(())
        };
        handler.with(middleware)
    };
    let greeted = |socket: SocketRef| {
        // Nothing is lost if the session ends meanwhile, and its queue has room: these are its first packets.
        socket.disconnect().ok();
        std::future::ready(())
    };
    io.ns(greeting.namespace().to_owned(), greeted);
    io.ns(wire::STREAMER, connect(Role::Streamer));
    io.ns(wire::LISTENER, connect(Role::Listener));
}

/// The token and the livestream that a socket names, in headers or, where they are absent, in the CONNECT payload.
pub(super) fn claim(socket: &SocketRef, auth: Option<Auth>) -> Result<Claim, Refusal> {
    let auth = auth.unwrap_or_default();
    let visitor = socket.req_parts().extensions.get::<Visitor>();
    let named = |value: Option<&Box<str>>, given: Option<String>| {
        let given = given.filter(|value| !value.is_empty()).map(String::into);
        value.cloned().or(given)
    };
    let token = visitor.and_then(|visitor| visitor.token.as_ref());
    let token = named(token, auth.id_token).ok_or(Refusal::NoToken)?;
    let livestream = visitor.and_then(|visitor| visitor.livestream.as_ref());
    let livestream = named(livestream, auth.livestream_id).ok_or(Refusal::NoLivestream)?;
    Ok(Claim {
        token,
        livestream: LivestreamId::new(&livestream),
        named: livestream.into(),
    })
}

/// Checks the token.
pub(super) async fn identify(
    sockets: &Sockets,
    claim: &Claim,
    role: Role,
) -> Result<Caller, Refusal> {
    // The livestream matters only to who comes back on a token that has just expired; nobody was ever nowhere.
    let nowhere = || LivestreamId::new("nowhere");
    let Some(livestream) = claim.livestream.clone().or_else(nowhere) else {
        return Err(Refusal::TokenInvalid);
    };
    let checked = sockets
        .0
        .identity
        .check(&claim.token, role, &livestream)
        .await;
    checked.map_err(|error| match error {
        IdentityError::Invalid(reason) => {
            tracing::debug!(role = role.as_str(), livestream.id = claim.named, %reason, "token refused");
            Refusal::TokenInvalid
        }
        IdentityError::Expired => Refusal::TokenExpired,
        IdentityError::Unavailable => Refusal::Unavailable,
    })
}

/// Looks the livestream up.
pub(super) async fn look_up(
    sockets: &Sockets,
    id: &LivestreamId,
    freshness: Freshness,
) -> Result<Option<Entry>, Refusal> {
    sockets
        .0
        .directory
        .find(id, freshness)
        .await
        .map_err(|_| Refusal::Unavailable)
}
