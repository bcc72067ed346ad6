//! The daemon's own events, as a receiver gets them, and as docs/webhooks.md shows them.

use std::collections::BTreeMap;
use std::time::Duration;

use castaway_media_server::config::Config;
use reqwest::Method;
use serde_json::{Value, json};

use super::receiver::{KEYS, Receiver};
use crate::support::app::TestApp;
use crate::support::client::{Client, Said, Way, clip};
use crate::support::wire::http_client;

pub(super) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

const SILENT: &str = "livestream.silent";

pub(super) fn configured(receiver: &Receiver) -> impl FnOnce(&mut Config) {
    let url = receiver.url();
    move |config| {
        config.webhooks.url = Some(url);
        config.webhooks.secrets = Some(format!("whsec_{}", KEYS[0]).into());
        config.api.token = Some(TOKEN.into());
        config.livestream.silence_after = Duration::from_millis(100);
    }
}

/// The next message, which has this type; a slow machine has silences in between.
async fn next(receiver: &mut Receiver, kind: &str) -> Value {
    let mut got = receiver.next().await;
    while kind != SILENT && got.body["type"] == SILENT {
        got = receiver.next().await;
    }
    assert_eq!(got.body["type"], kind, "{}", got.body);
    assert!(
        got.body["timestamp"]
            .as_str()
            .is_some_and(|it| it.ends_with('Z'))
    );
    got.body
}

/// The status of the API's answer.
async fn ask(app: &TestApp, method: Method, path: &str, body: Value) -> u16 {
    let answer = http_client()
        .request(method, app.health_url(&format!("/api/v1{path}")))
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", "application/json")
        .body(body.to_string())
        .send()
        .await;
    answer.expect("an answer").status().as_u16()
}

/// The examples of the page, by type.
pub(super) fn examples() -> BTreeMap<String, Value> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/webhooks.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let blocks = page.split("```json\n").skip(1);
    let texts = blocks.map(|block| block.split("```").next().expect("its end"));
    let examples = texts.map(|text| {
        let example: Value = serde_json::from_str(text).expect("JSON");
        (
            example["type"].as_str().expect("a type").to_owned(),
            example,
        )
    });
    examples.collect()
}

/// Whether both have the same fields, with values of the same types.
pub(super) fn is_alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let has_alike = |(key, value): (&String, &Value)| {
                other.get(key).is_some_and(|it| is_alike(value, it))
            };
            one.len() == other.len() && one.iter().all(has_alike)
        }
        (Value::Array(one), Value::Array(other)) => match (one.first(), other.first()) {
            (Some(one), Some(other)) => is_alike(one, other),
            (one, other) => one.is_none() && other.is_none(),
        },
        (Value::String(_), Value::String(_))
        | (Value::Number(_), Value::Number(_))
        | (Value::Bool(_), Value::Bool(_))
        | (Value::Null, Value::Null) => true,
        _ => false,
    }
}

#[tokio::test]
async fn messages_tell_a_livestream_as_documented() {
    let mut receiver = Receiver::start().await;
    let app = TestApp::with_config(configured(&receiver)).await;
    let mut told = Vec::new();
    let streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    told.push(next(&mut receiver, "livestream.started").await);
    told.push(next(&mut receiver, SILENT).await);
    drop(streamer);
    told.push(next(&mut receiver, "livestream.reconnecting").await);
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    told.push(next(&mut receiver, "livestream.resumed").await);
    let mut listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
    for number in 1..=3 {
        streamer.upload(&clip(number, 1000)).await;
        streamer.is_received().await;
        listener.hears(&clip(number, 1000)).await;
    }
    let mut eve = Client::knock(&app, Way::WebSocket, "/streamer", "eve", "show").await;
    eve.is_sent_away("User is not authorized to livestream in this room.")
        .await;
    let refused = next(&mut receiver, "streamer.refused").await;
    let data = &refused["data"];
    assert_eq!(
        (&data["streamer"], &data["reason"]),
        (&"eve".into(), &"not_the_artist".into())
    );
    assert_eq!(data["temporary"], false);
    told.push(refused);
    streamer.leave().await;
    let ended = next(&mut receiver, "livestream.ended").await;
    let totals = &ended["data"]["totals"];
    assert_eq!(
        (&ended["data"]["reason"], &ended["data"]["streamer"]),
        (&"ended".into(), &"ada".into())
    );
    assert_eq!(
        (&totals["clips"], &totals["bytes"]),
        (&3.into(), &3000.into())
    );
    assert_eq!(
        (&totals["peak_listeners"], &totals["listeners_joined"]),
        (&1.into(), &1.into())
    );
    told.push(ended);
    let ban = json!({ "until": "2199-12-01T18:00:00Z", "reason": "noise" });
    assert_eq!(ask(&app, Method::PUT, "/bans/user/eve", ban).await, 201);
    let banned = next(&mut receiver, "user.banned").await;
    assert_eq!(banned["data"]["until"], "2199-12-01T18:00:00Z");
    told.push(banned);
    assert_eq!(
        ask(&app, Method::DELETE, "/bans/user/eve", json!({})).await,
        204
    );
    told.push(next(&mut receiver, "user.unbanned").await);
    let mut examples = examples();
    for message in told {
        let kind = message["type"].as_str().expect("a type");
        let example = examples
            .remove(kind)
            .unwrap_or_else(|| panic!("docs/webhooks.md has no {kind}"));
        assert!(
            is_alike(&message, &example),
            "{message} is not like {example}"
        );
    }
    // They are in tests of their own.
    examples.retain(|kind, _| !kind.starts_with("recording."));
    assert!(examples.is_empty(), "never sent: {examples:?}");
}

