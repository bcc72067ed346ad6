//! Listening passes: a streamer invites listeners who have no account.
//!
//! A pass is a JWT that this deployment signs with Ed25519. It names one livestream and the role of a listener, and has an end.
//! It is brought where an ID token is brought. Its type tells it from one.
//!
//! The end of a livestream revokes its passes: a pass that was issued before that end is refused, also if the document is
//! streamed again. Ends are remembered for as long as a pass can last, across a restart in the state directory, and in a
//! cluster by Redis (`relay`).
//!
//! **Invariant**: a pass never makes a streamer, and admits to its own livestream alone. Neither the key nor a pass is
//! ever logged.

mod ended;
mod key;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, Header};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::broadcast::LivestreamId;
use crate::config::{self, PassPolicy};
use crate::unix_time;

use ended::{Ended, UnwrittenEnd};
pub use key::{KeyError, PassKey};

/// The type in a pass's header.
const TYPE: &str = "castaway-pass+jwt";
/// The only role of a pass.
const ROLE: &str = "listener";
/// The longest pass, in bytes: an id has at most 1500.
const MAX_PASS: usize = 4 << 10;

/// The issue and the check of passes; cheap to clone.
#[derive(Clone)]
pub struct Passes(Arc<Inner>);

struct Inner {
    key: PassKey,
    max_lifetime: Duration,
    /// The wall clock; tests replace it.
    clock: fn() -> SystemTime,
    // A lock, never held across an await.
    ended: Mutex<Ended>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    livestream: String,
    role: String,
    /// Seconds since the Unix epoch, with milliseconds: the end of a livestream may follow at once.
    iat: f64,
    exp: u64,
}

/// A pass for a streamer to give away.
#[derive(Debug)]
pub struct IssuedPass {
    /// The pass.
    pub text: String,
    /// Its end, in seconds since the Unix epoch.
    pub expires_at: u64,
}

/// The right that a valid pass proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckedPass {
    /// Milliseconds since the Unix epoch: it is void if its livestream ended later.
    pub issued_at_ms: u64,
    /// Its end.
    pub expires_at: SystemTime,
}

/// A revocation that holds in this process, and is to outlive it.
#[must_use]
pub struct Revocation {
    /// Milliseconds since the Unix epoch.
    pub ended_ms: u64,
    unwritten: UnwrittenEnd,
}

impl Revocation {
    /// Writes it to the state directory, if there is one. Blocks.
    pub fn write(self) {
        self.unwritten.write();
    }
}

/// The reason why a pass is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PassError {
    /// This deployment did not sign it, or it is for another role.
    #[error("the pass is invalid: {0}")]
    Invalid(&'static str),
    /// It is for another livestream.
    #[error("the pass is for another livestream")]
    OtherLivestream,
    /// Its time is over, or its livestream has ended since.
    #[error("the pass has ended")]
    Ended,
}

impl Passes {
    /// The passes of this deployment, if they are on. Without a configured key one is made, and kept in `state`.
    pub fn open(
        config: &config::Config,
        configured: Option<PassKey>,
        state: Option<&Path>,
    ) -> Result<Option<Self>, KeyError> {
        if config.listener.passes == PassPolicy::Off {
            return Ok(None);
        }
        let key = match (configured, state) {
            (Some(key), _) => key,
            (None, Some(state)) => PassKey::kept_in(state)?,
            (None, None) => {
                tracing::warn!(
                    "there is no state directory for the key of listening passes: all passes end with this process; set \
                     passes.key, or StateDirectory= of the unit"
                );
                PassKey::new()?
            }
        };
        Ok(Some(Self::new(key, config, state)))
    }

    /// Passes that end with this process, if they are on.
    pub fn in_memory(config: &config::Config) -> Result<Option<Self>, KeyError> {
        if config.listener.passes == PassPolicy::Off {
            return Ok(None);
        }
        Ok(Some(Self::new(PassKey::new()?, config, None)))
    }

