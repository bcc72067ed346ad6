//! Listeners with the feature `clips`: where they are in the livestream, and what they get when they come back.

use std::time::Duration;

use castaway_media_server::app::Directories;
use serde_json::{Value, json};

use crate::support::app::{TEST_TIMEOUT, TestApp, world};
use crate::support::client::{Client, Said, Way, clip, number};
use crate::support::wire::{Wire, headers};

/// A listener of `show` that asks for `auth`'s features in the payload.
async fn listener(app: &TestApp, way: Way, auth: Value) -> Client {
    let mut auth = auth;
    auth["idToken"] = app.token("bob").into();
    auth["livestreamId"] = "show".into();
    let mut client = Client::open(app, way, "/listener", &[]).await;
    client.connect_with(&auth).await;
    client.is_let_in("bob", "listener", "show").await;
    if way == Way::Upgraded {
        client.upgrade().await;
    }
    client
}

fn clips() -> Value {
    json!({ "features": ["clips"] })
}

fn resume_at(place: &Value) -> Value {
    let resume = json!({ "epoch": place["epoch"], "sequence": place["sequence"] });
    json!({ "features": ["clips"], "resume": resume })
}

/// The next clip's place, and its number.
async fn hears(listener: &mut Client) -> (Value, usize) {
    match listener.next().await {
        Said::Placed(place, bytes) => (place, number(&bytes)),
        said => panic!("no clip but {said:?}"),
    }
}

async fn is_resumed(listener: &mut Client, expected: Value) {
    assert_eq!(
        listener.next().await,
        Said::Event("resumed".into(), expected)
    );
}

async fn uploads(streamer: &mut Client, numbers: std::ops::RangeInclusive<usize>) {
    for number in numbers {
        streamer.upload(&clip(number, 100)).await;
        streamer.is_received().await;
    }
}