#[tokio::test]
async fn ban_ends_its_livestream_and_is_told() {
    let mut receiver = Receiver::start().await;
    let app = TestApp::with_config(|config| {
        configured(&receiver)(config);
        config.livestream.silence_after = Duration::ZERO;
    })
    .await;
    let _streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    next(&mut receiver, "livestream.started").await;
    assert_eq!(
        ask(&app, Method::PUT, "/bans/user/ada", json!({})).await,
        201
    );
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let body = receiver.next().await.body;
        kinds.push((body["type"].clone(), body["data"]["reason"].clone()));
    }
    // Of a user and of a livestream: in no order.
    kinds.sort_by_key(|(kind, _)| kind.to_string());
    assert_eq!(kinds[0], ("livestream.ended".into(), "banned".into()));
    assert_eq!(kinds[1].0, "user.banned");
}

#[tokio::test]
async fn refusals_are_told_within_their_limit() {
    let mut receiver = Receiver::start().await;
    let app = TestApp::with_config(|config| {
        configured(&receiver)(config);
        config.webhooks.refusals_per_minute = 2;
    })
    .await;
    for _ in 0..4 {
        let mut eve = Client::knock(&app, Way::WebSocket, "/streamer", "eve", "show").await;
        eve.hears_error("User is not authorized to livestream in this room.")
            .await;
    }
    for _ in 0..2 {
        next(&mut receiver, "streamer.refused").await;
    }
    app.until_metric("castaway_refusals_total", |count| count == 4)
        .await;
    app.stop().await;
    assert!(
        receiver.got.try_recv().is_err(),
        "the others are counted alone"
    );
}

/// What the client hears next; it may have heard of silences before.
async fn heard_but_warnings(client: &mut Client) -> Said {
    loop {
        match client.next().await {
            Said::Event(event, _) if event == "warning" => {}
            said => return said,
        }
    }
}

async fn is_warned(client: &mut Client) {
    let Said::Event(event, warning) = client.next().await else {
        panic!("no warning")
    };
    assert_eq!((&*event, &warning["kind"]), ("warning", &"silence".into()));
    assert!(warning["seconds"].is_u64(), "{warning}");
}

#[tokio::test]
async fn silence_warns_clients_that_know_it() {
    for way in Way::ALL {
        let app = TestApp::with_config(|config| {
            way.configure(config);
            config.livestream.silence_after = Duration::from_millis(100);
        })
        .await;
        let mut old = Client::streamer(&app, Way::WebSocket, "other").await;
        let auth = |user: &str| json!({ "idToken": app.token(user), "livestreamId": "show", "features": ["warnings"] });
        let mut streamer = Client::open(&app, way, "/streamer", &[]).await;
        streamer.connect_with(&auth("ada")).await;
        streamer.is_let_in("ada", "streamer", "show").await;
        let mut listener = Client::open(&app, way, "/listener", &[]).await;
        listener.connect_with(&auth("bob")).await;
        listener.is_let_in("bob", "listener", "show").await;
        streamer.upload(&clip(1, 100)).await;
        let received = Said::Text("success".into(), "Packet received from user ada".into());
        assert_eq!(heard_but_warnings(&mut streamer).await, received, "{way:?}");
        assert_eq!(
            heard_but_warnings(&mut listener).await,
            Said::Clip(clip(1, 100))
        );
        is_warned(&mut streamer).await;
        is_warned(&mut listener).await;
        app.until_metric("castaway_livestreams_silent", |count| count == 2)
            .await;
        // The first that an old client hears is the word that its clip has come: it was not warned.
        old.upload(&clip(1, 100)).await;
        old.is_received().await;
    }
}
