//! The streamer's door: uploads and their answers, and the end of a livestream.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use crate::support::app::TestApp;
use crate::support::client::{Client, Said, Way, clip, number};
use crate::support::google::Endpoint;
use crate::support::wire::Packet;

const NOT_A_CLIP: &str = "Upload must be a single binary clip.";

#[tokio::test]
async fn clip_of_any_length_is_heard_whole() {
    let app = TestApp::with_config(|_| ()).await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let mut listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
    // Around what the library reads at once, and what is read ahead of it, one after the other without a pause.
    let lengths = || (247..265).chain(32_740..32_785).chain([65_536, 80_000]);
    for length in lengths() {
        streamer.upload(&clip(length, length)).await;
    }
    for length in lengths() {
        listener.hears(&clip(length, length)).await;
    }
}

#[tokio::test]
async fn uploads_in_bursts_are_heard_in_order() {
    for way in Way::ALL {
        let app = TestApp::with_config(|config| {
            way.configure(config);
            config.upload.clips_burst = 1000;
            config.listener.queue_clips = 1000;
        })
        .await;
        let mut streamer = Client::streamer(&app, way, "show").await;
        let mut listener = Client::listener(&app, way, "bob", "show").await;
        let hear = async {
            for expected in 0..500 {
                assert_eq!(number(&listener.hears_clip().await), expected, "{way:?}");
            }
        };
        let upload = async {
            // As many at once as an outage leaves behind, five times.
            for flush in 0..5 {
                for number in 0..100 {
                    streamer.upload(&clip(flush * 100 + number, 3000)).await;
                }
                for _ in 0..100 {
                    streamer.is_received().await;
                }
            }
        };
        tokio::join!(hear, upload);
    }
}

#[tokio::test]
async fn clips_before_the_success_are_not_lost() {
    let app = TestApp::start().await;
    let lost = Client::streamer(&app, Way::WebSocket, "show").await;
    let mut listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
    drop(lost);
    let mut first = 0;
    for way in [Way::WebSocket, Way::Polling, Way::WebSocket] {
        // It is connected, and emits at once, before it has read anything else.
        let mut streamer = Client::knock(&app, way, "/streamer", "ada", "show").await;
        for number in first..first + 10 {
            streamer.upload(&clip(number, 5000)).await;
        }
        for number in first..first + 10 {
            listener.hears(&clip(number, 5000)).await;
        }
        streamer.is_let_in("ada", "streamer", "show").await;
        first += 10;
    }
}

/// Uploads with a callback each, all at once and before anything is read; then every answer is read.
async fn burst(streamer: &mut Client, uploads: u64, clip: &Bytes) {
    let mut packets = Vec::new();
    for ack in 0..uploads {
        let event = json!(["upload", { "_placeholder": true, "num": 0 }]);
        packets.push(Packet::Text(format!("51-/streamer,{ack}{event}")));
        packets.push(Packet::Binary(clip.clone()));
    }
    streamer.wire.send(&packets).await;
    let mut answered = BTreeSet::new();
    let mut events = 0;
    while answered.len() < usize::try_from(uploads).expect("small") || events < uploads {
        match streamer.next().await {
            Said::Ack(id, _) => assert!(answered.insert(id), "{id} is answered twice"),
            Said::Text(..) => events += 1,
            said => panic!("{said:?}"),
        }
    }
}

#[tokio::test]
async fn upload_bursts_are_answered_each_once() {
    for way in Way::ALL {
        let app = TestApp::with_config(|config| way.configure(config)).await;
        let mut streamer = Client::streamer(&app, way, "show").await;
        for (uploads, length) in [(200, 2000), (700, 1), (300, 9000)] {
            burst(&mut streamer, uploads, &Bytes::from(vec![1; length])).await;
        }
        assert_eq!(app.metric("castaway_messages_unsent_total"), 0, "{way:?}");
    }
}

/// Far more than may wait: the streamer is not read on until it takes its answers.
#[tokio::test]
async fn upload_flood_waits_for_its_answers() {
    let app = TestApp::start().await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    burst(&mut streamer, 6000, &Bytes::from_static(b"clip")).await;
    assert_eq!(app.metric("castaway_messages_unsent_total"), 0);
    burst(&mut streamer, 1, &Bytes::from_static(b"clip")).await;
}

#[tokio::test]
async fn empty_clip_is_refused_and_heard_by_nobody() {
    for way in Way::ALL {
        let app = TestApp::with_config(|config| way.configure(config)).await;
        let mut streamer = Client::streamer(&app, way, "show").await;
        let mut before = Client::listener(&app, way, "bob", "show").await;
        streamer.upload(&clip(1, 100)).await;
        streamer.is_received().await;
        streamer.upload_asking(7, &Bytes::new()).await;
        streamer.hears_error(NOT_A_CLIP).await;
        let answer = json!({ "ok": false, "error": NOT_A_CLIP });
        assert_eq!(streamer.next().await, Said::Ack(7, answer));
        let mut late = Client::listener(&app, way, "eve", "show").await;
        late.hears(&clip(1, 100)).await;
        streamer.upload(&clip(2, 100)).await;
        before.hears(&clip(1, 100)).await;
        before.hears(&clip(2, 100)).await;
        late.hears(&clip(2, 100)).await;
    }
}