#[tokio::test]
async fn clip_says_where_it_is() {
    for way in Way::ALL {
        let app = TestApp::with_config(|config| way.configure(config)).await;
        let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
        let mut old = Client::listener(&app, way, "carol", "show").await;
        let mut new = listener(&app, way, clips()).await;
        let tones = include_bytes!("../../src/media/fixtures/tone.m4a");
        streamer
            .upload_with(1, &bytes::Bytes::from_static(tones), r#"{"id":"é\"1"}"#)
            .await;
        old.hears(&bytes::Bytes::from_static(tones)).await;
        let Said::Placed(place, bytes) = new.next().await else {
            panic!("no clip")
        };
        assert!(bytes == tones[..], "{way:?}");
        assert_eq!(place["sequence"], 1);
        assert_eq!(place["id"], "é\"1");
        assert!(place["durationMs"].is_u64(), "{place}");
        let age = place["sentAt"]
            .as_u64()
            .expect("milliseconds")
            .abs_diff(now());
        assert!(age < 60_000, "{place}");
        // Its container states no duration, and its streamer no id.
        streamer.upload(&clip(2, 100)).await;
        let (second, _) = hears(&mut new).await;
        assert_eq!(second["epoch"], place["epoch"]);
        assert_eq!(second["sequence"], 2);
        assert!(second.get("durationMs").is_none() && second.get("id").is_none());
        old.hears(&clip(2, 100)).await;
    }
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(since.expect("after 1970").as_millis()).expect("small")
}

#[tokio::test]
async fn feature_is_named_in_a_header_too() {
    let app = TestApp::start().await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let token = app.token("bob");
    let named = [
        ("id-token", &*token),
        ("livestream-id", "show"),
        ("castaway-features", "tea, clips"),
    ];
    let mut bob = Client::open(&app, Way::WebSocket, "/listener", &named).await;
    bob.connect().await;
    bob.is_let_in("bob", "listener", "show").await;
    uploads(&mut streamer, 1..=1).await;
    assert_eq!(hears(&mut bob).await.1, 1);
}

#[tokio::test]
async fn listener_that_comes_back_misses_nothing() {
    for way in Way::ALL {
        let app = TestApp::with_config(|config| way.configure(config)).await;
        let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
        uploads(&mut streamer, 1..=3).await;
        let mut bob = listener(&app, way, clips()).await;
        let (mut place, latest) = hears(&mut bob).await;
        assert_eq!(latest, 3, "{way:?}: a new listener gets the latest alone");
        let mut last = 3;
        // Twice in a row, and then with nothing missed.
        for missed in [5, 2, 0] {
            drop(bob);
            uploads(&mut streamer, last + 1..=last + missed).await;
            bob = listener(&app, way, resume_at(&place)).await;
            let expected = match missed {
                0 => json!({ "recovered": true, "from": null, "to": null }),
                _ => json!({ "recovered": true, "from": last + 1, "to": last + missed }),
            };
            is_resumed(&mut bob, expected).await;
            uploads(&mut streamer, last + missed + 1..=last + missed + 1).await;
            for expected in last + 1..=last + missed + 1 {
                let heard;
                (place, heard) = hears(&mut bob).await;
                assert_eq!(heard, expected, "{way:?}");
                assert_eq!(place["sequence"], expected);
            }
            last += missed + 1;
        }
        assert_eq!(
            app.metric(r#"castaway_resumes_total{outcome="recovered"}"#),
            3
        );
    }
}

#[tokio::test]
async fn takeover_keeps_the_numbers() {
    let app = TestApp::start().await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let mut bob = listener(&app, Way::WebSocket, clips()).await;
    uploads(&mut streamer, 1..=1).await;
    let (place, _) = hears(&mut bob).await;
    drop(bob);
    uploads(&mut streamer, 2..=2).await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    uploads(&mut streamer, 3..=3).await;
    let mut bob = listener(&app, Way::WebSocket, resume_at(&place)).await;
    is_resumed(&mut bob, json!({ "recovered": true, "from": 2, "to": 3 })).await;
    for expected in 2..=3 {
        let (later, heard) = hears(&mut bob).await;
        assert_eq!(heard, expected);
        assert_eq!(later["epoch"], place["epoch"]);
    }
}

#[tokio::test]
async fn listener_away_for_too_long_gets_no_part() {
    let app = TestApp::with_config(|config| config.livestream.history_clips = 3).await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let mut bob = listener(&app, Way::WebSocket, clips()).await;
    uploads(&mut streamer, 1..=1).await;
    let (place, _) = hears(&mut bob).await;
    drop(bob);
    uploads(&mut streamer, 2..=4).await;
    // The history holds all that it missed, just.
    let mut bob = listener(&app, Way::WebSocket, resume_at(&place)).await;
    is_resumed(&mut bob, json!({ "recovered": true, "from": 2, "to": 4 })).await;
    drop(bob);
    uploads(&mut streamer, 5..=5).await;
    let mut bob = listener(&app, Way::WebSocket, resume_at(&place)).await;
    is_resumed(&mut bob, json!({ "recovered": false, "missed": 3 })).await;
    assert_eq!(hears(&mut bob).await.1, 5, "the latest alone");
    uploads(&mut streamer, 6..=6).await;
    assert_eq!(hears(&mut bob).await.1, 6);
    assert_eq!(app.metric(r#"castaway_resumes_total{outcome="missed"}"#), 1);
}

#[tokio::test]
async fn unknown_position_is_not_recovered() {
    let app = TestApp::start().await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    uploads(&mut streamer, 1..=2).await;
    let mut bob = listener(&app, Way::WebSocket, clips()).await;
    let (place, _) = hears(&mut bob).await;
    let epoch = place["epoch"].as_u64().expect("a number");
    for resume in [
        json!({ "epoch": epoch + 1, "sequence": 1 }),
        json!({ "epoch": 7, "sequence": 1 }),
        json!({ "epoch": epoch.to_string(), "sequence": 1 }),
        json!("1"),
    ] {
        let auth = json!({ "features": ["clips"], "resume": resume });
        let mut bob = listener(&app, Way::WebSocket, auth).await;
        is_resumed(&mut bob, json!({ "recovered": false, "missed": null })).await;
        assert_eq!(hears(&mut bob).await.1, 2);
    }
}

#[tokio::test]
async fn resume_without_the_feature_is_ignored() {
    let app = TestApp::start().await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    uploads(&mut streamer, 1..=2).await;
    let auth = json!({ "resume": { "epoch": 1, "sequence": 1 } });
    let mut bob = listener(&app, Way::WebSocket, auth).await;
    bob.hears(&clip(2, 100)).await;
    assert!(bob.hears_nothing_for(Duration::from_millis(50)).await);
}

#[tokio::test]
async fn resume_outlives_a_restart() {
    let runtime = tempfile::tempdir().expect("a directory");
    let directories = Directories {
        runtime: Some(runtime.path().to_owned()),
        state: None,
    };
    let mut google = world().await;
    let mut place = json!({ "epoch": 0, "sequence": 0 });
    let mut last = 0;
    for round in 0..3 {
        let app = TestApp::beside(google, &directories, |_| {}).await;
        let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
        let mut bob = listener(&app, Way::WebSocket, resume_at(&place)).await;
        let expected = match round {
            0 => json!({ "recovered": false, "missed": null }),
            _ => json!({ "recovered": true, "from": last + 1, "to": last + 2 }),
        };
        is_resumed(&mut bob, expected).await;
        uploads(
            &mut streamer,
            last + if round == 0 { 1 } else { 3 }..=last + 4,
        )
        .await;
        for expected in last + 1..=last + 4 {
            let heard;
            (place, heard) = hears(&mut bob).await;
            assert_eq!(heard, expected);
            assert_eq!(place["sequence"], expected);
        }
        last += 4;
        drop(bob);
        // These come while the listener is away.
        uploads(&mut streamer, last + 1..=last + 2).await;
        google = app.stop().await;
    }
}

#[tokio::test]
async fn crash_begins_another_epoch() {
    let runtime = tempfile::tempdir().expect("a directory");
    let directories = Directories {
        runtime: Some(runtime.path().to_owned()),
        state: None,
    };
    let app = TestApp::beside(world().await, &directories, |_| {}).await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let mut bob = listener(&app, Way::WebSocket, clips()).await;
    uploads(&mut streamer, 1..=3).await;
    let mut place = Value::Null;
    for _ in 1..=3 {
        (place, _) = hears(&mut bob).await;
    }
    // What a crash leaves, about a second old: the clips after it would have the same numbers.
    let google = app.stop().await;
    let file = runtime.path().join("handover");
    let left = std::fs::read(&file).expect("the handover");
    let header = left.split(|byte| *byte == b'\n').next().expect("a line");
    let mut header: Value = serde_json::from_slice(header).expect("JSON");
    let livestream = &mut header["livestreams"][0];
    (livestream["clips"], livestream["about"]) = (json!([]), json!([]));
    livestream["next_sequence"] = 3.into();
    std::fs::write(&file, format!("{header}\n")).expect("a file");

    let app = TestApp::beside(google, &directories, |_| {}).await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    uploads(&mut streamer, 4..=5).await;
    let mut bob = listener(&app, Way::WebSocket, resume_at(&place)).await;
    is_resumed(&mut bob, json!({ "recovered": false, "missed": null })).await;
    let (later, heard) = hears(&mut bob).await;
    assert_eq!(heard, 5);
    assert_ne!(later["epoch"], place["epoch"]);
}

#[tokio::test]
async fn slow_listener_is_told_of_its_gap() {
    const BIG: usize = 256 << 10;
    for way in [Way::WebSocket, Way::Copied, Way::Polling] {
        let app = TestApp::with_config(|config| {
            way.configure(config);
            config.server.send_buffer_bytes = 16 << 10;
            config.listener.stall_timeout = Duration::from_mins(1);
            config.listener.queue_clips = 4;
            config.livestream.history_clips = 4;
            config.upload.clips_burst = 4;
            config.upload.clips_per_minute = 10_000_000;
            config.upload.bytes_burst = 1 << 30;
        })
        .await;
        let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
        let mut slow = match way {
            Way::Polling => listener(&app, way, clips()).await,
            _ => small(&app).await,
        };
        for number in 1..=30 {
            streamer.upload(&clip(number, BIG)).await;
            streamer.is_received().await;
        }
        // It hears each clip, or is told of its loss before it hears a later one.
        let mut last = 0;
        let mut dropped = 0;
        while last < 30 {
            match slow.next().await {
                Said::Placed(_, bytes) => {
                    assert_eq!(number(&bytes) as u64, last + 1, "{way:?}");
                    last += 1;
                }
                Said::Event(event, gap) if event == "gap" => {
                    let edge = |name: &str| gap[name].as_u64().expect("a sequence");
                    assert_eq!(edge("from"), last + 1, "{way:?}: {gap}");
                    dropped += edge("to") - last;
                    last = edge("to");
                }
                said => panic!("{way:?}: {said:?}"),
            }
        }
        assert!(dropped > 0, "{way:?}");
        let told = app.metric("castaway_gaps_total");
        assert!(told > 0 && told <= app.metric("castaway_clips_dropped_total"));
    }
}

/// A listener with a small kernel buffer.
async fn small(app: &TestApp) -> Client {
    let token = app.token("bob");
    let named = headers(&[
        ("id-token", &token),
        ("livestream-id", "show"),
        ("castaway-features", "clips"),
    ]);
    let wire = Wire::web_socket(app.clients(), &named, Some(8 << 10)).await;
    let mut client = Client::on(wire, "/listener");
    client.connect().await;
    client.is_let_in("bob", "listener", "show").await;
    client
}

/// A listener that comes back while clips are being sent hears one run of numbers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn return_among_uploads_leaves_no_gap() {
    for way in Way::ALL {
        let app = TestApp::with_config(|config| {
            way.configure(config);
            config.upload.clips_burst = 10_000;
            config.upload.clips_per_minute = 10_000_000;
            config.listener.queue_clips = 10_000;
            config.livestream.history_clips = 10_000;
            config.server.max_sockets_per_user = 100;
        })
        .await;
        let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
        uploads(&mut streamer, 0..=0).await;
        let returns = async {
            let mut bob = listener(&app, way, clips()).await;
            let (mut place, mut last) = hears(&mut bob).await;
            for _ in 0..10 {
                bob = listener(&app, way, resume_at(&place)).await;
                let Said::Event(event, resumed) = bob.next().await else {
                    panic!("{way:?}: not resumed")
                };
                assert!(
                    event == "resumed" && resumed["recovered"] == true,
                    "{resumed}"
                );
                for _ in 0..5 {
                    let heard;
                    (place, heard) = hears(&mut bob).await;
                    assert_eq!(heard, last + 1, "{way:?}");
                    last = heard;
                }
            }
        };
        let uploads = async {
            for number in 1.. {
                streamer.upload(&clip(number, 100)).await;
                streamer.is_received().await;
            }
        };
        tokio::select! {
            in_time = tokio::time::timeout(TEST_TIMEOUT, returns) => in_time.expect("in time"),
            () = uploads => unreachable!("it goes on for ever"),
        }
    }
}
