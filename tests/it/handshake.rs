//! The namespaces' doors: who is let in, who is not, and in which words.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::app::TestApp;
use crate::support::client::{Client, Said, Way, clip};
use crate::support::google::{Endpoint, Fault, Kind};
use crate::support::wire::{Packet, Wire, headers, http_client};

/// Knocks with these headers and is sent away with this text.
async fn is_refused(
    app: &TestApp,
    way: Way,
    namespace: &'static str,
    named: &[(&str, &str)],
    text: &str,
) {
    let mut client = Client::open(app, way, namespace, named).await;
    client.connect().await;
    client.is_sent_away(text).await;
}

#[tokio::test]
async fn refusals_follow_the_contract_to_the_letter() {
    let app = TestApp::start().await;
    let (ada, eve) = (&*app.token("ada"), &*app.token("eve"));
    let expired = &*app.google.token("ada", Kind::Expired);
    let foreign = &*app.google.token("ada", Kind::Foreign);
    let forged = &*app.google.token("ada", Kind::Forged);
    let show = ("livestream-id", "show");
    let missing = ("livestream-id", "missing");
    let token = |token| ("id-token", token);
    let unauthorized = "User is not authorized to livestream in this room.";
    let both = [
        (vec![], "Id token not provided."),
        (vec![show], "Id token not provided."),
        (vec![token(""), show], "Id token not provided."),
        (vec![token(ada)], "Livestream id not provided."),
        (vec![token("junk")], "Livestream id not provided."),
        (vec![token("junk"), missing], "Id token is invalid."),
        (vec![token(foreign), show], "Id token is invalid."),
        (vec![token(forged), show], "Id token is invalid."),
        (vec![token(expired), missing], "Id token has expired."),
    ];
    let missing_text = "Livestream missing does not exist.";
    let not_started = "Livestream show has not started.";
    let one = [
        ("/streamer", vec![token(ada), missing], unauthorized),
        ("/streamer", vec![token(eve), show], unauthorized),
        ("/listener", vec![token(eve), missing], missing_text),
        ("/listener", vec![token(eve), show], not_started),
    ];
    let of_both = ["/streamer", "/listener"]
        .iter()
        .flat_map(|namespace| both.iter().map(|(named, text)| (*namespace, named, *text)));
    let all: Vec<_> = of_both
        .chain(
            one.iter()
                .map(|(namespace, named, text)| (*namespace, named, *text)),
        )
        .collect();
    for way in [Way::WebSocket, Way::Polling] {
        let knocks = all
            .iter()
            .map(|(namespace, named, text)| is_refused(&app, way, namespace, named, text));
        futures_util::future::join_all(knocks).await;
    }
    assert_eq!(app.google.world().streamer_connected("missing"), None);
    assert_eq!(app.google.calls(Endpoint::Write), 0, "nobody was on air");
    assert!(app.metric(r#"castaway_refusals_total{reason="no_token",role="listener"}"#) >= 6);
}

#[tokio::test]
async fn id_that_names_no_document_costs_no_call() {
    let app = TestApp::start().await;
    let token = &*app.token("ada");
    let long = "x".repeat(2048);
    for id in ["a/b", "..", ".", "__reserved__", &long] {
        let named = [("id-token", token), ("livestream-id", id)];
        let text = format!("Livestream {id} does not exist.");
        is_refused(&app, Way::WebSocket, "/listener", &named, &text).await;
        let text = "User is not authorized to livestream in this room.";
        is_refused(&app, Way::WebSocket, "/streamer", &named, text).await;
    }
    let mut client = Client::open(&app, Way::WebSocket, "/listener", &[]).await;
    let auth = json!({ "idToken": token, "livestreamId": "line\nbreak" });
    client.connect_with(&auth).await;
    client
        .is_sent_away("Livestream line\nbreak does not exist.")
        .await;
    assert_eq!(app.google.calls(Endpoint::Read), 0);
}

#[tokio::test]
async fn headers_win_over_the_connect_payload() {
    let app = TestApp::start().await;
    let token = app.token("ada");
    for way in [Way::WebSocket, Way::Polling] {
        let mut client = Client::open(&app, way, "/streamer", &[]).await;
        let auth = json!({ "idToken": token, "livestreamId": "show" });
        client.connect_with(&auth).await;
        client.is_let_in("ada", "streamer", "show").await;
        client.leave().await;
    }
    let named = [("id-token", &*token), ("livestream-id", "show")];
    let mut client = Client::open(&app, Way::WebSocket, "/streamer", &named).await;
    let auth = json!({ "idToken": "junk", "livestreamId": "other" });
    client.connect_with(&auth).await;
    client.is_let_in("ada", "streamer", "show").await;
}

#[tokio::test]
async fn connect_payload_that_is_no_auth_is_ignored() {
    let app = TestApp::start().await;
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    for auth in [
        "[]",
        "7",
        r#""text""#,
        r#"{"idToken":7,"livestreamId":{}}"#,
        &format!(r#"{{"idToken":{deep}}}"#),
    ] {
        let auth: Value = serde_json::from_str(auth).expect("JSON");
        let mut client = Client::open(&app, Way::WebSocket, "/listener", &[]).await;
        client.connect_with(&auth).await;
        client.is_sent_away("Id token not provided.").await;
    }
}

#[tokio::test]
async fn outage_of_google_is_a_temporary_refusal() {
    let app = TestApp::start().await;
    let text = "Service is temporarily unavailable, try again.";
    for way in [Way::WebSocket, Way::Polling] {
        for namespace in ["/streamer", "/listener"] {
            app.google.fail(Endpoint::Read, Fault::Status(503), 20);
            let mut client = Client::knock(&app, way, namespace, "ada", "show").await;
            client.is_told_to_come_back(text).await;
            app.google.heal();
        }
    }
    assert_eq!(app.says("show"), Some(false));
}

#[tokio::test]
async fn success_does_not_wait_for_the_flag() {
    let app = TestApp::start().await;
    app.google
        .fail(Endpoint::Write, Fault::Slow(Duration::from_secs(3)), 1);
    let _streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    assert_eq!(app.says("show"), Some(false), "not written yet");
    app.until_it_says("show", true).await;
}

#[tokio::test]
async fn socket_closed_during_its_check_leaves_no_flag() {
    let app = TestApp::start().await;
    for way in [Way::WebSocket, Way::Polling] {
        let before = app.google.calls(Endpoint::Read);
        app.google
            .fail(Endpoint::Read, Fault::Slow(Duration::from_millis(200)), 1);
        let token = app.token("ada");
        let named = [("id-token", &*token), ("livestream-id", "show")];
        let mut client = Client::open(&app, way, "/streamer", &named).await;
        client.say("0/streamer,").await;
        app.google
            .until(|google| google.calls(Endpoint::Read) > before)
            .await;
        client
            .wire
            .send(&[Packet::Text("1/streamer,".into())])
            .await;
        client.wire.cut();
        app.until_metric("castaway_livestreams", |live| live == 0)
            .await;
        // Nobody is on air, then or later: every client that asks is told so.
        let text = "Livestream show has not started.";
        let named = [("id-token", &*token), ("livestream-id", "show")];
        is_refused(&app, Way::WebSocket, "/listener", &named, text).await;
        app.until_metric("castaway_directory_pending", |pending| pending == 0)
            .await;
        assert_eq!(app.says("show"), Some(false));
    }
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    streamer.upload(&clip(1, 100)).await;
    streamer.is_received().await;
}

#[tokio::test]
async fn repeated_refusals_close_the_transport() {
    let app = TestApp::with_config(|config| config.server.max_refusals = 3).await;
    let mut client = Client::open(&app, Way::WebSocket, "/listener", &[]).await;
    for _ in 0..2 {
        client.connect().await;
        client.is_sent_away("Id token not provided.").await;
    }
    client.connect().await;
    client.is_told_to_come_back("Id token not provided.").await;
}

#[tokio::test]
async fn refused_sockets_upload_is_relayed_to_nobody() {
    let app = TestApp::start().await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let mut listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
    let mut eve = Client::knock(&app, Way::WebSocket, "/streamer", "eve", "show").await;
    eve.upload_asking(7, &clip(666, 100)).await;
    let text = "User is not authorized to livestream in this room.";
    eve.hears_error(text).await;
    let not_on_air = "This connection is not the streamer of the livestream.";
    let answer = json!({ "ok": false, "error": not_on_air });
    assert_eq!(eve.next().await, Said::Ack(7, answer));
    assert_eq!(eve.next().await, Said::Disconnect);
    streamer.upload(&clip(1, 100)).await;
    listener.hears(&clip(1, 100)).await;
}

#[tokio::test]
async fn unknown_namespace_is_refused_and_the_others_stay() {
    let app = TestApp::start().await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    streamer.say("0/nowhere,").await;
    let answer = streamer.wire.next().await;
    // The answer to `state` may come in between.
    let answer = match answer {
        Some(Packet::Text(text)) if text.starts_with("2/") => streamer.wire.next().await,
        answer => answer,
    };
    let expected = r#"4/nowhere,{"message":"Invalid namespace"}"#;
    assert_eq!(answer, Some(Packet::Text(expected.into())));
    streamer.upload(&clip(1, 100)).await;
    streamer.is_received().await;
}

#[tokio::test]
async fn browsers_from_anywhere_may_send_the_two_headers() {
    let app = TestApp::start().await;
    let url = app.url("/socket.io/?EIO=4&transport=polling");
    let request = http_client()
        .request(reqwest::Method::OPTIONS, url)
        .header("origin", "https://app.example")
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "id-token,livestream-id");
    let answer = request.send().await.expect("an answer");
    assert!(answer.status().is_success());
    let header = |name: &str| answer.headers()[name].to_str().expect("text").to_owned();
    assert_eq!(header("access-control-allow-origin"), "*");
    let allowed = header("access-control-allow-headers");
    assert!(allowed.contains("id-token") && allowed.contains("livestream-id"));
}

#[tokio::test]
async fn session_without_a_namespace_is_closed_in_time() {
    let app =
        TestApp::with_config(|config| config.server.connect_timeout = Duration::from_millis(300))
            .await;
    let mut wire = Wire::web_socket(app.clients(), &headers(&[]), None).await;
    let closed = tokio::time::timeout(crate::support::app::TEST_TIMEOUT, wire.next()).await;
    assert_eq!(closed, Ok(None));
}

#[tokio::test]
async fn flood_of_unknown_livestreams_is_stopped_before_google() {
    let app = TestApp::with_config(|config| config.identity.failed_lookups_per_user = 3).await;
    for role in ["/streamer", "/listener"] {
        let user = format!("eve-of{}", role.replace('/', "-"));
        for number in 0..5 {
            let name = format!("no-{user}-{number}");
            let mut client = Client::knock(&app, Way::WebSocket, role, &user, &name).await;
            match (number < 3, role) {
                (false, _) => {
                    client
                        .is_told_to_come_back("Service is temporarily unavailable, try again.")
                        .await;
                }
                (true, "/streamer") => {
                    client
                        .is_sent_away("User is not authorized to livestream in this room.")
                        .await;
                }
                (true, _) => {
                    client
                        .is_sent_away(&format!("Livestream {name} does not exist."))
                        .await;
                }
            }
        }
    }
    assert_eq!(app.google.calls(Endpoint::Read), 6);
    assert_eq!(app.google.calls(Endpoint::Lookup), 3);
    let refused = r#"castaway_lookups_refused_total{limit="user"}"#;
    assert_eq!(app.metric(refused), 4);
    Client::streamer(&app, Way::WebSocket, "show").await;
    Client::listener(&app, Way::WebSocket, "bob", "show").await;
}

#[tokio::test]
async fn possibly_new_key_is_a_temporary_refusal() {
    let app = TestApp::with_config(|config| config.identity.unknown_keys_per_address = 2).await;
    // The daemon's start has fetched the keys.
    app.google.world().signer = 1;
    for number in 0..3 {
        let mut client = Client::knock(&app, Way::WebSocket, "/streamer", "ada", "show").await;
        if number < 2 {
            client
                .is_told_to_come_back("Service is temporarily unavailable, try again.")
                .await;
        } else {
            client.is_sent_away("Id token is invalid.").await;
        }
    }
}
