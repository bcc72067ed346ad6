//! Listening passes: a streamer invites listeners who have no account.

use castaway_media_server::app::Directories;
use castaway_media_server::config::{Config, PassPolicy};
use serde_json::{Value, json};

use crate::support::app::{TestApp, world};
use crate::support::client::{Client, Said, Way, clip};

const ENDED: &str = "Listening pass has ended, ask the streamer for a new link.";

fn on(config: &mut Config) {
    config.listener.passes = PassPolicy::Streamers;
}

/// Asks for a pass; `wish` is the argument's JSON.
async fn ask(streamer: &mut Client, wish: &str) -> Value {
    streamer
        .say(&format!("2/streamer,7[\"invite\",{wish}]"))
        .await;
    match streamer.next().await {
        Said::Ack(7, answer) => answer,
        said => panic!("no answer but {said:?}"),
    }
}

async fn pass(streamer: &mut Client) -> String {
    let answer = ask(streamer, "{\"expiresIn\":600}").await;
    assert_eq!(answer["ok"], json!(true), "{answer}");
    answer["pass"].as_str().expect("a pass").to_owned()
}

/// A client that brings `pass` in this namespace, and is connected: the verdict is still to come.
async fn bring(app: &TestApp, namespace: &'static str, pass: &str, livestream: &str) -> Client {
    let named = [("id-token", pass), ("livestream-id", livestream)];
    let mut client = Client::open(app, Way::WebSocket, namespace, &named).await;
    client.connect().await;
    client
}

async fn is_admitted(guest: &mut Client) {
    match guest.next().await {
        Said::Text(event, text) => {
            assert_eq!(event, "success", "{text}");
            assert!(text.starts_with("User guest-"), "{text}");
            assert!(
                text.ends_with(" connected as listener to livestream show."),
                "{text}"
            );
        }
        said => panic!("no success but {said:?}"),
    }
}

#[tokio::test]
async fn pass_admits_any_number_of_listeners() {
    let app = TestApp::with_config(|config| {
        on(config);
        config.server.max_sockets_per_user = 1;
    })
    .await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let pass = pass(&mut streamer).await;
    let mut first = bring(&app, "/listener", &pass, "show").await;
    is_admitted(&mut first).await;
    // As browsers bring it.
    let mut second = Client::open(&app, Way::Polling, "/listener", &[]).await;
    let auth = json!({ "idToken": pass, "livestreamId": "show" });
    second.connect_with(&auth).await;
    is_admitted(&mut second).await;
    streamer.upload(&clip(1, 100)).await;
    first.hears(&clip(1, 100)).await;
    second.hears(&clip(1, 100)).await;
    assert_eq!(app.metric("castaway_passes_total{event=\"issued\"}"), 1);
    assert_eq!(app.metric("castaway_passes_total{event=\"admitted\"}"), 2);
}

#[tokio::test]
async fn pass_is_for_its_livestream_and_listeners_alone() {
    let app = TestApp::with_config(on).await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let pass = pass(&mut streamer).await;
    let text = "Listening pass is for another livestream, ask the streamer for a new link.";
    let mut elsewhere = bring(&app, "/listener", &pass, "other").await;
    elsewhere.is_sent_away(text).await;
    let mut posing = bring(&app, "/streamer", &pass, "show").await;
    posing
        .is_sent_away("A listening pass cannot stream, sign in to stream.")
        .await;
    let (message, signature) = pass.rsplit_once('.').expect("a signature");
    let forged = format!("{message}.{}", "A".repeat(signature.len()));
    let mut guessing = bring(&app, "/listener", &forged, "show").await;
    guessing
        .is_sent_away("Listening pass is invalid, ask the streamer for a new link.")
        .await;
    let refusals = |reason: &str| {
        app.metric(&format!(
            "castaway_refusals_total{{reason=\"{reason}\",role=\"listener\"}}"
        ))
    };
    assert_eq!(refusals("pass_invalid"), 2);
}

