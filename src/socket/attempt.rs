//! The steps of a check, in the contract's order: token present, livestream present, token valid, livestream valid.
//!
//! **Invariant**: a socket whose client is gone is not admitted: this is checked after each asynchronous step.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;
use socketioxide::extract::SocketRef;
use socketioxide::socket::Sid;

use super::Sockets;
use super::features::Features;
use super::instance::SocketInstance;
use super::lookup_limits::PendingLookup;
use super::resumption::Wishes;
use super::wire::{self, Refusal};
use crate::broadcast::{Epoch, LivestreamId, Role, UserId};
use crate::directory::{Entry, Freshness};
use crate::identity::{Caller, IdentityError};
use crate::transport::Session;

/// What a client names, in the headers of its first request or in the CONNECT payload. The token is never logged.
#[derive(Deserialize, Default, Clone)]
pub(super) struct Credentials {
    #[serde(default, rename = "idToken")]
    token: Option<Box<str>>,
    #[serde(default, rename = "livestreamId")]
    livestream: Option<Box<str>>,
    /// Of any shape: see [`Wishes`].
    #[serde(default)]
    features: Option<Value>,
    #[serde(default)]
    resume: Option<Value>,
    /// Those of a header.
    #[serde(skip)]
    in_header: Features,
    /// The client's address; none in a payload.
    #[serde(skip)]
    pub(super) address: Option<IpAddr>,
}

impl Credentials {
    /// The part of a client's first request that is stored.
    pub(super) fn of_request(address: IpAddr, headers: &HeaderMap) -> Self {
        let header = |name: &str| {
            let value = headers.get(name)?.as_bytes();
            Some(String::from_utf8_lossy(value).into())
        };
        Self {
            token: header(wire::TOKEN_HEADER),
            livestream: header(wire::LIVESTREAM_HEADER),
            in_header: Features::in_headers(headers),
            features: None,
            resume: None,
            address: Some(address),
        }
    }

    /// These, and where they are absent or empty those of the payload, for clients that cannot send headers.
    fn or(self, payload: Self) -> Self {
        let named = |value: Option<Box<str>>| value.filter(|value| !value.is_empty());
        Self {
            token: named(self.token).or(named(payload.token)),
            livestream: named(self.livestream).or(named(payload.livestream)),
            in_header: self.in_header,
            features: payload.features,
            resume: payload.resume,
            address: self.address,
        }
    }
}

/// A socket that is checked, once or, while it is refused for now, several times.
pub(super) struct Attempt {
    pub(super) sockets: Sockets,
    pub(super) role: Role,
    pub(super) socket: Sid,
    pub(super) instance: SocketInstance,
    pub(super) session: Arc<Session>,
    /// Its order among all sockets: of two streamers the later one stays.
    pub(super) epoch: Epoch,
    pub(super) token: Box<str>,
    pub(super) address: IpAddr,
    /// The livestream as it was named: possibly no valid id.
    pub(super) named: Box<str>,
    /// None if the name is no valid id: there is no such livestream, and no call is made for it.
    pub(super) livestream: Option<LivestreamId>,
    pub(super) wishes: Wishes,
}

impl Attempt {
    /// The attempt of a socket that names a token and a livestream.
    pub(super) fn new(
        sockets: &Sockets,
        role: Role,
        socket: &SocketRef,
        payload: Option<Credentials>,
    ) -> Result<Self, Refusal> {
        let epoch = sockets.0.relay.next_epoch();
        let headers = socket.req_parts().extensions.get::<Credentials>();
        let Credentials {
            token,
            livestream,
            features,
            resume,
            in_header,
            address,
        } = headers
            .cloned()
            .unwrap_or_default()
            .or(payload.unwrap_or_default());
        let token = token.ok_or(Refusal::NoToken)?;
        let named = livestream.ok_or(Refusal::NoLivestream)?;
        Ok(Self {
            sockets: sockets.clone(),
            role,
            socket: socket.id,
            instance: SocketInstance::of(socket),
            session: sockets.session(socket),
            epoch,
            token,
            address: address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            livestream: LivestreamId::new(&named),
            named,
            wishes: Wishes::new(in_header.and_listed(features.as_ref()), resume.as_ref()),
        })
    }

    /// Awaits a step of the check; an error if the client is gone after it.
    pub(super) async fn step<T>(&self, step: impl Future<Output = T>) -> Result<T, Refusal> {
        let done = step.await;
        if self.is_gone() {
            Err(Refusal::Gone)
        } else {
            Ok(done)
        }
    }

    fn is_gone(&self) -> bool {
        // A polling session outlives its connections.
        let on_web_socket = self.session.is_on_web_socket();
        let connection = self.session.connection().filter(|it| !it.is_over());
        self.session.is_closed() || on_web_socket && connection.is_none()
    }

