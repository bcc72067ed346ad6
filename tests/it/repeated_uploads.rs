//! Clips with an id of their streamer: sent again, each is heard once.

use castaway_media_server::app::Directories;
use serde_json::json;

use crate::support::app::{TestApp, world};
use crate::support::client::{Client, Said, Way, clip};

const BAD_OPTIONS: &str = "Upload options must have an id of 1 to 64 characters, and may have capturedAt in milliseconds.";
const REPEATED: &str = "castaway_uploads_repeated_total";

/// Uploads with an id; the answer is that of a first clip.
async fn first(streamer: &mut Client, id: &str, number: usize, sequence: u64, listeners: usize) {
    let options = json!({ "id": id, "capturedAt": 1_798_761_600_000_u64 });
    streamer
        .upload_with(7, &clip(number, 100), &options.to_string())
        .await;
    streamer.is_received().await;
    let answer = json!({ "ok": true, "sequence": sequence, "listeners": listeners });
    assert_eq!(streamer.next().await, Said::Ack(7, answer));
}

/// Uploads with an id; the answer is that of a clip that was accepted before.
async fn again(streamer: &mut Client, id: &str, number: usize, sequence: u64) {
    let options = json!({ "id": id }).to_string();
    streamer.upload_with(8, &clip(number, 100), &options).await;
    streamer.is_received().await;
    let answer = json!({ "ok": true, "sequence": sequence, "duplicate": true });
    assert_eq!(streamer.next().await, Said::Ack(8, answer));
}

#[tokio::test]
async fn repeated_clip_is_heard_once_and_acknowledged() {
    for way in Way::ALL {
        let app = TestApp::with_config(|config| way.configure(config)).await;
        let mut streamer = Client::streamer(&app, way, "show").await;
        let mut listener = Client::listener(&app, way, "bob", "show").await;
        first(&mut streamer, "a", 1, 1, 1).await;
        again(&mut streamer, "a", 1, 1).await;
        first(&mut streamer, "b", 2, 2, 1).await;
        again(&mut streamer, "a", 1, 1).await;
        again(&mut streamer, "b", 2, 2).await;
        first(&mut streamer, "c", 3, 3, 1).await;
        for number in 1..=3 {
            listener.hears(&clip(number, 100)).await;
        }
        assert_eq!(app.metric(REPEATED), 3);
        assert_eq!(app.metric("castaway_clips_received_total"), 3);
    }
}

#[tokio::test]
async fn repeated_clips_without_an_id_are_all_heard() {
    let app = TestApp::start().await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let mut listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
    for _ in 0..3 {
        streamer.upload(&clip(1, 100)).await;
        listener.hears(&clip(1, 100)).await;
    }
    assert_eq!(app.metric(REPEATED), 0);
}

#[tokio::test]
async fn repeated_clip_is_known_after_reconnect_and_takeover() {
    for way in [Way::WebSocket, Way::Polling] {
        let app = TestApp::start().await;
        let mut lost = Client::streamer(&app, way, "show").await;
        let mut listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
        first(&mut lost, "a", 1, 1, 1).await;
        lost.wire.cut();
        let mut old = Client::streamer(&app, way, "show").await;
        again(&mut old, "a", 1, 1).await;
        first(&mut old, "b", 2, 2, 1).await;
        let mut new = Client::streamer(&app, way, "show").await;
        again(&mut new, "a", 1, 1).await;
        again(&mut new, "b", 2, 2).await;
        first(&mut new, "c", 3, 3, 1).await;
        for number in 1..=3 {
            listener.hears(&clip(number, 100)).await;
        }
        // Another livestream knows none of these ids.
        let mut other = Client::streamer(&app, way, "other").await;
        first(&mut other, "a", 1, 1, 0).await;
        // Nor does the next livestream of the same document.
        new.leave().await;
        app.until_metric("castaway_livestreams", |live| live == 1)
            .await;
        let mut next = Client::streamer(&app, way, "show").await;
        first(&mut next, "a", 1, 1, 0).await;
    }
}

#[tokio::test]
async fn repeated_clip_is_known_after_a_restart() {
    let runtime = tempfile::tempdir().expect("a directory");
    let directories = Directories {
        runtime: Some(runtime.path().to_owned()),
        state: None,
    };
    let app = TestApp::beside(world().await, &directories, |_| {}).await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    for (number, id) in (1..).zip(["a", "b", "c"]) {
        first(&mut streamer, id, number, number as u64, 0).await;
    }
    let google = app.stop().await;
    let app = TestApp::beside(google, &directories, |_| {}).await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    for (number, id) in (1..).zip(["a", "b", "c"]) {
        again(&mut streamer, id, number, number as u64).await;
    }
    first(&mut streamer, "d", 4, 4, 0).await;
}

#[tokio::test]
async fn refused_clip_may_be_sent_again() {
    let app = TestApp::with_config(|config| config.upload.max_clip_bytes = 1000).await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let mut listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
    streamer
        .upload_with(1, &clip(1, 1001), r#"{"id":"a"}"#)
        .await;
    let text = "Upload is too large, a clip may have at most 1000 bytes.";
    streamer.hears_error(text).await;
    let answer = json!({ "ok": false, "error": text });
    assert_eq!(streamer.next().await, Said::Ack(1, answer));
    first(&mut streamer, "a", 1, 1, 1).await;
    again(&mut streamer, "a", 1, 1).await;
    listener.hears(&clip(1, 100)).await;
}

#[tokio::test]
async fn bad_upload_options_are_refused_with_reason() {
    for way in [Way::WebSocket, Way::Polling] {
        let app = TestApp::start().await;
        let mut streamer = Client::streamer(&app, way, "show").await;
        let mut listener = Client::listener(&app, way, "bob", "show").await;
        let long = json!({ "id": "a".repeat(65) }).to_string();
        let huge = json!({ "id": "a".repeat(100_000) }).to_string();
        let bad = [
            "{}",
            r#"{"capturedAt":1}"#,
            r#"{"id":""}"#,
            r#"{"id":7}"#,
            r#"{"id":-7}"#,
            r#"{"id":null}"#,
            r#"{"id":true}"#,
            r#"{"id":["a",{"b":[1]}]}"#,
            r#"{"id":{"a":"b"}}"#,
            r#"{"id":"a","capturedAt":"today"}"#,
            r#"{"id":"a","capturedAt":-1}"#,
            r#"{"id":"a","capturedAt":null}"#,
            &long,
            &huge,
        ];
        for options in bad {
            streamer.upload_with(3, &clip(666, 100), options).await;
            streamer.hears_error(BAD_OPTIONS).await;
            let answer = json!({ "ok": false, "error": BAD_OPTIONS });
            assert_eq!(streamer.next().await, Said::Ack(3, answer), "{options}");
        }
        let refused = r#"castaway_uploads_refused_total{reason="bad_options"}"#;
        assert_eq!(app.metric(refused), bad.len() as u64);
        // Later versions may know more options.
        for (sequence, options) in (1..).zip([
            r#"{"id":"a","capturedAt":1.5,"more":[{"a":1}]}"#,
            r#"{"more":{"id":"x"},"id":"b","capturedAt":0}"#,
        ]) {
            streamer.upload_with(4, &clip(sequence, 100), options).await;
            streamer.is_received().await;
            let answer = json!({ "ok": true, "sequence": sequence, "listeners": 1 });
            assert_eq!(streamer.next().await, Said::Ack(4, answer), "{options}");
            listener.hears(&clip(sequence, 100)).await;
        }
    }
}
