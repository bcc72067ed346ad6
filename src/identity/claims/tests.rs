//! A table of forged tokens: each differs from a good one in a single field.

use std::sync::OnceLock;

use jsonwebtoken::{EncodingKey, Header};
use proptest::{prop_assert, proptest};
use serde_json::{Value, json};

use super::*;
use crate::identity::Signer;

const PROJECT: &str = "castaway-test";
const NOW: u64 = 1_800_000_000;
const SKEW: u64 = 60;

fn signer() -> &'static Signer {
    static SIGNER: OnceLock<Signer> = OnceLock::new();
    SIGNER.get_or_init(|| Signer::new(PROJECT).expect("a key pair"))
}

fn rules(unsigned: bool) -> Rules {
    Rules::firebase(PROJECT, Duration::from_secs(SKEW), unsigned)
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

fn claims() -> Value {
    json!({
        "iss": format!("https://securetoken.google.com/{PROJECT}"),
        "aud": PROJECT,
        "sub": "user",
        "iat": NOW - 10,
        "auth_time": NOW - 1000,
        "exp": NOW + 3590,
        "firebase": {"sign_in_provider": "password"},
    })
}

fn with(key: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[key] = value;
    claims
}

fn without(key: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().expect("an object").remove(key);
    claims
}

fn header() -> Value {
    json!({"alg": "RS256", "kid": "made-at-start", "typ": "JWT"})
}

fn encode(part: &Value) -> String {
    URL_SAFE_NO_PAD.encode(part.to_string())
}

/// A token with these claims, signed with the right key.
fn signed(header: &Value, claims: &Value) -> String {
    let message = format!("{}.{}", encode(header), encode(claims));
    let signature = signer().sign(&message);
    format!("{message}.{signature}")
}

fn unsigned(claims: &Value) -> String {
    format!(
        "{}.{}.",
        encode(&json!({"alg": "none", "typ": "JWT"})),
        encode(claims)
    )
}

/// The checks of claims and signature, as in [`Identity::check`](crate::identity::Identity::check).
fn verify(token: &str) -> Result<UserId, &'static str> {
    let read = Token::read(token, &rules(false), now())?;
    if read.expired {
        return Err("expired");
    }
    if !read.is_signed_by(&signer().verifying_key().expect("a key")) {
        return Err("signature");
    }
    Ok(read.user)
}

#[test]
fn good_token_names_its_user() {
    assert_eq!(
        verify(&signed(&header(), &claims())),
        Ok(UserId::new("user"))
    );
}

#[test]
fn token_at_the_edge_is_accepted() {
    for claims in [
        with("iat", json!(NOW + SKEW)),
        with("auth_time", json!(NOW + SKEW)),
        with("exp", json!(NOW - SKEW + 1)),
        with("sub", json!("x".repeat(128))),
        with("sub", json!("é".repeat(128))),
    ] {
        assert!(verify(&signed(&header(), &claims)).is_ok(), "{claims}");
    }
}

#[test]
fn token_with_one_wrong_claim_is_refused() {
    for (claims, reason) in [
        (with("aud", json!("another")), "it is for another project"),
        (with("aud", json!([PROJECT])), "its claims cannot be read"),
        (without("aud"), "its claims cannot be read"),
        (
            with("iss", json!("https://securetoken.google.com/another")),
            "it is from another issuer",
        ),
        (
            with(
                "iss",
                json!([format!("https://securetoken.google.com/{PROJECT}")]),
            ),
            "its claims cannot be read",
        ),
        (
            with(
                "iss",
                json!(format!("https://session.firebase.google.com/{PROJECT}")),
            ),
            "it is from another issuer",
        ),
        (without("iss"), "its claims cannot be read"),
        (with("sub", json!("")), "it names no user"),
        (with("sub", json!("x".repeat(129))), "it names no user"),
        (with("sub", json!(17)), "its claims cannot be read"),
        (without("sub"), "its claims cannot be read"),
        (with("exp", json!(NOW - SKEW)), "expired"),
        (with("exp", json!(0)), "expired"),
        (with("exp", json!("tomorrow")), "its claims cannot be read"),
        (with("exp", json!(-1)), "its claims cannot be read"),
        (with("exp", json!(u64::MAX)), "it never expires"),
        (without("exp"), "its claims cannot be read"),
        (
            with("iat", json!(NOW + SKEW + 1)),
            "it was issued in the future",
        ),
        (without("iat"), "its claims cannot be read"),
        (
            with("auth_time", json!(NOW + SKEW + 1)),
            "its user signed in in the future",
        ),
        (without("auth_time"), "its claims cannot be read"),
        (json!([]), "its claims cannot be read"),
    ] {
        assert_eq!(verify(&signed(&header(), &claims)), Err(reason), "{claims}");
    }
}

