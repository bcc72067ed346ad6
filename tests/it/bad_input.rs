//! Malformed things that a client can send: the connection ends or goes on, and nobody else notices.

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::support::app::{TEST_TIMEOUT, TestApp};
use crate::support::client::{Client, Said, Way, clip};
use crate::support::wire::{Packet, headers, http_client, web_socket};

fn text(text: &str) -> Message {
    Message::text(text)
}

/// What a session can be sent that makes no sense, with `4` and without.
fn nonsense() -> Vec<Vec<Message>> {
    let deep =
        |open: &str, close: &str, depth| format!("{}{}", open.repeat(depth), close.repeat(depth));
    let arrays = deep("[", "]", 20_000);
    let objects = deep(r#"{"a":"#, "}", 20_000);
    let binary = || Message::Binary(Bytes::from_static(b"binary"));
    let mut all: Vec<Vec<Message>> = [
        "", "4", "9", "x", "0", "5", "6", "2probe", "40", "4\u{0}", "4🎧", "42", "42[", "42[]", "42{}", "42[7]",
        "42/streamer", "42/streamer,", "42/streamer,[", "42/streamer,[]", "42/streamer,[1]", "42/streamer,[[]]",
        "42/streamer,{}", "42/streamer,99999999999999999999999[\"upload\"]", "42/streamer,-1[\"upload\"]",
        "43/streamer,1[]", "43/streamer,99[{}]", "44/streamer,{}", "45", "451", "45-", "451-", "4510000000000-/streamer,[]",
        "451-/streamer,[\"upload\"", "452-/streamer,[\"upload\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]",
        "450-/streamer,[\"upload\"]", "45-1-/streamer,[\"upload\"]", "461-/streamer,1[{\"_placeholder\":true,\"num\":0}]",
        "47", "40/streamer,", "40/streamer,{", "40/../../streamer,", "40/streamer?a=b,", "41", "41/listener,", "41/nowhere,",
        "451-/streamer,[\"upload\",{\"_placeholder\":true,\"num\":7}]",
    ]
    .into_iter()
    .map(|it| vec![text(it)])
    .collect();
    all.push(vec![binary()]);
    all.push(vec![binary(), binary(), binary()]);
    for it in [&arrays, &objects] {
        all.push(vec![text(&format!("42/streamer,[\"upload\",{it}]"))]);
        all.push(vec![text(&format!("40/listener,{it}"))]);
    }
    let event = r#"451-/streamer,["upload",{"_placeholder":true,"num":7}]"#;
    all.push(vec![text(event), binary()]);
    let event = r#"451-/streamer,["upload",{"_placeholder":true,"num":-1}]"#;
    all.push(vec![text(event), binary()]);
    // Text where the attachment belongs.
    let event = r#"451-/streamer,["upload",{"_placeholder":true,"num":0}]"#;
    all.push(vec![text(event), text(event), binary()]);
    let many = r#"453-/streamer,["upload",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1},{"_placeholder":true,"num":2}]"#;
    all.push(vec![text(many), binary(), binary(), binary()]);
    all.push(vec![Message::Ping(Bytes::from_static(b"ping"))]);
    all.push(vec![Message::Pong(Bytes::from_static(b"pong"))]);
    all
}

#[tokio::test]
async fn nonsense_from_one_session_harms_nobody_else() {
    let app = TestApp::start().await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let mut listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
    let token = app.token("ada");
    // One before its namespace, one as a streamer of another livestream.
    for joined in [false, true] {
        for messages in nonsense() {
            let named = headers(&[("id-token", &token), ("livestream-id", "other")]);
            let mut socket = web_socket(app.clients(), "", &named, None).await;
            if joined {
                socket.send(text("40/streamer,")).await.expect("CONNECT");
            }
            for message in &messages {
                socket.send(message.clone()).await.ok();
            }
            // Either it is closed, or it still answers: whichever it is, soon. One that ends in the middle of an
            // attachment may wait for the rest.
            socket.close(None).await.ok();
            let ended = async { while let Some(Ok(_)) = socket.next().await {} };
            timeout(TEST_TIMEOUT, ended)
                .await
                .unwrap_or_else(|_| panic!("{messages:?}"));
        }
        streamer.upload(&clip(1, 100)).await;
        streamer.is_received().await;
        listener.hears(&clip(1, 100)).await;
    }
    app.until_metric("castaway_connections", |open| open <= 2)
        .await;
}

#[tokio::test]
async fn nonsense_from_a_listener_is_not_relayed() {
    let app = TestApp::start().await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let mut listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
    for messages in nonsense() {
        let token = app.token("bob");
        let named = headers(&[("id-token", &token), ("livestream-id", "show")]);
        let mut socket = web_socket(app.clients(), "", &named, None).await;
        // A listener of the livestream, whose uploads would be heard if they were relayed.
        socket.send(text("40/listener,")).await.expect("CONNECT");
        for message in messages {
            socket.send(message).await.ok();
        }
    }
    streamer.upload(&clip(1, 100)).await;
    streamer.is_received().await;
    listener.hears(&clip(1, 100)).await;
}

#[tokio::test]
async fn event_with_many_attachments_is_refused() {
    let app = TestApp::start().await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let mut listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
    let event =
        r#"52-/streamer,["upload",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
    let packets = [
        Packet::Text(event.into()),
        Packet::Binary(clip(666, 100)),
        Packet::Binary(clip(667, 100)),
    ];
    streamer.wire.send(&packets).await;
    assert_eq!(streamer.next().await, Said::Closed);
    let malformed = r#"castaway_bad_input_total{kind="malformed_packet"}"#;
    app.until_metric(malformed, |count| count == 1).await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    streamer.upload(&clip(1, 100)).await;
    listener.hears(&clip(1, 100)).await;
}

#[tokio::test]
async fn namespace_connected_twice_is_one_socket() {
    let app = TestApp::start().await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let mut listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
    listener.say("0/listener,").await;
    for number in 0..3 {
        streamer.upload(&clip(number, 100)).await;
        streamer.is_received().await;
    }
    let mut clips = Vec::new();
    while clips.len() < 3 {
        match listener.next().await {
            Said::Clip(heard) => clips.push(crate::support::client::number(&heard)),
            Said::Closed => return,
            Said::Connect | Said::Text(..) => {}
            said => panic!("{said:?}"),
        }
    }
    assert_eq!(clips, [0, 1, 2]);
}

#[tokio::test]
async fn senseless_requests_are_answered_with_an_error() {
    let app = TestApp::start().await;
    let http = http_client();
    for query in [
        "",
        "?",
        "?EIO=4",
        "?EIO=3&transport=polling",
        "?EIO=5&transport=polling",
        "?EIO=4&transport=pigeon",
        "?EIO=4&transport=polling&sid=nobody",
        "?EIO=4&transport=websocket",
        "?EIO=4&transport=websocket&sid=nobody",
        "?EIO=x&transport=polling",
        "?transport=polling",
        "?EIO=4&transport=polling&sid=%00",
    ] {
        let url = app.url(&format!("/socket.io/{query}"));
        let answer = timeout(TEST_TIMEOUT, http.get(&url).send())
            .await
            .expect("in time");
        let status = answer.expect("an answer").status();
        assert!(status.is_client_error(), "{query}: {status}");
        let answer = timeout(TEST_TIMEOUT, http.post(&url).body("4x").send())
            .await
            .expect("in time");
        let status = answer.expect("an answer").status();
        assert!(status.is_client_error(), "{query}: {status}");
    }
    let counted = app.metric(r#"castaway_bad_input_total{kind="bad_request"}"#);
    assert_eq!(counted, 24, "each is counted");
    for path in [
        "/",
        "/nothing",
        "/socket.io.js",
        "/socket.io/../x",
        "/metrics",
    ] {
        let answer = http.get(app.url(path)).send().await.expect("an answer");
        assert!(
            answer.status().is_client_error(),
            "{path}: {}",
            answer.status()
        );
    }
}
