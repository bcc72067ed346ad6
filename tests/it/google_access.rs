//! The way into Google: project, access tokens, and the client that leaves a dead dependency alone.

use std::time::Duration;

use castaway_media_server::google::{Access, Client, Dependency, Emulators, GoogleError, Health};
use castaway_media_server::metrics::Metrics;
use castaway_media_server::{broadcast::LivestreamId, directory::Directory, directory::Freshness};
use prometheus::Registry;

use crate::support::google::{Endpoint, Fault, GoogleDouble};

fn metadata(google: &GoogleDouble) -> Emulators {
    Emulators {
        metadata: Some(google.address.to_string()),
        ..Emulators::default()
    }
}

async fn open(
    google: &GoogleDouble,
    with_account: bool,
    registry: &Registry,
) -> Result<Access, GoogleError> {
    let mut config = google.config().google;
    if !with_account {
        config.client_email = None;
        config.private_key = None;
        config.project_id = None;
    }
    let client = Client::new(&config, registry)?;
    Access::open(client, &config, metadata(google)).await
}

#[tokio::test]
async fn service_account_is_granted_one_token() {
    let google = GoogleDouble::start().await;
    let access = open(&google, true, &Registry::new())
        .await
        .expect("a way in");
    assert_eq!(&*access.project, "castaway-test");
    let asked = futures_util::future::join_all((0..20).map(|_| access.authorization())).await;
    for authorization in asked {
        let authorization = authorization.expect("a token");
        assert_eq!(*authorization, "Bearer ya29.token-1");
        assert!(authorization.is_sensitive());
    }
    assert_eq!(google.calls(Endpoint::Token), 1);
    assert_eq!(google.calls(Endpoint::MetadataToken), 0);
}

#[tokio::test]
async fn virtual_machine_needs_no_key() {
    let google = GoogleDouble::start().await;
    let access = open(&google, false, &Registry::new())
        .await
        .expect("a way in");
    assert_eq!(&*access.project, "castaway-test");
    let authorization = access.authorization().await.expect("a token");
    assert_eq!(*authorization, "Bearer ya29.token-1");
    assert_eq!(google.calls(Endpoint::MetadataToken), 1);
    assert_eq!(google.calls(Endpoint::Token), 0);
}

#[tokio::test]
async fn start_without_a_project_says_what_to_set() {
    let google = GoogleDouble::start().await;
    google.fail(Endpoint::MetadataProject, Fault::Status(404), 1);
    let Err(error) = open(&google, false, &Registry::new()).await else {
        panic!("there is no project");
    };
    let shown = error.to_string();
    assert!(shown.starts_with("google.project_id is not set"), "{shown}");
    assert!(shown.contains("PROJECT_ID"), "{shown}");
}

#[tokio::test]
async fn access_token_is_renewed_ahead() {
    let google = GoogleDouble::start().await;
    let access = open(&google, true, &Registry::new())
        .await
        .expect("a way in");
    assert_eq!(
        *access.authorization().await.expect("a token"),
        "Bearer ya29.token-1"
    );
    pass(Duration::from_secs(3400)).await;
    assert_eq!(
        *access.authorization().await.expect("the old one"),
        "Bearer ya29.token-1"
    );
    google.until(|it| it.calls(Endpoint::Token) == 2).await;
    loop {
        let authorization = access.authorization().await.expect("a token");
        if *authorization == "Bearer ya29.token-2" {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn circuit_breaker_leaves_the_other_dependencies_alone() {
    let google = GoogleDouble::start().await;
    let registry = Registry::new();
    let access = open(&google, true, &registry).await.expect("a way in");
    access.authorization().await.expect("a token");
    let config = google.config().google;
    let directory =
        Directory::firestore(access.clone(), &config, None, &Metrics::new()).expect("a directory");
    let id = LivestreamId::new("show").expect("an id");
    google.fail(Endpoint::Read, Fault::Status(503), 100);
    for _ in 0..20 {
        assert!(directory.find(&id, Freshness::Fresh).await.is_err());
    }
    assert_eq!(google.calls(Endpoint::Read), 5);
    let health = access.client.health();
    assert!(
        health.contains(&(Dependency::Firestore, Health::Down)),
        "{health:?}"
    );
    assert!(
        health.contains(&(Dependency::Token, Health::Up)),
        "{health:?}"
    );
    google.heal();
    pass(Duration::from_secs(2)).await;
    assert_eq!(directory.find(&id, Freshness::Fresh).await, Ok(None));
    assert!(
        access
            .client
            .health()
            .contains(&(Dependency::Firestore, Health::Up))
    );

    let metrics = prometheus::TextEncoder::new()
        .encode_to_string(&registry.gather())
        .expect("text");
    for line in [
        r#"castaway_google_requests_total{dependency="firestore",outcome="error"} 5"#,
        r#"castaway_google_requests_total{dependency="firestore",outcome="left_alone"} 15"#,
        r#"castaway_google_requests_total{dependency="firestore",outcome="ok"} 1"#,
        r#"castaway_google_request_duration_seconds_count{dependency="firestore"} 6"#,
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
}

#[tokio::test]
async fn wait_for_a_turn_is_nobodys_failure() {
    let google = GoogleDouble::start().await;
    google.world().put_livestream("show", "ada", false);
    let mut config = google.config().google;
    config.max_requests = 2;
    config.request_timeout = Duration::from_secs(2);
    let client = Client::new(&config, &Registry::new()).expect("a client");
    let access = Access::open(client, &config, metadata(&google))
        .await
        .expect("a way in");
    let directory =
        Directory::firestore(access.clone(), &config, None, &Metrics::new()).expect("a directory");
    let id = |text: String| LivestreamId::new(&text).expect("an id");
    google.fail(
        Endpoint::Read,
        Fault::Slow(Duration::from_millis(1400)),
        1000,
    );
    let ids: Vec<LivestreamId> = (0..60).map(|n| id(format!("no-{n}"))).collect();
    let flood = ids.iter().map(|id| directory.find(id, Freshness::Cached));
    let flood = futures_util::future::join_all(flood);
    let streamer = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        directory.find(&id("show".into()), Freshness::Fresh).await
    };
    let (flood, streamer) = tokio::join!(flood, streamer);
    assert!(
        flood.iter().any(Result::is_err),
        "more than could have a turn"
    );
    // Two at once: the second pair's turn comes when more than half of the time is over, and it has all of it.
    assert_eq!(flood.iter().filter(|found| found.is_ok()).count(), 4);
    assert!(matches!(streamer, Ok(Some(_))), "{streamer:?}");
    let health = access.client.health();
    assert!(
        health.contains(&(Dependency::Firestore, Health::Up)),
        "{health:?}"
    );
}

/// Lets time pass for the timers, in no time.
pub(crate) async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}