    fn new(key: PassKey, config: &config::Config, state: Option<&Path>) -> Self {
        let max_lifetime = config.passes.max_lifetime;
        let ended = Ended::open(state, max_lifetime, SystemTime::now());
        Self(Arc::new(Inner {
            key,
            max_lifetime,
            clock: SystemTime::now,
            ended: Mutex::new(ended),
        }))
    }

    /// Replaces the wall clock. Call it before the first clone.
    #[must_use]
    pub fn with_clock(mut self, clock: fn() -> SystemTime) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.clock = clock;
        }
        self
    }

    /// The longest lifetime of a pass.
    pub fn max_lifetime(&self) -> Duration {
        self.0.max_lifetime
    }

    /// A pass to `livestream` for `lifetime`, at most [`Self::max_lifetime`]; none if it cannot be signed.
    pub fn issue(&self, livestream: &LivestreamId, lifetime: Duration) -> Option<IssuedPass> {
        let now = self.now_ms();
        let expires_at = now / 1000 + lifetime.min(self.0.max_lifetime).as_secs();
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TYPE.to_owned());
        #[expect(
            clippy::cast_precision_loss,
            reason = "a time of today is exact in 53 bits"
        )]
        let claims = Claims {
            livestream: livestream.to_string(),
            role: ROLE.to_owned(),
            iat: now as f64 / 1000.0,
            exp: expires_at,
        };
        let text = jsonwebtoken::encode(&header, &claims, self.0.key.signing()).ok()?;
        Some(IssuedPass { text, expires_at })
    }

    /// Whether a token is a pass, valid or not.
    pub fn is_pass(token: &str) -> bool {
        token.len() <= MAX_PASS
            && jsonwebtoken::decode_header(token)
                .is_ok_and(|header| header.typ.as_deref() == Some(TYPE))
    }

    /// Checks a pass to `livestream`, with the ends that this process knows.
    pub fn check(&self, pass: &str, livestream: &LivestreamId) -> Result<CheckedPass, PassError> {
        let invalid = PassError::Invalid;
        let (message, signature) = pass.rsplit_once('.').ok_or(invalid("it is no JWT"))?;
        let key = self.0.key.verifying();
        let signed =
            jsonwebtoken::crypto::verify(signature, message.as_bytes(), key, Algorithm::EdDSA);
        if !signed.unwrap_or(false) {
            return Err(invalid("its signature is wrong"));
        }
        let claims = message.split_once('.').and_then(|(header, claims)| {
            // A key of ours signs nothing else, and a header of another kind is none of ours.
            Self::is_pass(&format!("{header}.{claims}.{signature}")).then_some(())?;
            let json = URL_SAFE_NO_PAD.decode(claims).ok()?;
            serde_json::from_slice::<Claims>(&json).ok()
        });
        let claims = claims.ok_or(invalid("its claims cannot be read"))?;
        if claims.role != ROLE {
            return Err(invalid("it is for another role"));
        }
        if claims.livestream != livestream.as_str() {
            return Err(PassError::OtherLivestream);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it was written from whole milliseconds, and `as` saturates"
        )]
        let issued_at_ms = (claims.iat * 1000.0).round() as u64;
        let ended = self.0.ended.lock().at(livestream);
        if claims.exp <= self.now_ms() / 1000 || ended.is_some_and(|ended| issued_at_ms <= ended) {
            return Err(PassError::Ended);
        }
        let expires_at = UNIX_EPOCH.checked_add(Duration::from_secs(claims.exp));
        Ok(CheckedPass {
            issued_at_ms,
            expires_at: expires_at.ok_or(invalid("it never expires"))?,
        })
    }

    /// Revokes all passes to a livestream that were issued until now, since it has ended.
    pub fn revoke(&self, livestream: &LivestreamId) -> Revocation {
        let ended_ms = self.now_ms();
        let unwritten = self.0.ended.lock().record(livestream, ended_ms);
        Revocation {
            ended_ms,
            unwritten,
        }
    }

    fn now_ms(&self) -> u64 {
        unix_time::millis((self.0.clock)())
    }
}

#[cfg(test)]
mod tests;
