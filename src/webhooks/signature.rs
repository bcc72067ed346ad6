//! Signatures after the Standard Webhooks specification: `v1`, HMAC-SHA256 over id, timestamp and body.

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::{ExposeSecret as _, SecretString};

const PREFIX: &str = "whsec_";
/// The most secrets at a time: two during a rotation.
const MOST: usize = 2;

/// The keys that sign; never shown.
pub(super) struct Keys(Vec<Key>);

impl Keys {
    /// Reads one or two secrets, on a line each. An error continues a sentence that begins with the key's name.
    pub(super) fn parse(secrets: &SecretString) -> Result<Self, &'static str> {
        let lines = secrets.expose_secret().split_whitespace();
        let keys: Option<Vec<Key>> = lines.map(key).collect();
        match keys {
            Some(keys) if (1..=MOST).contains(&keys.len()) => Ok(Self(keys)),
            _ => Err(
                "must be one secret, or two on a line each: whsec_ and the Base64 of 24 to 64 random bytes, as \
                 `echo whsec_$(openssl rand -base64 32)` prints one",
            ),
        }
    }

    /// The header `webhook-signature`: a signature by each key.
    pub(super) fn sign(&self, id: &str, timestamp: u64, body: &str) -> String {
        let content = format!("{id}.{timestamp}.{body}");
        let by_one = |key: &Key| format!("v1,{}", BASE64.encode(sign(key, content.as_bytes())));
        let signatures: Vec<String> = self.0.iter().map(by_one).collect();
        signatures.join(" ")
    }
}

fn key(secret: &str) -> Option<Key> {
    let bytes = BASE64.decode(secret.strip_prefix(PREFIX)?).ok()?;
    let is_long = (24..=64).contains(&bytes.len());
    is_long.then(|| Key::new(HMAC_SHA256, &bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    // The specification's published example.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIMESTAMP: u64 = 1_614_265_330;
    const BODY: &str = r#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn keys(text: &str) -> Result<Keys, &'static str> {
        Keys::parse(&text.into())
    }

    #[test]
    fn signature_is_that_of_the_specification() {
        let keys = keys(SECRET).unwrap();
        assert_eq!(keys.sign(ID, TIMESTAMP, BODY), SIGNATURE);
        for (id, timestamp, body) in [
            ("msg_other", TIMESTAMP, BODY),
            (ID, TIMESTAMP + 1, BODY),
            (ID, TIMESTAMP, "{}"),
        ] {
            assert_ne!(keys.sign(id, timestamp, body), SIGNATURE);
        }
    }

    #[test]
    fn both_keys_sign_during_a_rotation() {
        let other = format!("{PREFIX}{}", BASE64.encode([7; 32]));
        let alone = keys(&other).unwrap().sign(ID, TIMESTAMP, BODY);
        let both = keys(&format!("{other}\n{SECRET}\n")).unwrap();
        assert_eq!(
            both.sign(ID, TIMESTAMP, BODY),
            format!("{alone} {SIGNATURE}")
        );
    }

    #[test]
    fn malformed_secrets_are_refused() {
        let of = |bytes: usize| format!("{PREFIX}{}", BASE64.encode(vec![1; bytes]));
        assert!(keys(&of(24)).is_ok() && keys(&of(64)).is_ok());
        let three = [SECRET; 3].join("\n");
        for bad in [
            "",
            "whsec_",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_?",
            &of(23),
            &of(65),
            &three,
        ] {
            assert!(keys(bad).is_err(), "{bad}");
        }
    }
}
