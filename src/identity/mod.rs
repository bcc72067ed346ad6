//! Who is it: ID tokens, verified here with Google's signing keys.
//!
//! [`claims`] is the verification itself, pure; [`keys`] brings the keys; an account look-up finds users whom a
//! token cannot tell from others; the return window lets a lost socket come back on a token that has just expired.
//!
//! **Invariant**: a [`Caller`] exists only for a token whose signature and claims have been checked; no token and no
//! part of one is ever logged.

pub mod claims;
pub mod keys;
mod lookup;
mod signer;
mod window;

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use tokio::time::Instant;

pub use lookup::{ApiKey, Standing};
pub use signer::{Signer, SignerError};
pub use window::TokenHash;

use crate::broadcast::{LivestreamId, Role, UserId};
use crate::config::{self, LookupPolicy};
use crate::google::{Access, Lane};
use claims::{Rules, Token};
use keys::{Found, SigningKeys};
use lookup::Lookup;
use window::ReturnWindow;

/// Who a verified token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub user: UserId,
    /// When the token expires; past for a socket that came back on an expired one.
    pub expires_at: SystemTime,
}

/// A token that is good by itself; its account has not been looked up.
pub struct Verified<'a> {
    text: &'a str,
    token: Token<'a>,
    role: Role,
    returns: bool,
}

impl Verified<'_> {
    /// The user it stands for.
    pub fn user(&self) -> &UserId {
        &self.token.user
    }
}

/// Why a token does not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// It is no good, and never will be.
    #[error("the token is invalid: {0}")]
    Invalid(&'static str),
    /// It was good once.
    #[error("the token has expired")]
    Expired,
    /// It cannot be checked now.
    #[error("the token cannot be checked now")]
    Unavailable,
    /// Its key is not known, and may have been published since the keys were fetched.
    #[error("the token's key is not known yet")]
    KeyUnknown,
}

/// The check of tokens; cheap to clone.
#[derive(Clone)]
pub struct Identity {
    inner: Arc<Inner>,
}

struct Inner {
    rules: Rules,
    keys: SigningKeys,
    /// Replaced as a whole when the API key is re-read; a read lock is held for a clone.
    lookup: RwLock<Option<Arc<Lookup>>>,
    policy: LookupPolicy,
    /// The wall clock; another one in tests.
    clock: fn() -> SystemTime,
    /// A lock, never held across an await: a map and its order change together.
    window: Mutex<ReturnWindow>,
}

impl Identity {
    /// Google's tokens, or the Auth emulator's.
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

    /// Takes up another API key.
    pub fn reload(&self, access: &Access, config: &config::Config, api_key: Option<ApiKey>) {
        let lookup = api_key.map(|api_key| Arc::new(Lookup::new(access, config, api_key)));
        *self
            .inner
            .lookup
            .write()
            .unwrap_or_else(PoisonError::into_inner) = lookup;
    }

    /// The tokens of `signer`, for the demo.
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
                window: Mutex::new(ReturnWindow::new(config.return_window)),
            }),
        }
    }

    /// The same with another wall clock; before it is cloned, or not at all.
    #[must_use]
    pub fn with_clock(mut self, clock: fn() -> SystemTime) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.clock = clock;
        }
        self
    }

    /// Checks `token`, presented for `role` of `livestream`: [`Self::verify`] and [`Self::confirm`] in one.
    pub async fn check(
        &self,
        token: &str,
        role: Role,
        livestream: &LivestreamId,
    ) -> Result<Caller, IdentityError> {
        let verified = self.verify(token, role, livestream).await?;
        self.confirm(verified).await
    }

    /// Checks the token by itself: its signature, its claims, its end.
    pub async fn verify<'a>(
        &self,
        token: &'a str,
        role: Role,
        livestream: &LivestreamId,
    ) -> Result<Verified<'a>, IdentityError> {
        let inner = &self.inner;
        let read =
            Token::read(token, &inner.rules, (inner.clock)()).map_err(IdentityError::Invalid)?;
        let lets_in = |it: &mut ReturnWindow| {
            it.lets_in(TokenHash::of(token), role, livestream, Instant::now())
        };
        let returns = read.expired && self.window(lets_in);
        if read.expired && !returns {
            return Err(IdentityError::Expired);
        }
        if let Some(id) = &read.key_id {
            let key = inner.keys.find(id).await;
            let key = match key.map_err(|_| IdentityError::Unavailable)? {
                Found::Key(key) => key,
                Found::Unknown => return Err(IdentityError::Invalid("its key is not known")),
                Found::PerhapsLater => return Err(IdentityError::KeyUnknown),
            };
            if !read.is_signed_by(&key) {
                return Err(IdentityError::Invalid("its signature is wrong"));
            }
        }
        Ok(Verified {
            text: token,
            token: read,
            role,
            returns,
        })
    }

    /// Looks the token's account up, where that is configured.
    pub async fn confirm(&self, verified: Verified<'_>) -> Result<Caller, IdentityError> {
        let Verified {
            text,
            token,
            role,
            returns,
        } = verified;
        let (asked, lane) = match (self.inner.policy, role) {
            (LookupPolicy::Off, _) => (false, Lane::Background),
            (_, Role::Streamer) => (true, Lane::Streamers),
            (policy, Role::Listener) => (policy == LookupPolicy::Everyone, Lane::Listeners),
        };
        // Google would only say that it has expired.
        if let Some(lookup) = self.lookup().filter(|_| asked && !returns) {
            lookup.check(text, &token, lane).await?;
        }
        Ok(Caller {
            user: token.user,
            expires_at: token.expires_at,
        })
    }

    /// Whether the user of a token that was let in has been disabled or deleted since; none if no account is looked up.
    pub async fn recheck(&self, token: &str, user: &UserId) -> Option<Standing> {
        Some(self.lookup()?.recheck(token, user).await)
    }

    fn lookup(&self) -> Option<Arc<Lookup>> {
        let lookup = &self.inner.lookup;
        lookup
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The socket that `caller` had with `token` was lost: it may come back with it for a while, expired or not.
    pub fn lost(&self, token: TokenHash, caller: &Caller, role: Role, livestream: &LivestreamId) {
        tracing::trace!(user.id = %caller.user, "a socket was lost");
        self.window(|it| it.lose(token, role, livestream, Instant::now()));
    }

    /// The socket with `token` was kicked or its livestream has ended: it does not come back on an expired token.
    pub fn forget(&self, token: TokenHash) {
        self.window(|it| it.forget(token));
    }

    /// Tries whether tokens can be checked.
    pub async fn ready(&self) -> Result<(), String> {
        let keys = self.inner.keys.ready().await;
        keys.map_err(|failure| format!("the signing keys: {failure}"))
    }

    fn window<R>(&self, act: impl FnOnce(&mut ReturnWindow) -> R) -> R {
        let window = &self.inner.window;
        act(&mut window.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
