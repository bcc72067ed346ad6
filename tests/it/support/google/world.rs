//! What the double knows, and how it answers: users, documents, granted tokens.
//!
//! **Invariant**: like Google, a commit without a precondition creates a missing document, one with `exists: true` does
//! not, and one with `exists: false` does nothing else.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use castaway_media_server::files;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value, json};

use super::tokens;

/// An answer: an HTTP status and a JSON body.
pub(crate) type Answer = (u16, Value);

/// How a user is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Account {
    /// Disabled by an administrator.
    Disabled,
    /// Deleted.
    Deleted,
}

/// All that the double knows.
pub(crate) struct World {
    pub(crate) project: String,
    /// The API key that a look-up needs; none if it takes any.
    pub(crate) api_key: Option<String>,
    /// The API keys that look-ups came with.
    pub(crate) api_keys_seen: BTreeSet<String>,
    /// Firestore's own representation: `{"artistId": {"stringValue": "…"}}`.
    pub(crate) livestreams: BTreeMap<String, Map<String, Value>>,
    /// The collection `uploads`, likewise.
    pub(crate) uploads: BTreeMap<String, Map<String, Value>>,
    /// Where the livestreams are kept as well, if anywhere.
    file: Option<PathBuf>,
    /// Secret Manager's: texts by name, each the latest version.
    pub(crate) secrets: HashMap<String, String>,
    /// Users who are not simply there.
    pub(crate) accounts: HashMap<String, Account>,
    /// Whether a look-up refuses an expired token, as Google's does and the emulator's does not.
    pub(crate) looks_at_expiry: bool,
    /// Which pair of keys is published.
    pub(crate) signer: usize,
    /// `max-age` of the keys, in seconds.
    pub(crate) keys_max_age: u64,
    /// How long access tokens live, in seconds.
    pub(crate) token_lifetime: u64,
    /// The access tokens that are good.
    pub(crate) granted: Vec<String>,
    grants: u64,
}

fn error(http: u16, status: &str, message: &str) -> Answer {
    let body = json!({ "error": { "code": http, "message": message, "status": status } });
    (http, body)
}

impl World {
    pub(crate) fn new(project: &str, api_key: &str) -> Self {
        Self {
            project: project.to_owned(),
            api_key: Some(api_key.to_owned()),
            api_keys_seen: BTreeSet::new(),
            livestreams: BTreeMap::new(),
            uploads: BTreeMap::new(),
            file: None,
            secrets: HashMap::new(),
            accounts: HashMap::new(),
            looks_at_expiry: false,
            signer: 0,
            keys_max_age: 3600,
            token_lifetime: 3600,
            granted: Vec::new(),
            grants: 0,
        }
    }

    /// Keeps the livestreams in `file`, and begins with those that are in it.
    pub(crate) fn keep_livestreams_in(&mut self, file: PathBuf) -> io::Result<()> {
        if file.exists() {
            self.livestreams = serde_json::from_slice(&std::fs::read(&file)?)?;
        }
        self.file = Some(file);
        self.keep_livestreams()
    }

    /// Returns when the livestreams are on the disk, where they are kept there: a power cut loses none.
    fn keep_livestreams(&self) -> io::Result<()> {
        match &self.file {
            Some(file) => files::replace(file, &serde_json::to_vec(&self.livestreams)?),
            None => Ok(()),
        }
    }

    /// Puts a livestream of `artist`, with a field that nobody else may touch.
    pub(crate) fn put_livestream(&mut self, id: &str, artist: &str, streamer_connected: bool) {
        let fields = json!({
            "artistId": { "stringValue": artist },
            "streamerConnected": { "booleanValue": streamer_connected },
            "title": { "stringValue": "a livestream" },
        });
        let Value::Object(fields) = fields else {
            return;
        };
        self.livestreams.insert(id.to_owned(), fields);
        self.keep_livestreams().expect("a writable file");
    }

    /// Sets `record` in the document of `id`, if there is one.
    pub(crate) fn set_record(&mut self, id: &str, record: bool) {
        if let Some(fields) = self.livestreams.get_mut(id) {
            fields.insert("record".into(), json!({ "booleanValue": record }));
        }
        self.keep_livestreams().expect("a writable file");
    }

