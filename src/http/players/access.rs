//! The right to listen with a player: an ID token or a listening pass, and how a playlist carries a pass on.
//!
//! **Invariant**: neither is ever logged, and only a pass that was checked is written into a playlist.

use axum::http::header::AUTHORIZATION;
use bytes::Bytes;

use super::Players;
use super::refusal::Refusal;
use super::routes::Asked;
use crate::broadcast::{Role, UserId};
use crate::config::PlayerAccess;
use crate::identity::{PassError, Passes};

impl Asked<'_> {
    /// The token or pass of `Authorization: Bearer`.
    fn authorization(&self) -> Option<&str> {
        let (scheme, token) = self.header(&AUTHORIZATION)?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
    }

    /// The pass of `?pass=`, if no header takes its place.
    fn pass_in_address(&self) -> Option<&str> {
        let pass = self.pass.as_deref()?;
        self.authorization().is_none().then_some(pass)
    }
}

impl Players {
    pub(super) fn is_public(&self) -> bool {
        self.0.config.access == PlayerAccess::Public
    }

    /// Checks the token or pass, if one is needed, and the bans. What costs a call is asked for what starts to listen, not
    /// for each segment: the account of a token, and what other nodes know of a pass. Returns the user, if there is one.
    pub(super) async fn admit(
        &self,
        asked: &Asked<'_>,
        is_new: bool,
    ) -> Result<Option<UserId>, Refusal> {
        self.check_drain(is_new)?;
        self.check_bans(asked, None)?;
        let takes_pass = match self.0.config.access {
            PlayerAccess::Public => return Ok(None),
            PlayerAccess::Pass => true,
            PlayerAccess::Off | PlayerAccess::Token => false,
        };
        let header = asked.authorization();
        let pass = match header {
            Some(token) => Some(token).filter(|token| Passes::is_pass(token)),
            None => asked.pass_in_address(),
        };
        match (takes_pass, pass, header) {
            (true, Some(pass), _) => {
                self.admit_by_pass(asked, pass, is_new).await?;
                Ok(None)
            }
            (true, None, None) => Err(Refusal::NoPass),
            (false, _, None) => Err(Refusal::NoToken),
            (_, _, Some(token)) => {
                let identity = &self.0.identity;
                let verified = identity.verify(token, Role::Listener, &asked.id).await?;
                let user = verified.user().clone();
                self.check_bans(asked, Some(&user))?;
                if is_new {
                    identity.confirm(verified).await?;
                }
                Ok(Some(user))
            }
        }
    }

    /// While the node drains nobody starts to listen, and after its time nobody listens.
    fn check_drain(&self, is_new: bool) -> Result<(), Refusal> {
        let now = tokio::time::Instant::now().into_std();
        match self.0.relay.drained(now) {
            Some(passed) if is_new || passed >= 1.0 => Err(Refusal::Draining),
            _ => Ok(()),
        }
    }

    fn check_bans(&self, asked: &Asked<'_>, user: Option<&UserId>) -> Result<(), Refusal> {
        if self.0.relay.is_banned(user, &asked.id) {
            return Err(Refusal::Banned);
        }
        Ok(())
    }

    async fn admit_by_pass(
        &self,
        asked: &Asked<'_>,
        pass: &str,
        is_new: bool,
    ) -> Result<(), Refusal> {
        let passes = self.0.passes.as_ref().ok_or(Refusal::NoPass)?;
        let checked = if is_new {
            self.0.relay.check_pass(passes, pass, &asked.id).await
        } else {
            passes.check(pass, &asked.id)
        };
        checked.map_err(|error| match error {
            PassError::Ended => Refusal::PassEnded,
            PassError::Invalid(_) | PassError::OtherLivestream => Refusal::PassInvalid,
        })?;
        if is_new {
            self.0.passes_used.with_label_values(&["admitted"]).inc();
        }
        Ok(())
    }

    /// The playlist for an admitted player: its addresses carry the pass of its own address on, since players send no
    /// header of their own. Behind `Authorization` they stay as they are.
    pub(super) fn carry_pass(&self, playlist: Bytes, asked: &Asked<'_>) -> Bytes {
        match asked.pass_in_address() {
            Some(pass) if self.0.config.access == PlayerAccess::Pass => {
                with_pass(&String::from_utf8_lossy(&playlist), pass).into()
            }
            _ => playlist,
        }
    }
}

/// Adds `?pass=` to each address of a playlist: the lines that are no tags, and the `URI` attributes. A checked pass is
/// of letters that need no encoding.
fn with_pass(playlist: &str, pass: &str) -> String {
    let mut carried = String::with_capacity(playlist.len() * 2);
    for line in playlist.lines() {
        match line.split_once("URI=\"") {
            _ if line.is_empty() => {}
            None if line.starts_with('#') => carried.push_str(line),
            None => carried.extend([line, "?pass=", pass]),
            Some((before, rest)) => {
                let (address, after) = rest.split_once('"').unwrap_or((rest, ""));
                carried.extend([before, "URI=\"", address, "?pass=", pass, "\"", after]);
            }
        }
        carried.push('\n');
    }
    carried
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_of_a_playlist_carries_the_pass() {
        let playlist = "#EXTM3U\n#EXT-X-MAP:URI=\"aac-48000-1.mp4\",BYTERANGE=\"1@0\"\n#EXT-X-GAP\n#EXTINF:4.000,\n7-1.m4s\n";
        let carried = "#EXTM3U\n#EXT-X-MAP:URI=\"aac-48000-1.mp4?pass=a.b\",BYTERANGE=\"1@0\"\n#EXT-X-GAP\n\
                       #EXTINF:4.000,\n7-1.m4s?pass=a.b\n";
        assert_eq!(with_pass(playlist, "a.b"), carried);
    }
}