#[tokio::test]
async fn upload_is_answered_with_success_and_ack() {
    for way in Way::ALL {
        let app = TestApp::with_config(|config| way.configure(config)).await;
        let mut streamer = Client::streamer(&app, way, "show").await;
        let mut kept = Vec::new();
        for (sequence, listeners) in [(1, 0), (2, 1)] {
            streamer.upload_asking(40 + sequence, &clip(1, 100)).await;
            streamer.is_received().await;
            let answer = json!({ "ok": true, "sequence": sequence, "listeners": listeners });
            assert_eq!(streamer.next().await, Said::Ack(40 + sequence, answer));
            if sequence == 1 {
                let mut listener = Client::listener(&app, way, "bob", "show").await;
                listener.hears(&clip(1, 100)).await;
                streamer
                    .until_state(|state| *state == json!({ "state": "live", "listeners": 1 }))
                    .await;
                kept.push(listener);
            }
        }
    }
}

#[tokio::test]
async fn upload_of_no_single_clip_is_refused() {
    for way in [Way::WebSocket, Way::Polling] {
        let app = TestApp::start().await;
        let mut streamer = Client::streamer(&app, way, "show").await;
        let mut listener = Client::listener(&app, way, "bob", "show").await;
        let deep = format!("{}{}", "[".repeat(60), "]".repeat(60));
        for arguments in [
            "",
            "null",
            "7",
            r#""text""#,
            r#"{"file":"x"}"#,
            "[]",
            "1,2",
            &deep,
            r#"{"_placeholder":true,"num":0}"#,
        ] {
            streamer.emit("upload", arguments).await;
            streamer.hears_error(NOT_A_CLIP).await;
        }
        let event = r#"2/streamer,5["upload",{"file":"x"}]"#;
        streamer.say(event).await;
        streamer.hears_error(NOT_A_CLIP).await;
        let answer = json!({ "ok": false, "error": NOT_A_CLIP });
        assert_eq!(streamer.next().await, Said::Ack(5, answer));
        for event in [
            r#"51-/streamer,["upload",{"_placeholder":true,"num":0},1]"#,
            r#"51-/streamer,["upload",{"file":{"_placeholder":true,"num":0}}]"#,
            r#"51-/streamer,["upload","text"]"#,
        ] {
            let packets = [Packet::Text(event.into()), Packet::Binary(clip(666, 100))];
            streamer.wire.send(&packets).await;
            streamer.hears_error(NOT_A_CLIP).await;
        }
        streamer.upload(&clip(1, 100)).await;
        streamer.is_received().await;
        listener.hears(&clip(1, 100)).await;
    }
}

#[tokio::test]
async fn clip_over_the_limit_is_refused() {
    for way in [Way::WebSocket, Way::Polling] {
        let app = TestApp::with_config(|config| {
            config.upload.max_clip_bytes = 100_000;
            config.livestream.grace = Duration::from_millis(300);
        })
        .await;
        let mut streamer = Client::streamer(&app, way, "show").await;
        let mut listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
        let text = "Upload is too large, a clip may have at most 100000 bytes.";
        streamer.upload_asking(1, &clip(1, 100_001)).await;
        streamer.hears_error(text).await;
        let answer = json!({ "ok": false, "error": text });
        assert_eq!(streamer.next().await, Said::Ack(1, answer));
        streamer.upload(&clip(2, 100_000)).await;
        streamer.is_received().await;
        listener.hears(&clip(2, 100_000)).await;
        streamer.upload(&clip(3, 400_001)).await;
        assert_eq!(streamer.next().await, Said::Closed);
        // Its grace runs out, since it does not come back.
        assert_eq!(listener.next().await, Said::Disconnect);
    }
}

