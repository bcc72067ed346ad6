//! Who is it: tokens, with Google well, ailing and down.

use std::time::Duration;

use castaway_media_server::broadcast::{LivestreamId, Role, UserId};
use castaway_media_server::config::{Config, LookupPolicy};
use castaway_media_server::google::{Access, Client, Emulators};
use castaway_media_server::identity::{ApiKey, Identity, IdentityError, Return, Signer, TokenHash};
use prometheus::Registry;

use crate::google_access::pass;
use crate::support::google::{Account, Endpoint, Fault, GoogleDouble, Kind};

fn show() -> LivestreamId {
    LivestreamId::new("show").expect("an id")
}

async fn identity_with(config: &Config, emulators: Emulators) -> Identity {
    let client = Client::new(&config.google, &Registry::new()).expect("a client");
    let api_key = ApiKey::find(config, &emulators).expect("a key or none");
    let access = Access::open(client, &config.google, emulators)
        .await
        .expect("a way in");
    Identity::google(&access, config, api_key)
}

async fn identity(google: &GoogleDouble) -> Identity {
    identity_with(&google.config(), Emulators::default()).await
}

async fn check(identity: &Identity, token: &str, role: Role) -> Result<String, IdentityError> {
    check_in(identity, token, role, &show()).await
}

async fn check_in(
    identity: &Identity,
    token: &str,
    role: Role,
    livestream: &LivestreamId,
) -> Result<String, IdentityError> {
    let verified = identity.verify(token, role, livestream).await?;
    let caller = identity.confirm(verified).await?;
    Ok(caller.user.to_string())
}

fn is_invalid(result: &Result<String, IdentityError>) -> bool {
    matches!(result, Err(IdentityError::Invalid(_)))
}

#[tokio::test]
async fn listener_is_admitted_without_an_identity_call() {
    let google = GoogleDouble::start().await;
    let identity = identity(&google).await;
    let token = google.token("ada", Kind::Valid);
    let all = (0..50).map(|_| check(&identity, &token, Role::Listener));
    for result in futures_util::future::join_all(all).await {
        assert_eq!(result.as_deref(), Ok("ada"));
    }
    assert_eq!(
        google.calls(Endpoint::Keys),
        1,
        "all share one fetch of the keys"
    );
    assert_eq!(google.calls(Endpoint::Lookup), 0);
    assert_eq!(identity.ready().await, Ok(()));
}

#[tokio::test]
async fn bad_tokens_are_refused_for_what_they_are() {
    let google = GoogleDouble::start().await;
    let identity = identity(&google).await;
    for kind in [
        Kind::Foreign,
        Kind::Unsigned,
        Kind::UnknownKey,
        Kind::Forged,
    ] {
        let result = check(&identity, &google.token("ada", kind), Role::Listener).await;
        assert!(is_invalid(&result), "{kind:?}: {result:?}");
    }
    let result = check(
        &identity,
        &google.token("ada", Kind::Expired),
        Role::Listener,
    )
    .await;
    assert_eq!(result, Err(IdentityError::Expired));
}

#[tokio::test]
async fn clocks_may_differ_by_a_minute() {
    let google = GoogleDouble::start().await;
    let identity = identity(&google).await;
    let just_now = google.token("ada", Kind::Ends(-30));
    assert!(check(&identity, &just_now, Role::Listener).await.is_ok());
    let before = google.token("ada", Kind::Ends(-61));
    assert_eq!(
        check(&identity, &before, Role::Listener).await,
        Err(IdentityError::Expired)
    );
}

#[tokio::test]
async fn junk_costs_no_fetch() {
    let google = GoogleDouble::start().await;
    let identity = identity(&google).await;
    for kind in [Kind::Foreign, Kind::Unsigned, Kind::Expired] {
        assert!(
            check(&identity, &google.token("ada", kind), Role::Streamer)
                .await
                .is_err()
        );
    }
    assert!(is_invalid(&check(&identity, "junk", Role::Streamer).await));
    assert_eq!(google.calls(Endpoint::Keys), 0);
    assert_eq!(google.calls(Endpoint::Lookup), 0);
}

