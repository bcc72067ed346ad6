//! Being let in: which project, and the access tokens for its Firestore.
//!
//! A service account signs an assertion (RFC 7523) for each token; without one the GCE metadata server hands tokens
//! out, and names the project, so that a VM needs no private key at all. The Firestore emulator takes `owner`.
//!
//! **Invariant**: a token is never shown; while one is usable nobody waits for the next.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jsonwebtoken::{Algorithm, Header};
use parking_lot::RwLock;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::account::ServiceAccount;
use super::refresh_cache::{Fetched, RefreshCache};
use super::{Client, Dependency, Emulators, Failure, GoogleError, Lane};
use crate::config::{self, ConfigError, Problems};

/// Firestore, and the accounts of streamers whose token has expired.
const SCOPE: &str =
    "https://www.googleapis.com/auth/datastore https://www.googleapis.com/auth/identitytoolkit";
const GRANT: &str = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=";
/// How long before its end a token is fetched anew. The metadata server itself renews 5 minutes ahead.
const AHEAD: Duration = Duration::from_mins(4);
/// How long before its end a token is no longer used.
const MARGIN: Duration = Duration::from_secs(30);

/// A project, and the way into it; cheap to clone.
#[derive(Clone)]
pub struct Access {
    /// The outbound client.
    pub client: Client,
    /// The project's id.
    pub project: Arc<str>,
    /// Which parts of Google are emulators.
    pub emulators: Emulators,
    // Replaced as a whole when credentials are re-read; a read lock is held for a clone. None: an emulator asks for none.
    tokens: Arc<RwLock<Option<RefreshCache<HeaderValue>>>>,
}

impl Access {
    /// Opens the way that `config` names: [`Credentials::find`] and [`Access::with`] in one.
    pub async fn open(
        client: Client,
        config: &config::Google,
        emulators: Emulators,
    ) -> Result<Self, GoogleError> {
        let credentials = Credentials::find(config, &emulators)?;
        Self::with(client, credentials, config, emulators).await
    }

    /// Opens the way with these credentials. Asks the metadata server for the project's id if nothing else names it,
    /// and no other server.
    pub async fn with(
        client: Client,
        credentials: Credentials,
        config: &config::Google,
        emulators: Emulators,
    ) -> Result<Self, GoogleError> {
        let Credentials { account, project } = credentials;
        let project = match project {
            Some(id) => id,
            None => Metadata::new(&client, &emulators).project_id().await?,
        };
        let tokens = source(&client, &emulators, account, config);
        Ok(Self {
            client,
            project: project.into(),
            emulators,
            tokens: Arc::new(RwLock::new(tokens)),
        })
    }

    /// Takes up other credentials. The project stays the one it was opened with.
    pub fn reload(&self, credentials: Credentials, config: &config::Google) {
        let account = credentials.account;
        let tokens = source(&self.client, &self.emulators, account, config);
        *self.tokens.write() = tokens;
    }

    fn tokens(&self) -> Option<RefreshCache<HeaderValue>> {
        self.tokens.read().clone()
    }

    /// The value of the `Authorization` header.
    pub async fn authorization(&self) -> Result<Arc<HeaderValue>, Failure> {
        match self.tokens() {
            Some(tokens) => tokens.get().await,
            None => Ok(Arc::new(HeaderValue::from_static("Bearer owner"))),
        }
    }

    /// Google did not take `authorization`: the next is fetched anew.
    pub fn forget(&self, authorization: &Arc<HeaderValue>) {
        if let Some(tokens) = self.tokens() {
            tokens.forget(authorization);
        }
    }

    /// The name of the header that [`authorization`](Self::authorization) is for.
    pub const HEADER: http::HeaderName = AUTHORIZATION;
}

/// What the configuration says of the way to Google, read and tried as far as that needs no network.
pub struct Credentials {
    account: Option<ServiceAccount>,
    project: Option<String>,
}

impl Credentials {
    /// Reads what `config` names.
    pub fn find(config: &config::Google, emulators: &Emulators) -> Result<Self, Problems> {
        let mut problems = emulators.check();
        let mut account = None;
        problems.take(ServiceAccount::find(config), |found| account = found);
        let project = config
            .project_id
            .clone()
            .or_else(|| account.as_ref()?.project_id.clone())
            .filter(|id| !id.is_empty());
        if project.as_deref().is_some_and(|id| !is_project(id)) {
            let problem = "must be a project's id: letters, digits, - _ . and :";
            problems.push(ConfigError::value("google.project_id", problem));
        }
        problems.into_result()?;
        Ok(Self { account, project })
    }