#[tokio::test]
async fn end_of_the_livestream_revokes_its_passes() {
    let state = tempfile::tempdir().expect("a directory");
    let directories = Directories {
        state: Some(state.path().to_owned()),
        runtime: None,
    };
    let app = TestApp::beside(world().await, &directories, on).await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let pass = pass(&mut streamer).await;
    let mut listener = bring(&app, "/listener", &pass, "show").await;
    is_admitted(&mut listener).await;
    streamer.leave().await;
    assert_eq!(listener.next().await, Said::Disconnect);
    // Streamed again: the old link stays dead, here and after a restart.
    let mut again = Client::streamer(&app, Way::WebSocket, "show").await;
    bring(&app, "/listener", &pass, "show")
        .await
        .is_sent_away(ENDED)
        .await;
    again.leave().await;
    let google = app.stop().await;
    let app = TestApp::beside(google, &directories, on).await;
    let mut again = Client::streamer(&app, Way::WebSocket, "show").await;
    bring(&app, "/listener", &pass, "show")
        .await
        .is_sent_away(ENDED)
        .await;
    let fresh = self::pass(&mut again).await;
    is_admitted(&mut bring(&app, "/listener", &fresh, "show").await).await;
}

#[tokio::test]
async fn pass_survives_a_restart_of_the_daemon() {
    let directory = || tempfile::tempdir().expect("a directory");
    let (state, runtime) = (directory(), directory());
    let directories = Directories {
        state: Some(state.path().to_owned()),
        runtime: Some(runtime.path().to_owned()),
    };
    let app = TestApp::beside(world().await, &directories, on).await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let pass = pass(&mut streamer).await;
    let google = app.stop().await;
    let app = TestApp::beside(google, &directories, on).await;
    let _streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    is_admitted(&mut bring(&app, "/listener", &pass, "show").await).await;
}

#[tokio::test]
async fn wish_for_a_pass_is_bounded() {
    let app = TestApp::with_config(|config| {
        on(config);
        config.passes.per_minute = 2;
    })
    .await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    for wish in [
        "{\"expiresIn\":0}",
        "{\"expiresIn\":86401}",
        "{\"expiresIn\":1.5}",
        "{\"expiresIn\":\"1\"}",
        "7",
    ] {
        let answer = ask(&mut streamer, wish).await;
        let text = "expiresIn must be a whole number of seconds from 1 to 86400.";
        assert_eq!(answer, json!({ "ok": false, "error": text }), "{wish}");
    }
    for wish in ["{}", "{\"expiresIn\":86400}"] {
        assert_eq!(ask(&mut streamer, wish).await["ok"], json!(true));
    }
    let refused = ask(&mut streamer, "{}").await;
    let wait = refused["retryAfterMs"].as_u64().expect("a time");
    let text = format!("Invite rate limit exceeded, retry in {wait} ms.");
    assert_eq!(refused["error"], json!(text));
    assert!((1..=30_000).contains(&wait), "{wait}");
}

#[tokio::test]
async fn listener_replaces_its_token_by_a_pass() {
    let app = TestApp::with_config(on).await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let pass = pass(&mut streamer).await;
    let mut listener = bring(&app, "/listener", &pass, "show").await;
    is_admitted(&mut listener).await;
    for (token, answer) in [
        (&*pass, json!({ "ok": true })),
        (
            "junk",
            json!({ "ok": false, "error": "Id token is invalid." }),
        ),
    ] {
        listener
            .say(&format!("2/listener,9[\"token\",\"{token}\"]"))
            .await;
        assert_eq!(listener.next().await, Said::Ack(9, answer));
    }
}

#[tokio::test]
async fn passes_are_off_by_default() {
    let app = TestApp::start().await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let answer = ask(&mut streamer, "{}").await;
    let text = "Listening passes are off on this server.";
    assert_eq!(answer, json!({ "ok": false, "error": text }));
    let elsewhere = TestApp::with_config(on).await;
    let mut other = Client::streamer(&elsewhere, Way::WebSocket, "show").await;
    let pass = pass(&mut other).await;
    bring(&app, "/listener", &pass, "show")
        .await
        .is_sent_away("Listening passes are off on this server, sign in to listen.")
        .await;
}

#[tokio::test]
async fn only_the_streamer_on_air_gets_passes() {
    let app = TestApp::with_config(on).await;
    let mut listener = {
        let _streamer = Client::streamer(&app, Way::WebSocket, "show").await;
        Client::listener(&app, Way::WebSocket, "bob", "show").await
    };
    listener.say("2/listener,7[\"invite\",{}]").await;
    let answer = json!({ "ok": false, "error": "Unknown event invite." });
    assert_eq!(listener.next().await, Said::Ack(7, answer));
}