#[tokio::test]
async fn unknown_keys_cost_one_fetch_in_thirty_seconds() {
    let google = GoogleDouble::start().await;
    let identity = identity(&google).await;
    let unknown = google.token("ada", Kind::UnknownKey);
    // The keys are fetched for it, so it is certain.
    assert!(is_invalid(
        &check(&identity, &unknown, Role::Listener).await
    ));
    for _ in 0..10 {
        let result = check(&identity, &unknown, Role::Listener).await;
        assert_eq!(result, Err(IdentityError::KeyUnknown));
    }
    assert_eq!(google.calls(Endpoint::Keys), 1);
    google.world().signer = 1;
    let token = google.token("ada", Kind::Valid);
    let result = check(&identity, &token, Role::Listener).await;
    assert_eq!(result, Err(IdentityError::KeyUnknown), "published since");
    pass(Duration::from_secs(31)).await;
    assert_eq!(
        check(&identity, &token, Role::Listener).await.as_deref(),
        Ok("ada")
    );
    assert_eq!(google.calls(Endpoint::Keys), 2);
}

#[tokio::test]
async fn outage_of_the_key_server_is_no_refusal() {
    let google = GoogleDouble::start().await;
    for fault in [
        Fault::Status(500),
        Fault::Status(429),
        Fault::Garbage,
        Fault::Closed,
        Fault::Slow(Duration::from_secs(5)),
    ] {
        let identity = identity(&google).await;
        let token = google.token("ada", Kind::Valid);
        google.fail(Endpoint::Keys, fault, 1);
        let result = check(&identity, &token, Role::Listener).await;
        assert_eq!(result, Err(IdentityError::Unavailable), "{fault:?}");
        assert_eq!(
            check(&identity, &token, Role::Listener).await.as_deref(),
            Ok("ada")
        );
    }
    let identity = identity(&google).await;
    google.stop();
    let token = google.token("ada", Kind::Valid);
    let result = check(&identity, &token, Role::Listener).await;
    assert_eq!(
        result,
        Err(IdentityError::Unavailable),
        "refused connections"
    );
    assert!(identity.ready().await.is_err());
}

#[tokio::test]
async fn known_keys_serve_through_an_outage() {
    let google = GoogleDouble::start().await;
    let identity = identity(&google).await;
    let token = google.token("ada", Kind::Valid);
    assert!(check(&identity, &token, Role::Listener).await.is_ok());
    google.stop();
    for _ in 0..5 {
        pass(Duration::from_hours(1)).await;
        assert_eq!(
            check(&identity, &token, Role::Listener).await.as_deref(),
            Ok("ada")
        );
    }
    let unknown = google.token("ada", Kind::UnknownKey);
    let result = check(&identity, &unknown, Role::Listener).await;
    assert_eq!(
        result,
        Err(IdentityError::Unavailable),
        "a new key cannot be told from a bad one now"
    );
}

#[tokio::test]
async fn disabled_or_deleted_user_does_not_stream() {
    let google = GoogleDouble::start().await;
    let identity = identity(&google).await;
    let token = google.token("ada", Kind::Valid);
    assert!(check(&identity, &token, Role::Streamer).await.is_ok());
    for account in [Account::Disabled, Account::Deleted] {
        google.world().accounts.insert("ada".into(), account);
        assert!(
            is_invalid(&check(&identity, &token, Role::Streamer).await),
            "{account:?}"
        );
        assert!(
            check(&identity, &token, Role::Listener).await.is_ok(),
            "listeners are not looked up"
        );
    }
}

#[tokio::test]
async fn whom_the_policy_names_is_looked_up() {
    let google = GoogleDouble::start().await;
    google
        .world()
        .accounts
        .insert("ada".into(), Account::Disabled);
    let token = google.token("ada", Kind::Valid);
    for (policy, streamer, listener) in [
        (LookupPolicy::Off, true, true),
        (LookupPolicy::Streamers, false, true),
        (LookupPolicy::Everyone, false, false),
    ] {
        let mut config = google.config();
        config.identity.lookup = policy;
        let identity = identity_with(&config, Emulators::default()).await;
        assert_eq!(
            check(&identity, &token, Role::Streamer).await.is_ok(),
            streamer,
            "{policy:?}"
        );
        assert_eq!(
            check(&identity, &token, Role::Listener).await.is_ok(),
            listener,
            "{policy:?}"
        );
    }
}