    /// What only the machine's metadata server can say, in words; nothing if it is not needed.
    pub fn left_to_metadata(&self, emulators: &Emulators) -> Option<String> {
        let mut needed = Vec::new();
        if self.project.is_none() {
            needed.push("google.project_id is not set");
        }
        if self.account.is_none() && emulators.firestore.is_none() {
            needed.push("no service account's key is among the credentials");
        }
        (!needed.is_empty()).then(|| {
            format!(
                "{}: the metadata server of a Google Compute Engine VM is asked for it; elsewhere it has to be set",
                needed.join(", and ")
            )
        })
    }
}

fn is_project(id: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    !id.is_empty() && id.bytes().all(fits)
}

/// Where access tokens come from, if any are needed.
fn source(
    client: &Client,
    emulators: &Emulators,
    account: Option<ServiceAccount>,
    config: &config::Google,
) -> Option<RefreshCache<HeaderValue>> {
    match (&emulators.firestore, account) {
        (Some(_), _) => None,
        (None, Some(account)) => Some(granted(client.clone(), account, config.token_url.clone())),
        (None, None) => Some(Metadata::new(client, emulators).tokens()),
    }
}

#[derive(Deserialize)]
struct Granted {
    access_token: SecretString,
    expires_in: u64,
}

fn fetched(
    client: &Client,
    dependency: Dependency,
    granted: &Granted,
) -> Result<Fetched<HeaderValue>, Failure> {
    let text = format!("Bearer {}", granted.access_token.expose_secret());
    let value = HeaderValue::from_str(&text);
    let mut value = value.map_err(|_| client.unusable(dependency))?;
    value.set_sensitive(true);
    let lifetime = Duration::from_secs(granted.expires_in);
    Ok(Fetched {
        value,
        // A token that is near its end already is kept for a moment, or every call would ask for another.
        fresh_for: lifetime.saturating_sub(AHEAD).max(lifetime.min(MARGIN) / 2),
        usable_for: lifetime.saturating_sub(MARGIN),
    })
}

#[derive(Serialize)]
struct Assertion<'a> {
    iss: &'a str,
    scope: &'a str,
    aud: &'a str,
    iat: u64,
    exp: u64,
}

/// Tokens granted to a service account.
fn granted(client: Client, account: ServiceAccount, url: String) -> RefreshCache<HeaderValue> {
    let account = Arc::new(account);
    RefreshCache::new(move || {
        let (client, account, url) = (client.clone(), Arc::clone(&account), url.clone());
        async move {
            let now = SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs();
            let mut header = Header::new(Algorithm::RS256);
            header.kid.clone_from(&account.key_id);
            let assertion = Assertion {
                iss: &account.email,
                scope: SCOPE,
                aud: &url,
                iat: now,
                exp: now + 3600,
            };
            // About 2 ms once an hour: not worth a thread. The key has signed before, so it does again.
            let assertion = jsonwebtoken::encode(&header, &assertion, &account.key)
                .map_err(|_| client.unusable(Dependency::Token))?;
            let request = client
                .post(&url)
                .header("content-type", "application/x-www-form-urlencoded")
                .body(format!("{GRANT}{assertion}"));
            let reply = client
                .call(Dependency::Token, Lane::Streamers, request)
                .await;
            fetched(&client, Dependency::Token, &reply?.value)
        }
    })
}

/// The GCE metadata server.
#[derive(Clone)]
struct Metadata {
    client: Client,
    base: String,
}

impl Metadata {
    fn new(client: &Client, emulators: &Emulators) -> Self {
        let host = emulators
            .metadata
            .as_deref()
            .unwrap_or("metadata.google.internal");
        Self {
            client: client.clone(),
            base: format!("http://{host}/computeMetadata/v1"),
        }
    }

    fn request(&self, path: &str) -> reqwest::RequestBuilder {
        self.client
            .get(&format!("{}/{path}", self.base))
            .header("metadata-flavor", "Google")
    }

    async fn project_id(&self) -> Result<String, GoogleError> {
        let request = self.request("project/project-id");
        let id = self
            .client
            .call_text(Dependency::Metadata, Lane::Streamers, request)
            .await
            .map_err(|failure| {
                GoogleError::Project(format!("the GCE metadata server was asked, but {failure}"))
            })?;
        match id.trim() {
            id if is_project(id) => Ok(id.to_owned()),
            _ => Err(GoogleError::Project(
                "the GCE metadata server names none".to_owned(),
            )),
        }
    }

    fn tokens(&self) -> RefreshCache<HeaderValue> {
        let this = self.clone();
        RefreshCache::new(move || {
            let this = this.clone();
            async move {
                let request = this.request("instance/service-accounts/default/token");
                let reply = this
                    .client
                    .call(Dependency::Metadata, Lane::Streamers, request)
                    .await;
                fetched(&this.client, Dependency::Metadata, &reply?.value)
            }
        })
    }
}