    /// Deletes the document of `id`.
    pub(crate) fn delete_livestream(&mut self, id: &str) {
        self.livestreams.remove(id);
        self.keep_livestreams().expect("a writable file");
    }

    /// What the document of `id` says of its streamer; none if there is no document.
    pub(crate) fn streamer_connected(&self, id: &str) -> Option<bool> {
        self.livestreams.get(id)?.get("streamerConnected")?["booleanValue"].as_bool()
    }

    pub(crate) fn keys(&self) -> Answer {
        (200, json!({ "keys": [tokens::pairs()[self.signer].jwk] }))
    }

    /// What the project's administrator is told of users.
    pub(crate) fn lookup_by_id(&self, authorization: Option<&str>, ids: &[Value]) -> Answer {
        if !self.lets_in(authorization) {
            return error(401, "UNAUTHENTICATED", "no");
        }
        let user = |id: &Value| {
            let account = self.accounts.get(id.as_str().unwrap_or_default());
            let disabled = account == Some(&Account::Disabled);
            (account != Some(&Account::Deleted))
                .then(|| json!({ "localId": id, "disabled": disabled }))
        };
        let users: Vec<Value> = ids.iter().filter_map(user).collect();
        (200, json!({ "users": users }))
    }

    pub(crate) fn lookup(&mut self, api_key: Option<&str>, body: &Value) -> Answer {
        self.api_keys_seen.extend(api_key.map(str::to_owned));
        if self.api_key.is_some() && api_key != self.api_key.as_deref() {
            return error(
                400,
                "INVALID_ARGUMENT",
                "API key not valid. Please pass a valid API key.",
            );
        }
        let refused = |code: &str| error(400, "INVALID_ARGUMENT", code);
        let claims = body["idToken"].as_str().and_then(|token| {
            let payload = token.split('.').nth(1)?;
            let json = URL_SAFE_NO_PAD.decode(payload).ok()?;
            serde_json::from_slice::<Value>(&json).ok()
        });
        let Some(user) = claims.as_ref().and_then(|it| it["sub"].as_str()) else {
            return refused("INVALID_ID_TOKEN");
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs();
        let ends = claims.as_ref().and_then(|it| it["exp"].as_u64());
        if self.looks_at_expiry && ends <= Some(now) {
            return refused("TOKEN_EXPIRED");
        }
        match self.accounts.get(user) {
            Some(Account::Disabled) => {
                refused("USER_DISABLED : The user account has been disabled.")
            }
            Some(Account::Deleted) => refused("USER_NOT_FOUND"),
            None => {
                let account =
                    json!({ "localId": user, "passwordHash": "c2VjcmV0", "validSince": "0" });
                (
                    200,
                    json!({ "kind": "identitytoolkit#GetAccountInfoResponse", "users": [account] }),
                )
            }
        }
    }

    /// The token endpoint, which checks the assertion as Google does.
    pub(crate) fn grant(&mut self, form: &str) -> Answer {
        let assertion = form
            .split('&')
            .find_map(|pair| pair.strip_prefix("assertion="));
        let jwk = serde_json::from_value(tokens::pairs()[0].jwk.clone()).expect("a JWK");
        let key = DecodingKey::from_jwk(&jwk).expect("a key");
        let mut validation = Validation::new(Algorithm::RS256);
        validation.validate_aud = false;
        let good = assertion
            .is_some_and(|it| jsonwebtoken::decode::<Value>(it, &key, &validation).is_ok())
            && form.contains("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer");
        if !good {
            let body =
                json!({ "error": "invalid_grant", "error_description": "Invalid JWT Signature." });
            return (400, body);
        }
        self.hand_out()
    }

    /// The metadata server's token endpoint.
    pub(crate) fn hand_out(&mut self) -> Answer {
        self.grants += 1;
        let token = format!("ya29.token-{}", self.grants);
        self.granted.push(token.clone());
        let body = json!({ "access_token": token, "expires_in": self.token_lifetime, "token_type": "Bearer" });
        (200, body)
    }

    fn lets_in(&self, authorization: Option<&str>) -> bool {
        let token = authorization.and_then(|it| it.strip_prefix("Bearer "));
        token.is_some_and(|token| token == "owner" || self.granted.iter().any(|it| it == token))
    }

    fn documents(&self) -> String {
        format!("projects/{}/databases/(default)/documents", self.project)
    }

    /// The collection and the id that a resource name stands for.
    fn parse<'a>(&self, name: &'a Value) -> Option<(&'a str, &'a str)> {
        let name = name.as_str()?.strip_prefix(&self.documents())?;
        let (collection, id) = name.strip_prefix('/')?.split_once('/')?;
        let is_known = ["livestreams", "uploads"].contains(&collection);
        (is_known && !id.is_empty() && !id.contains('/')).then_some((collection, id))
    }