#[tokio::test]
async fn verified_token_holds_while_the_lookup_fails() {
    let google = GoogleDouble::start().await;
    let identity = identity(&google).await;
    let token = google.token("ada", Kind::Valid);
    for fault in [
        Fault::Status(500),
        Fault::Status(429),
        Fault::Status(403),
        Fault::Garbage,
        Fault::Closed,
        Fault::Slow(Duration::from_secs(5)),
    ] {
        google.fail(Endpoint::Lookup, fault, 1);
        let result = check(&identity, &token, Role::Streamer).await;
        assert_eq!(result.as_deref(), Ok("ada"), "{fault:?}");
    }
    google.world().api_key = Some("another".into());
    assert!(
        check(&identity, &token, Role::Streamer).await.is_ok(),
        "a wrong API key is not the user's fault"
    );
}

#[tokio::test]
async fn lost_socket_returns_on_an_expired_token() {
    let google = GoogleDouble::start().await;
    let identity = identity(&google).await;
    let token = google.token("ada", Kind::Expired);
    let to = |token: &str| Return {
        user: UserId::new("ada"),
        role: Role::Streamer,
        livestream: show(),
        token: TokenHash::of(token),
    };
    identity.enter(&to(&token));
    identity.lost(&to(&token));
    assert_eq!(
        check(&identity, &token, Role::Streamer).await.as_deref(),
        Ok("ada")
    );
    assert_eq!(
        check(&identity, &token, Role::Listener).await,
        Err(IdentityError::Expired)
    );
    let other = LivestreamId::new("other").expect("an id");
    let elsewhere = check_in(&identity, &token, Role::Streamer, &other).await;
    assert_eq!(elsewhere, Err(IdentityError::Expired));
    let fresh = identity.check(&token, Role::Streamer).await;
    assert_eq!(fresh, Err(IdentityError::Expired), "it is no fresh token");

    pass(Duration::from_secs(119)).await;
    assert!(check(&identity, &token, Role::Streamer).await.is_ok());
    pass(Duration::from_secs(2)).await;
    assert_eq!(
        check(&identity, &token, Role::Streamer).await,
        Err(IdentityError::Expired)
    );

    identity.enter(&to(&token));
    assert!(check(&identity, &token, Role::Streamer).await.is_ok());
    identity.left(&to(&token));
    assert_eq!(
        check(&identity, &token, Role::Streamer).await,
        Err(IdentityError::Expired),
        "it has left"
    );

    let forged = format!("{}AAAA", &token[..token.len() - 4]);
    identity.enter(&to(&forged));
    assert!(
        is_invalid(&check(&identity, &forged, Role::Streamer).await),
        "its signature is checked still"
    );
}

#[tokio::test]
async fn unsigned_tokens_need_the_auth_emulator() {
    let google = GoogleDouble::start().await;
    google.world().api_key = Some("emulator".into());
    let mut config = google.config();
    config.google.api_key = None;
    let emulators = Emulators {
        auth: Some(google.address.to_string()),
        ..Emulators::default()
    };
    let identity = identity_with(&config, emulators).await;
    let token = google.token("ada", Kind::Unsigned);
    assert_eq!(
        check(&identity, &token, Role::Streamer).await.as_deref(),
        Ok("ada")
    );
    assert_eq!(
        google.calls(Endpoint::Lookup),
        1,
        "the emulator's accounts are looked up"
    );
    assert_eq!(google.calls(Endpoint::Keys), 0);
    assert!(is_invalid(
        &check(&identity, &google.token("ada", Kind::Valid), Role::Listener).await
    ));
}

#[tokio::test]
async fn tokens_of_the_demo_are_verified_alike() {
    let (signer, another) = (
        Signer::new("demo").expect("keys"),
        Signer::new("demo").expect("keys"),
    );
    let config = Config::default();
    let identity = Identity::local(&signer, &config.identity).expect("an identity");
    let hour = Duration::from_hours(1);
    let token = signer.mint(&UserId::new("ada"), hour);
    assert_eq!(
        check(&identity, &token, Role::Streamer).await.as_deref(),
        Ok("ada")
    );
    let forged = another.mint(&UserId::new("ada"), hour);
    assert!(is_invalid(&check(&identity, &forged, Role::Streamer).await));
    let late = identity.with_clock(|| std::time::SystemTime::now() + Duration::from_secs(3700));
    assert_eq!(
        check(&late, &token, Role::Streamer).await,
        Err(IdentityError::Expired)
    );
}
