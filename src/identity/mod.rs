//! Identities: ID tokens, verified locally with Google's signing keys.
//!
//! [`claims`] is the verification, without input or output; [`keys`] fetches the keys; an account look-up finds
//! disabled and deleted users; the return window lets a lost socket come back with a recently expired token.
//! [`Passes`] stand for listeners without an account.
//!
//! **Invariant**: a [`Caller`] exists only for a token with a valid signature and valid claims. No part of a token is
//! ever logged.

pub mod claims;
pub mod keys;
mod lookup;
mod passes;
mod signer;
mod window;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

pub use lookup::{ApiKey, Standing};
pub use passes::{CheckedPass, IssuedPass, KeyError, PassError, PassKey, Passes, Revocation};
pub use signer::{Signer, SignerError};
pub use window::{HandedOver, Return, TokenHash};

use crate::broadcast::{LivestreamId, Role, UserId};
use crate::config::{self, LookupPolicy};
use crate::google::{Access, Lane};
use claims::{Rules, Token};
use keys::{Found, SigningKeys};
use lookup::Lookup;
use window::ReturnWindow;

/// The identity that a verified token proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub user: UserId,
    /// The expiry of the token; in the past for a socket that came back with an expired one.
    pub expires_at: SystemTime,
}

impl Caller {
    fn of(read: Token<'_>) -> Self {
        Self {
            user: read.user,
            expires_at: read.expires_at,
        }
    }
}

/// A verified token. Its account has not been looked up.
pub struct Verified<'a> {
    text: &'a str,
    token: Token<'a>,
    role: Role,
}

impl Verified<'_> {
    /// The user of the token.
    pub fn user(&self) -> &UserId {
        &self.token.user
    }
}

/// The reason why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// It is invalid for good.
    #[error("the token is invalid: {0}")]
    Invalid(&'static str),
    /// It was valid once.
    #[error("the token has expired")]
    Expired,
    /// It cannot be checked now.
    #[error("the token cannot be checked now")]
    Unavailable,
    /// Its key is unknown. It may have been published since the keys were fetched.
    #[error("the token's key is not known yet")]
    KeyUnknown,
}

/// The verification of tokens; cheap to clone.
#[derive(Clone)]
pub struct Identity {
    inner: Arc<Inner>,
}

struct Inner {
    rules: Rules,
    keys: SigningKeys,
    /// Replaced as a whole on a reload; a read lock is held for a clone.
    lookup: RwLock<Option<Arc<Lookup>>>,
    policy: LookupPolicy,
    /// The wall clock; tests replace it.
    clock: fn() -> SystemTime,
    /// A lock, never held across an await: a map and its order change together.
    window: Mutex<ReturnWindow>,
}

impl Identity {
    /// Verifies Google's tokens, or the Auth emulator's.
    pub fn google(access: &Access, config: &config::Config, api_key: Option<ApiKey>) -> Self {
        let emulator = access.emulators.auth.as_deref();
        if let Some(host) = emulator {
            tracing::warn!(
                %host,
                "FIREBASE_AUTH_EMULATOR_HOST is set: UNSIGNED TOKENS ARE ACCEPTED, anybody can be anybody; \
                 unset it in production"
            );
        }
        let lookup = api_key.map(|api_key| Lookup::new(access, config, api_key));
        let unsigned = emulator.is_some();
        let rules = Rules::firebase(&access.project, config.identity.clock_skew, unsigned);
        let keys = if unsigned {
            SigningKeys::Fixed(Arc::default())
        } else {
            SigningKeys::google(access.client.clone(), config.google.keys_url.clone())
        };
        Self::new(rules, keys, lookup, &config.identity)
    }

    /// Replaces the API key.
    pub fn reload(&self, access: &Access, config: &config::Config, api_key: Option<ApiKey>) {
        let lookup = api_key.map(|api_key| Arc::new(Lookup::new(access, config, api_key)));
        *self.inner.lookup.write() = lookup;
    }

    /// Verifies the tokens of `signer`, for the demo.
    pub fn local(signer: &Signer, config: &config::Identity) -> Result<Self, SignerError> {
        let rules = Rules::firebase(signer.project(), config.clock_skew, false);
        let keys = SigningKeys::Fixed(Arc::new(signer.keys()?));
        Ok(Self::new(rules, keys, None, config))
    }

