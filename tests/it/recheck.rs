//! What was true when a livestream began and no longer is: its flag, its document, its streamer's account.

use std::time::Duration;

use bytes::Bytes;

use crate::support::app::TestApp;
use crate::support::client::{Client, Said, Way};
use crate::support::google::{Account, Endpoint, Fault, Kind};

async fn rechecking() -> TestApp {
    TestApp::with_config(|config| config.livestream.recheck_interval = Duration::from_secs(1)).await
}

#[tokio::test]
async fn stale_flag_lets_nobody_in_and_is_cleared() {
    let app = TestApp::start().await;
    app.google.world().put_livestream("stale", "ada", true);
    for way in [Way::WebSocket, Way::Polling] {
        let mut listener = Client::knock(&app, way, "/listener", "bob", "stale").await;
        listener
            .is_sent_away("Livestream stale has not started.")
            .await;
    }
    app.until_it_says("stale", false).await;
    Client::streamer(&app, Way::WebSocket, "stale").await;
    app.until_it_says("stale", true).await;
    Client::listener(&app, Way::WebSocket, "bob", "stale").await;
}

#[tokio::test]
async fn deleted_document_ends_its_livestream_for_everybody() {
    let app = rechecking().await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let mut listener = Client::listener(&app, Way::Polling, "bob", "show").await;
    let mut other = Client::streamer(&app, Way::WebSocket, "other").await;
    app.google.world().delete_livestream("show");
    assert_eq!(streamer.next().await, Said::Disconnect);
    assert_eq!(listener.next().await, Said::Disconnect);
    assert_eq!(app.says("show"), None, "it is not created again");
    other.upload(&Bytes::from_static(b"clip")).await;
    other.is_received().await;
    let mut late = Client::knock(&app, Way::WebSocket, "/listener", "eve", "show").await;
    late.is_sent_away("Livestream show does not exist.").await;
}

#[tokio::test]
async fn deleted_document_ends_the_grace_period() {
    let app = rechecking().await;
    let streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let mut listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
    drop(streamer);
    let lost = r#"castaway_livestream_events_total{event="streamer_lost"}"#;
    app.until_metric(lost, |count| count == 1).await;
    app.google.world().delete_livestream("show");
    assert_eq!(listener.next().await, Said::Disconnect);
}

#[tokio::test]
async fn outage_ends_no_livestream() {
    let app = rechecking().await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    app.google.world().delete_livestream("show");
    app.google
        .world()
        .accounts
        .insert("ada".into(), Account::Disabled);
    app.google.fail(Endpoint::Read, Fault::Status(503), 1000);
    app.google.fail(Endpoint::Lookup, Fault::Garbage, 1000);
    for subject in ["document", "account"] {
        let unknown =
            format!(r#"castaway_rechecks_total{{outcome="unknown",subject="{subject}"}}"#);
        app.until_metric(&unknown, |count| count > 0).await;
    }
    streamer.upload(&Bytes::from_static(b"clip")).await;
    streamer.is_received().await;
}

#[tokio::test]
async fn streamer_without_an_account_is_off_the_air() {
    for account in [Account::Disabled, Account::Deleted] {
        let app = rechecking().await;
        let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
        let mut listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
        app.google.world().accounts.insert("ada".into(), account);
        streamer.is_sent_away("Id token is invalid.").await;
        assert_eq!(listener.next().await, Said::Disconnect);
        app.until_it_says("show", false).await;
    }
}

#[tokio::test]
async fn streamer_with_an_expired_token_is_rechecked() {
    let app = rechecking().await;
    app.google.world().looks_at_expiry = true;
    let token = app.google.token("ada", Kind::Ends(2));
    let named = [("id-token", &*token), ("livestream-id", "show")];
    let mut streamer = Client::open(&app, Way::WebSocket, "/streamer", &named).await;
    streamer.connect().await;
    streamer.is_let_in("ada", "streamer", "show").await;
    // Its token has expired by the third look.
    let good = r#"castaway_rechecks_total{outcome="good",subject="account"}"#;
    app.until_metric(good, |count| count >= 3).await;
    app.google
        .world()
        .accounts
        .insert("ada".into(), Account::Disabled);
    streamer.is_sent_away("Id token is invalid.").await;
}