#[tokio::test]
async fn uploads_over_the_quota_are_told_to_wait() {
    for bytes in [false, true] {
        let app = TestApp::with_config(|config| {
            if bytes {
                config.upload.max_clip_bytes = 1000;
                config.upload.bytes_burst = 2000;
                config.upload.bytes_per_second = 1;
            } else {
                config.upload.clips_burst = 2;
                config.upload.clips_per_minute = 1;
            }
        })
        .await;
        let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
        let mut listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
        for number in 0..2 {
            streamer.upload(&clip(number, 1000)).await;
            streamer.is_received().await;
            listener.hears(&clip(number, 1000)).await;
        }
        streamer.upload_asking(3, &clip(3, 1000)).await;
        let Said::Text(event, text) = streamer.next().await else {
            panic!("no text")
        };
        assert_eq!(event, "error");
        let millis = text
            .strip_prefix("Upload rate limit exceeded, retry in ")
            .and_then(|rest| rest.strip_suffix(" ms."))
            .expect("the contract's words");
        let millis: u64 = millis.parse().expect("a number");
        assert!((1..=1_000_000).contains(&millis), "{millis}");
        let answer = json!({ "ok": false, "error": text, "retryAfterMs": millis });
        assert_eq!(streamer.next().await, Said::Ack(3, answer));
        assert!(listener.hears_nothing_for(Duration::from_millis(100)).await);
        let refused = r#"castaway_uploads_refused_total{reason="rate_limit"}"#;
        assert_eq!(app.metric(refused), 1);
    }
}

#[tokio::test]
async fn unknown_events_are_ignored() {
    let app = TestApp::start().await;
    for way in [Way::WebSocket, Way::Polling] {
        let mut streamer = Client::streamer(&app, way, "show").await;
        let mut listener = Client::listener(&app, way, "bob", "show").await;
        for event in [
            "error",
            "disconnect",
            "connection",
            "audio",
            "mark",
            "",
            "upload ",
        ] {
            streamer.emit(event, r#""text""#).await;
            listener.emit(event, r#""text""#).await;
        }
        streamer.upload(&clip(1, 100)).await;
        streamer.is_received().await;
        listener.hears(&clip(1, 100)).await;
        listener.leave().await;
        streamer.leave().await;
        app.until_metric("castaway_livestreams", |live| live == 0)
            .await;
    }
    assert!(app.metric("castaway_bad_input_total") >= 20);
}

#[tokio::test]
async fn disconnect_of_the_streamer_ends_the_livestream() {
    for way in Way::ALL {
        let app = TestApp::with_config(|config| way.configure(config)).await;
        let mut streamer = Client::streamer(&app, way, "show").await;
        let mut listeners = Vec::new();
        for user in ["bob", "carol", "dave"] {
            listeners.push(Client::listener(&app, way, user, "show").await);
        }
        app.until_it_says("show", true).await;
        streamer.upload(&clip(1, 100)).await;
        streamer.is_received().await;
        streamer.leave().await;
        for listener in &mut listeners {
            listener.hears(&clip(1, 100)).await;
            assert_eq!(listener.next().await, Said::Disconnect, "{way:?}");
            let ended = json!({ "state": "ended", "listeners": 0 });
            assert!(listener.states.contains(&ended), "{:?}", listener.states);
        }
        app.until_it_says("show", false).await;
        assert_eq!(
            app.google.world().livestreams["show"].len(),
            3,
            "and no other field"
        );
    }
}

#[tokio::test]
async fn lost_streamer_continues_within_its_grace_period() {
    for way in [Way::WebSocket, Way::Polling] {
        let app = TestApp::with_config(|config| {
            config.server.ping_interval = Duration::from_millis(500);
            config.server.ping_timeout = Duration::from_millis(500);
        })
        .await;
        let mut streamer = Client::streamer(&app, way, "show").await;
        let mut listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
        streamer.upload(&clip(1, 100)).await;
        streamer.is_received().await;
        listener.hears(&clip(1, 100)).await;
        app.until_it_says("show", true).await;
        let writes = app.google.calls(Endpoint::Write);
        streamer.wire.cut();
        listener
            .until_state(|state| state["state"] == "reconnecting")
            .await;
        // Who comes now is let in, and hears what was last.
        let mut late = Client::listener(&app, Way::WebSocket, "carol", "show").await;
        late.hears(&clip(1, 100)).await;
        let mut streamer = Client::streamer(&app, way, "show").await;
        streamer.upload_asking(9, &clip(2, 100)).await;
        streamer.is_received().await;
        let answer = json!({ "ok": true, "sequence": 2, "listeners": 2 });
        assert_eq!(streamer.next().await, Said::Ack(9, answer));
        listener.hears(&clip(2, 100)).await;
        late.hears(&clip(2, 100)).await;
        app.until_metric("castaway_directory_pending", |pending| pending == 0)
            .await;
        assert_eq!(app.says("show"), Some(true));
        assert!(app.google.calls(Endpoint::Write) <= writes + 1);
    }
}

#[tokio::test]
async fn absent_streamer_ends_the_livestream_after_its_grace() {
    let app =
        TestApp::with_config(|config| config.livestream.grace = Duration::from_millis(300)).await;
    let streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let mut listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
    app.until_it_says("show", true).await;
    streamer.wire.cut();
    assert_eq!(listener.next().await, Said::Disconnect);
    app.until_it_says("show", false).await;
}