    fn new(
        rules: Rules,
        keys: SigningKeys,
        lookup: Option<Lookup>,
        config: &config::Identity,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                rules,
                keys,
                lookup: RwLock::new(lookup.map(Arc::new)),
                policy: config.lookup,
                clock: SystemTime::now,
                window: Mutex::new(ReturnWindow::new(config)),
            }),
        }
    }

    /// Replaces the wall clock. Call it before the first clone.
    #[must_use]
    pub fn with_clock(mut self, clock: fn() -> SystemTime) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.clock = clock;
        }
        self
    }

    /// Checks `token` of an admitted socket with `role`: it must not have expired.
    pub async fn check(&self, token: &str, role: Role) -> Result<Caller, IdentityError> {
        let read = self.read(token)?;
        if read.expired {
            return Err(IdentityError::Expired);
        }
        self.check_signature(&read).await?;
        self.confirm(Verified {
            text: token,
            token: read,
            role,
        })
        .await
    }

    /// Checks the signature, claims and expiry of `token`, which is to admit a socket as `role` of `livestream`. An
    /// expired token is valid if its socket is open or was lost a short time ago.
    pub async fn verify<'a>(
        &self,
        token: &'a str,
        role: Role,
        livestream: &LivestreamId,
    ) -> Result<Verified<'a>, IdentityError> {
        let read = self.read(token)?;
        let to = Return::of(&read, token, role, livestream);
        // Before the signature: the key of an expired token may be gone.
        if read.expired && !self.window(|it| it.admits(&to, Instant::now())) {
            return Err(IdentityError::Expired);
        }
        self.check_signature(&read).await?;
        Ok(Verified {
            text: token,
            token: read,
            role,
        })
    }

    /// Looks up the token's account, if so configured.
    pub async fn confirm(&self, verified: Verified<'_>) -> Result<Caller, IdentityError> {
        let Verified { text, token, role } = verified;
        let (asked, lane) = match (self.inner.policy, role) {
            (LookupPolicy::Off, _) => (false, Lane::Background),
            (_, Role::Streamer) => (true, Lane::Streamers),
            (policy, Role::Listener) => (policy == LookupPolicy::Everyone, Lane::Listeners),
        };
        // For an expired token Google would only answer that it has expired.
        if let Some(lookup) = self.lookup().filter(|_| asked && !token.expired) {
            lookup.check(text, &token, lane).await?;
        }
        Ok(Caller::of(token))
    }

    /// The return that other nodes may know of, for an expired token that was valid once, and its identity.
    pub async fn returning(
        &self,
        token: &str,
        role: Role,
        livestream: &LivestreamId,
    ) -> Option<(Return, Caller)> {
        let read = self.read(token).ok().filter(|read| read.expired)?;
        // A forged token must not query another user's returns.
        self.check_signature(&read).await.ok()?;
        let to = Return::of(&read, token, role, livestream);
        Some((to, Caller::of(read)))
    }

    fn read<'a>(&self, token: &'a str) -> Result<Token<'a>, IdentityError> {
        let inner = &self.inner;
        Token::read(token, &inner.rules, (inner.clock)()).map_err(IdentityError::Invalid)
    }

    /// Checks the signature, if there is one.
    async fn check_signature(&self, read: &Token<'_>) -> Result<(), IdentityError> {
        let Some(id) = &read.key_id else {
            return Ok(());
        };
        let key = self.inner.keys.find(id).await;
        let key = match key.map_err(|_| IdentityError::Unavailable)? {
            Found::Key(key) => key,
            Found::Unknown => return Err(IdentityError::Invalid("its key is not known")),
            Found::PerhapsLater => return Err(IdentityError::KeyUnknown),
        };
        if !read.is_signed_by(&key) {
            return Err(IdentityError::Invalid("its signature is wrong"));
        }
        Ok(())
    }

    /// Whether the user of an admitted token has been disabled or deleted since; none without look-ups.
    pub async fn recheck(&self, token: &str, user: &UserId) -> Option<Standing> {
        Some(self.lookup()?.recheck(token, user).await)
    }

    fn lookup(&self) -> Option<Arc<Lookup>> {
        let lookup = &self.inner.lookup;
        lookup.read().clone()
    }

    /// Records that a socket was admitted with this token.
    pub fn enter(&self, to: &Return) {
        self.window(|it| it.enter(to));
    }

    /// Records that an admitted socket was lost: its client may come back for a while, even with an expired token.
    pub fn lost(&self, to: &Return) {
        self.window(|it| it.lose(to, Instant::now()));
    }

    /// Records that an admitted socket left, was disconnected, or changed its token: the token's right ends.
    pub fn left(&self, to: &Return) {
        self.window(|it| it.leave(to));
    }

    /// The number of clients that may come back, and of rights dropped because of a limit.
    pub fn returns(&self) -> (usize, u64) {
        self.window(|it| it.count(Instant::now()))
    }

    /// The rights to come back, for the next process.
    pub fn hand_over(&self) -> Vec<HandedOver> {
        self.window(|it| it.hand_over(Instant::now()))
    }

    /// Adds the rights of a process that ended `ago`.
    pub fn take_over(&self, rights: &[HandedOver], ago: Duration) {
        self.window(|it| it.take_over(rights, ago, Instant::now()));
    }

    /// The rights of all open sockets.
    pub fn present(&self) -> Vec<Return> {
        self.window(|it| it.open())
    }

    /// Checks that tokens can be verified now.
    pub async fn ready(&self) -> Result<(), String> {
        let keys = self.inner.keys.ready().await;
        keys.map_err(|failure| format!("the signing keys: {failure}"))
    }

    fn window<R>(&self, act: impl FnOnce(&mut ReturnWindow) -> R) -> R {
        let window = &self.inner.window;
        act(&mut window.lock())
    }
}