    fn collection(&mut self, name: &str) -> &mut BTreeMap<String, Map<String, Value>> {
        match name {
            "uploads" => &mut self.uploads,
            _ => &mut self.livestreams,
        }
    }

    pub(crate) fn batch_get(&self, authorization: Option<&str>, body: &Value) -> Answer {
        if !self.lets_in(authorization) {
            return (401, json!([error(401, "UNAUTHENTICATED", "no").1]));
        }
        let mask: Vec<&str> = body["mask"]["fieldPaths"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let names = body["documents"].as_array().cloned().unwrap_or_default();
        let mut found = Vec::new();
        for name in &names {
            let Some(("livestreams", id)) = self.parse(name) else {
                return (400, json!([error(400, "INVALID_ARGUMENT", "bad name").1]));
            };
            found.push(match self.livestreams.get(id) {
                None => json!({ "missing": name, "readTime": "2026-01-01T00:00:00Z" }),
                Some(fields) => {
                    let masked: Map<String, Value> =
                        fields.iter().filter(|(key, _)| mask.contains(&key.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect();
                    json!({ "found": { "name": name, "fields": masked }, "readTime": "2026-01-01T00:00:00Z" })
                }
            });
        }
        (200, Value::Array(found))
    }

    pub(crate) fn commit(&mut self, authorization: Option<&str>, body: &Value) -> Answer {
        if !self.lets_in(authorization) {
            return error(401, "UNAUTHENTICATED", "no");
        }
        let writes = body["writes"].as_array().cloned().unwrap_or_default();
        // All of it or nothing.
        for write in &writes {
            let Some((collection, id)) = self.parse(&write["update"]["name"]) else {
                return error(400, "INVALID_ARGUMENT", "bad name");
            };
            let exists = self.collection(collection).contains_key(id);
            match write["currentDocument"]["exists"].as_bool() {
                Some(true) if !exists => return error(404, "NOT_FOUND", "No document to update"),
                Some(false) if exists => {
                    return error(409, "ALREADY_EXISTS", "Document already exists");
                }
                _ => {}
            }
        }
        for write in &writes {
            let Some((collection, id)) = self.parse(&write["update"]["name"]) else {
                continue;
            };
            let new = write["update"]["fields"]
                .as_object()
                .cloned()
                .unwrap_or_default();
            let document = self
                .collection(collection)
                .entry(id.to_owned())
                .or_default();
            match write["updateMask"]["fieldPaths"].as_array() {
                // Without a mask the document is replaced as a whole.
                None => *document = new,
                Some(mask) => {
                    for key in mask.iter().filter_map(Value::as_str) {
                        match new.get(key) {
                            Some(value) => document.insert(key.to_owned(), value.clone()),
                            None => document.remove(key),
                        };
                    }
                }
            }
        }
        self.keep_livestreams().expect("a writable file");
        let result = json!({ "updateTime": "2026-01-01T00:00:00Z" });
        (200, json!({ "writeResults": vec![result; writes.len()] }))
    }

    /// Secret Manager's `access`, of the version `latest`.
    pub(crate) fn secret(&self, authorization: Option<&str>, path: &str) -> Answer {
        if !self.lets_in(authorization) {
            return error(401, "UNAUTHENTICATED", "no");
        }
        let name = path
            .strip_prefix(&format!("/v1/projects/{}/secrets/", self.project))
            .and_then(|it| it.strip_suffix("/versions/latest:access"));
        match name.and_then(|name| self.secrets.get(name)) {
            Some(text) => (200, json!({ "payload": { "data": STANDARD.encode(text) } })),
            None => error(404, "NOT_FOUND", "Secret not found or has no versions."),
        }
    }
}
