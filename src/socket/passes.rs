//! Listening passes on the wire: a streamer asks for one with `invite`, and a listener brings one as its token.
//!
//! **Invariant**: only the streamer of a livestream gets passes to it, as many in a minute as configured.

use std::time::Duration;

use serde::Deserialize;
use socketioxide::socket::Sid;

use super::Sockets;
use super::wire::{self, Ack, PassRefusal, Refusal};
use crate::broadcast::{Epoch, LivestreamId, Role, UserId};
use crate::identity::{Caller, CheckedPass, PassError, Passes};
use crate::limits::{StreamerQuota, whole_millis};
use crate::relay::Ending;

/// Passes, where they are on, and their quota.
pub(super) struct Invitations {
    pub(super) passes: Passes,
    pub(super) quota: StreamerQuota,
}

/// The argument of `invite`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Invite {
    /// Seconds; the most that is configured if it is absent.
    #[serde(default)]
    expires_in: Option<f64>,
}

impl Sockets {
    /// Answers the `invite` of the streamer of `livestream` under `epoch`.
    pub(super) fn invite(
        &self,
        livestream: &LivestreamId,
        epoch: Epoch,
        user: &UserId,
        wish: Option<Invite>,
    ) -> Ack {
        let is_on_air =
            !self.0.relay.is_superseded(livestream, epoch) && self.0.relay.is_started(livestream);
        let (answer, event) = match &self.0.invitations {
            None => (Ack::error(wire::PASSES_OFF), "refused"),
            Some(_) if !is_on_air => (Ack::error(wire::NOT_ON_AIR), "refused"),
            Some(invitations) => invitations.issue(livestream, user, wish),
        };
        self.0.metrics.passes.with_label_values(&[event]).inc();
        answer
    }
}

impl Invitations {
    /// The answer, and its event for the metric.
    fn issue(
        &self,
        livestream: &LivestreamId,
        user: &UserId,
        wish: Option<Invite>,
    ) -> (Ack, &'static str) {
        let most = self.passes.max_lifetime().as_secs();
        let Some(lifetime) = wish.and_then(|wish| lifetime(&wish, most)) else {
            return (Ack::error(&wire::expires_in(most)), "refused");
        };
        if let Err(exceeded) = self.quota.take(user) {
            let millis = whole_millis(exceeded.retry_after);
            let ack = Ack {
                retry_after_ms: Some(millis),
                ..Ack::error(&wire::invites_limited(millis))
            };
            return (ack, "rate_limit");
        }
        match self.passes.issue(livestream, lifetime) {
            Some(pass) => (Ack::invited(pass), "issued"),
            None => (Ack::error(&Refusal::Unavailable.text()), "refused"),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a whole number in this range is exact"
)]
fn lifetime(wish: &Invite, most: u64) -> Option<Duration> {
    let seconds = wish.expires_in.unwrap_or(most as f64);
    let fits = seconds.fract() == 0.0 && seconds >= 1.0 && seconds <= most as f64;
    fits.then(|| Duration::from_secs(seconds as u64))
}

/// A user of its own for each socket: a pass is given to many.
fn guest(socket: Sid) -> UserId {
    UserId::new(&format!("guest-{socket}"))
}

impl Sockets {
    /// The identity that a pass proves to a socket that is to be a `role` of `livestream`; none if the token is no pass.
    pub(super) async fn identify_by_pass(
        &self,
        socket: Sid,
        role: Role,
        token: &str,
        livestream: Option<&LivestreamId>,
    ) -> Result<Option<Caller>, PassRefusal> {
        if !Passes::is_pass(token) {
            return Ok(None);
        }
        if role == Role::Streamer {
            return Err(PassRefusal::CannotStream);
        }
        let livestream = livestream.ok_or(PassRefusal::OtherLivestream)?;
        let checked = self.check_pass(token, livestream).await?;
        self.0.metrics.passes.with_label_values(&["admitted"]).inc();
        Ok(Some(Caller {
            user: guest(socket),
            expires_at: checked.expires_at,
        }))
    }

    /// Checks a pass, where passes are on.
    pub(super) async fn check_pass(
        &self,
        pass: &str,
        livestream: &LivestreamId,
    ) -> Result<CheckedPass, PassRefusal> {
        let Some(Invitations { passes, .. }) = &self.0.invitations else {
            return Err(PassRefusal::Off);
        };
        let checked = self.0.relay.check_pass(passes, pass, livestream).await;
        checked.map_err(|error| {
            tracing::debug!(livestream.id = %livestream, %error, "pass refused");
            match error {
                PassError::Invalid(_) => PassRefusal::Invalid,
                PassError::OtherLivestream => PassRefusal::OtherLivestream,
                PassError::Ended => PassRefusal::Ended,
            }
        })
    }

    /// Revokes the passes to a livestream that has ended.
    pub(super) fn revoke_passes(&self, livestream: &LivestreamId, ending: Ending) {
        let Some(Invitations { passes, .. }) = &self.0.invitations else {
            return;
        };
        // The node on which it ended revokes them, for all.
        if ending == Ending::Elsewhere {
            return;
        }
        let revocation = passes.revoke(livestream);
        let (ended, lifetime) = (revocation.ended_ms, passes.max_lifetime());
        self.0
            .relay
            .publish_end_of_passes(livestream, ended, lifetime);
        tokio::task::spawn_blocking(|| revocation.write());
    }
}
