//! Bans: who is kept out, where it is checked, and how long it holds.

use castaway_media_server::config::PassPolicy;
use serde_json::json;

use super::{ask, beside, open, start};
use crate::support::app::TestApp;
use crate::support::client::{Client, Said, Way, clip};

const BANNED: &str = "Banned by the operator of this service.";

async fn ban(app: &TestApp, subject: &str) {
    let (status, answer) = ask(app, "PUT", &format!("/bans/{subject}"), Some("{}")).await;
    assert_eq!(status, 201, "{answer}");
}

#[tokio::test]
async fn banned_streamer_leaves_the_air_for_good() {
    let app = start().await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let mut listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
    ban(&app, "user/ada").await;
    streamer.upload(&clip(1, 100)).await;
    let token = app.token("ada");
    streamer
        .say(&format!(r#"2/streamer,3["token","{token}"]"#))
        .await;
    streamer.hears_error(BANNED).await;
    let refused = json!({ "ok": false, "error": BANNED });
    assert_eq!(streamer.next().await, Said::Ack(3, refused));
    assert_eq!(streamer.next().await, Said::Disconnect);
    assert_eq!(listener.next().await, Said::Disconnect, "without the clip");
    let uploads = r#"castaway_uploads_refused_total{reason="banned"}"#;
    assert_eq!(app.metric(uploads), 1);
    app.until_it_says("show", false).await;
    for (namespace, livestream) in [
        ("/streamer", "show"),
        ("/streamer", "other"),
        ("/listener", "show"),
    ] {
        let mut back = Client::knock(&app, Way::WebSocket, namespace, "ada", livestream).await;
        back.is_sent_away(BANNED).await;
    }
    assert_eq!(ask(&app, "DELETE", "/bans/user/ada", None).await.0, 204);
    Client::streamer(&app, Way::WebSocket, "show").await;
}

#[tokio::test]
async fn banned_listener_alone_is_kept_out() {
    let app = start().await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let mut bob = Client::listener(&app, Way::Polling, "bob", "show").await;
    let mut eve = Client::listener(&app, Way::WebSocket, "eve", "show").await;
    ban(&app, "user/bob").await;
    bob.is_sent_away(BANNED).await;
    streamer.upload(&clip(1, 100)).await;
    streamer.is_received().await;
    eve.hears(&clip(1, 100)).await;
    let mut back = Client::knock(&app, Way::WebSocket, "/listener", "bob", "show").await;
    back.is_sent_away(BANNED).await;
}

#[tokio::test]
async fn banned_livestream_is_over_for_everybody() {
    let app = start().await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let mut listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
    ban(&app, "livestream/show").await;
    streamer.is_sent_away(BANNED).await;
    listener.is_sent_away(BANNED).await;
    for (namespace, user) in [("/streamer", "ada"), ("/listener", "eve")] {
        let mut back = Client::knock(&app, Way::WebSocket, namespace, user, "show").await;
        back.is_sent_away(BANNED).await;
    }
    Client::streamer(&app, Way::WebSocket, "other").await;
}

#[tokio::test]
async fn listening_pass_is_no_way_around_a_ban() {
    let app = TestApp::with_config(|config| {
        open(config);
        config.listener.passes = PassPolicy::Streamers;
    })
    .await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    streamer.say("2/streamer,7[\"invite\",{}]").await;
    let Said::Ack(7, answer) = streamer.next().await else {
        panic!("no answer");
    };
    let pass = answer["pass"].as_str().expect("a pass");
    let named = [("id-token", pass), ("livestream-id", "show")];
    let knock = async || {
        let mut guest = Client::open(&app, Way::WebSocket, "/listener", &named).await;
        guest.connect().await;
        guest
    };
    let mut guest = knock().await;
    let Said::Text(_, text) = guest.next().await else {
        panic!("no success");
    };
    let user = text.split(' ').nth(1).expect("User guest-… connected");
    ban(&app, &format!("user/{user}")).await;
    guest.hears_error(BANNED).await;
    guest
        .say(&format!(r#"2/listener,3["token","{pass}"]"#))
        .await;
    let refused = json!({ "ok": false, "error": BANNED });
    assert_eq!(guest.next().await, Said::Ack(3, refused));
    assert_eq!(guest.next().await, Said::Disconnect);
    ban(&app, "livestream/show").await;
    let ended = "Listening pass has ended, ask the streamer for a new link.";
    knock().await.is_sent_away(ended).await;
    let admitted = "castaway_passes_total{event=\"admitted\"}";
    assert_eq!(app.metric(admitted), 1);
}

#[tokio::test]
async fn ban_holds_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let app = beside(&directory).await;
    ban(&app, "user/ada").await;
    app.stop().await;
    let app = beside(&directory).await;
    let mut back = Client::knock(&app, Way::WebSocket, "/streamer", "ada", "show").await;
    back.is_sent_away(BANNED).await;
    let (status, found) = ask(&app, "GET", "/bans/user/ada", None).await;
    assert_eq!((status, &found["kind"]), (200, &json!("user")));
}

#[tokio::test]
async fn number_of_bans_has_a_limit() {
    let app = TestApp::with_config(|config| {
        open(config);
        config.api.max_bans = 1;
    })
    .await;
    ban(&app, "user/bob").await;
    let (status, problem) = ask(&app, "PUT", "/bans/user/eve", Some("{}")).await;
    assert_eq!(status, 409);
    assert!(
        problem["detail"]
            .as_str()
            .expect("a text")
            .contains("api.max_bans")
    );
}
