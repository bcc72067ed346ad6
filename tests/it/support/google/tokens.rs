//! The double's keys, and tokens good and bad.
//!
//! **Invariant**: a token differs from a good one in what its [`Kind`] names, and in nothing else.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// What is special about a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing.
    Valid,
    /// It expired an hour ago.
    Expired,
    /// It is good for so many seconds more (or was, if negative).
    Ends(i64),
    /// It is another project's.
    Foreign,
    /// Its key is not among the published.
    UnknownKey,
    /// Another key signed it.
    Forged,
    /// The Auth emulator's: not signed at all.
    Unsigned,
}

/// A pair of keys.
pub(crate) struct Pair {
    pub(crate) pem: String,
    pub(crate) encoding: EncodingKey,
    pub(crate) jwk: Value,
}

impl Pair {
    /// Makes a pair whose public key is called `id`.
    pub(crate) fn new(id: &str) -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).expect("a key");
        let der: Pkcs8V1Der<'_> = pair.as_der().expect("its DER");
        let body = STANDARD.encode(der.as_ref());
        // In lines of 64, as Google writes it.
        let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
        for line in body.as_bytes().chunks(64) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem.push_str("-----END PRIVATE KEY-----\n");
        let encoding = EncodingKey::from_rsa_pem(pem.as_bytes()).expect("an RSA key");
        let mut jwk = Jwk::from_encoding_key(&encoding, Algorithm::RS256).expect("a JWK");
        jwk.common.key_id = Some(id.to_owned());
        let jwk = serde_json::to_value(&jwk).expect("JSON");
        Self { pem, encoding, jwk }
    }
}

/// The pairs that are published one after the other, and one that never is; made once, since that takes a while.
pub(crate) fn pairs() -> &'static [Pair; 3] {
    static PAIRS: OnceLock<[Pair; 3]> = OnceLock::new();
    PAIRS.get_or_init(|| {
        [
            Pair::new("first"),
            Pair::new("second"),
            Pair::new("unpublished"),
        ]
    })
}

/// A token of `user` for `project`, signed with the published pair `signer`.
pub(crate) fn mint(project: &str, user: &str, kind: Kind, signer: usize) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time after 1970")
        .as_secs();
    let left = match kind {
        Kind::Expired => -3600,
        Kind::Ends(seconds) => seconds,
        _ => 3600,
    };
    let exp = now.checked_add_signed(left).expect("a time after 1970");
    let project = if kind == Kind::Foreign {
        "another-project"
    } else {
        project
    };
    let claims = json!({
        "iss": format!("https://securetoken.google.com/{project}"),
        "aud": project,
        "sub": user,
        "user_id": user,
        "iat": exp - 3600,
        "auth_time": exp - 3600,
        "exp": exp,
        "firebase": { "identities": {}, "sign_in_provider": "password" },
    });
    if kind == Kind::Unsigned {
        let part = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        return format!(
            "{}.{}.",
            part(&json!({"alg": "none", "typ": "JWT"})),
            part(&claims)
        );
    }
    let [.., unpublished] = pairs();
    let published = &pairs()[signer];
    let (named, key) = match kind {
        Kind::UnknownKey => (unpublished, unpublished),
        Kind::Forged => (published, unpublished),
        _ => (published, published),
    };
    let mut header = Header::new(Algorithm::RS256);
    header.kid = named.jwk["kid"].as_str().map(str::to_owned);
    jsonwebtoken::encode(&header, &claims, &key.encoding).expect("a token")
}