#[test]
fn token_with_a_wrong_header_is_refused() {
    for (header, reason) in [
        (json!({"alg": "RS256"}), "it names no key"),
        (json!({"alg": "RS256", "kid": ""}), "it names no key"),
        (
            json!({"alg": "RS256", "kid": 1}),
            "its header cannot be read",
        ),
        (
            json!({"alg": "none", "kid": "made-at-start"}),
            "its algorithm is not RS256",
        ),
        (
            json!({"alg": "None", "kid": "made-at-start"}),
            "its algorithm is not RS256",
        ),
        (
            json!({"alg": "HS256", "kid": "made-at-start"}),
            "its algorithm is not RS256",
        ),
        (
            json!({"alg": "RS512", "kid": "made-at-start"}),
            "its algorithm is not RS256",
        ),
        (
            json!({"alg": "PS256", "kid": "made-at-start"}),
            "its algorithm is not RS256",
        ),
        (json!({"kid": "made-at-start"}), "its header cannot be read"),
    ] {
        assert_eq!(verify(&signed(&header, &claims())), Err(reason), "{header}");
    }
}

#[test]
fn token_signed_with_the_public_key_is_refused() {
    let public = signer().jwk_text();
    for said in ["HS256", "RS256"] {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some("made-at-start".into());
        let forged = jsonwebtoken::encode(
            &header,
            &claims(),
            &EncodingKey::from_secret(public.as_bytes()),
        )
        .expect("a token");
        let (_, rest) = forged.split_once('.').expect("a JWT");
        let head = encode(&json!({"alg": said, "kid": "made-at-start"}));
        assert!(verify(&format!("{head}.{rest}")).is_err(), "{said}");
    }
}

#[test]
fn token_signed_by_another_key_is_refused() {
    let other = Signer::new(PROJECT).expect("a key pair");
    let message = format!("{}.{}", encode(&header()), encode(&claims()));
    let forged = format!("{message}.{}", other.sign(&message));
    assert_eq!(verify(&forged), Err("signature"));
}

#[test]
fn token_with_any_changed_letter_is_refused() {
    let good = signed(&header(), &claims());
    for at in (0..good.len()).step_by(7) {
        let mut forged = good.clone().into_bytes();
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).expect("ASCII");
        if forged != good {
            assert!(verify(&forged).is_err(), "the letter {at}");
        }
    }
}

#[test]
fn truncated_or_huge_token_is_refused() {
    let good = signed(&header(), &claims());
    for end in 0..good.len() {
        assert!(verify(&good[..end]).is_err(), "the first {end} letters");
    }
    for junk in [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "a.b.c.d",
        "\u{0}.\u{0}.\u{0}",
        &".".repeat(8192),
    ] {
        assert!(verify(junk).is_err(), "{junk:?}");
    }
    let huge = signed(&header(), &with("more", json!("x".repeat(MAX_TOKEN))));
    assert_eq!(verify(&huge), Err("it is longer than 8 KiB"));
    assert!(verify(&format!("{good}=")).is_err());
    assert!(verify(&format!("{good} ")).is_err());
}

#[test]
fn repeated_claim_is_refused() {
    let twice = claims().to_string().replacen('{', r#"{"sub":"other","#, 1);
    let message = format!("{}.{}", encode(&header()), URL_SAFE_NO_PAD.encode(twice));
    let forged = format!("{message}.{}", signer().sign(&message));
    assert_eq!(verify(&forged), Err("its claims cannot be read"));
}

#[test]
fn unsigned_token_is_accepted_with_the_emulator_only() {
    assert!(verify(&unsigned(&claims())).is_err());
    let read = |token: &str| Token::read(token, &rules(true), now()).map(|it| it.user);
    assert_eq!(read(&unsigned(&claims())), Ok(UserId::new("user")));
    assert!(read(&format!("{}AAAA", unsigned(&claims()))).is_err());
    assert!(read(&signed(&header(), &claims())).is_err());
    assert!(read(&unsigned(&with("aud", json!("another")))).is_err());
    let expired = unsigned(&with("exp", json!(NOW - SKEW)));
    assert!(
        Token::read(&expired, &rules(true), now())
            .expect("readable")
            .expired
    );
}

proptest! {
    #[test]
    fn junk_is_refused(header in ".{0,40}", claims in ".{0,80}", signature in "[A-Za-z0-9_.-]{0,20}") {
        let plain = verify(&format!("{header}.{claims}.{signature}"));
        prop_assert!(plain.is_err());
        let encoded = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
        let encoded = verify(&format!("{}.{signature}", encoded.join(".")));
        prop_assert!(encoded.is_err());
    }
}