    /// Checks the token.
    pub(super) async fn identify(&self) -> Result<(Caller, Option<PendingLookup>), Refusal> {
        let Self {
            token, livestream, ..
        } = self;
        let by_pass =
            self.sockets
                .identify_by_pass(self.socket, self.role, token, livestream.as_ref());
        if let Some(caller) = self.step(by_pass).await?.map_err(Refusal::Pass)? {
            if let Some(livestream) = livestream {
                self.check_bans(&caller.user, livestream)?;
            }
            return Ok((self.verified(caller), None));
        }
        // Only a return on an expired token needs the livestream, and nobody has a right to return to this one.
        let nowhere = || LivestreamId::new("nowhere");
        let Some(livestream) = livestream.clone().or_else(nowhere) else {
            return Err(Refusal::TokenInvalid);
        };
        let identity = &self.sockets.0.identity;
        let verified = match self
            .step(identity.verify(token, self.role, &livestream))
            .await?
        {
            Ok(verified) => verified,
            Err(IdentityError::Expired) => {
                let caller = self.returning(&livestream).await?;
                self.check_bans(&caller.user, &livestream)?;
                let pending = self.begin_lookup(&caller.user)?;
                return Ok((self.verified(caller), pending));
            }
            Err(error) => return Err(self.token_refused(error)),
        };
        self.check_bans(verified.user(), &livestream)?;
        // Before the look-up of the account, which costs a call, too.
        let pending = self.begin_lookup(verified.user())?;
        let confirmed = self.step(identity.confirm(verified)).await?;
        let caller = confirmed.map_err(|error| self.token_refused(error))?;
        Ok((self.verified(caller), pending))
    }

    fn check_bans(&self, user: &UserId, livestream: &LivestreamId) -> Result<(), Refusal> {
        if !self.sockets.0.relay.is_banned(Some(user), livestream) {
            return Ok(());
        }
        self.instance.belongs_to(user);
        Err(Refusal::Banned)
    }

    fn verified(&self, caller: Caller) -> Caller {
        self.instance.belongs_to(&caller.user);
        caller
    }

    fn token_refused(&self, error: IdentityError) -> Refusal {
        match error {
            IdentityError::Invalid(reason) => {
                tracing::debug!(role = self.role.as_str(), livestream.id = self.named, %reason, "token refused");
                Refusal::TokenInvalid
            }
            IdentityError::Expired => Refusal::TokenExpired,
            IdentityError::Unavailable => Refusal::Unavailable,
            IdentityError::KeyUnknown => self.sockets.0.lookup_limits.unknown_key(self.address),
        }
    }

    /// A streamer's livestream is always looked up; a listener's only if it is unknown, in its own check.
    fn begin_lookup(&self, user: &UserId) -> Result<Option<PendingLookup>, Refusal> {
        match self.role {
            Role::Streamer => {
                let limits = &self.sockets.0.lookup_limits;
                limits.begin(user, self.address).map(Some)
            }
            Role::Listener => Ok(None),
        }
    }

    /// Checks with the other nodes whether the client may return on its expired token.
    async fn returning(&self, livestream: &LivestreamId) -> Result<Caller, Refusal> {
        let (identity, relay) = (&self.sockets.0.identity, &self.sockets.0.relay);
        if !relay.is_clustered() {
            return Err(Refusal::TokenExpired);
        }
        let returning = identity.returning(&self.token, self.role, livestream);
        let (to, caller) = self.step(returning).await?.ok_or(Refusal::TokenExpired)?;
        match self.step(relay.may_return(&to)).await? {
            Ok(true) => Ok(caller),
            Ok(false) => Err(Refusal::TokenExpired),
            // Redis does not answer: the refusal must not be final.
            Err(_) => Err(Refusal::Unavailable),
        }
    }

    /// Looks the livestream up. A pending look-up counts as failed if the answer has no livestream that `fits`; an
    /// outage does not count.
    pub(super) async fn look_up(
        &self,
        id: &LivestreamId,
        freshness: Freshness,
        pending: Option<PendingLookup>,
        fits: impl FnOnce(&Entry) -> bool,
    ) -> Result<Option<Entry>, Refusal> {
        let found = self.sockets.0.directory.find(id, freshness).await;
        let failed = matches!(&found, Ok(entry) if !entry.as_ref().is_some_and(fits));
        if let Some(pending) = pending.filter(|_| !failed) {
            pending.excuse();
        }
        // Counted first, also for a client that is gone.
        let found = self.step(std::future::ready(found)).await?;
        found.map_err(|_| Refusal::Unavailable)
    }
}
