//! A listener that takes too little: what it costs, and that nobody else notices.

use std::time::Duration;

use crate::support::app::{TEST_TIMEOUT, TestApp};
use crate::support::client::{Client, Said, Way, clip, number};
use crate::support::wire::{Wire, headers};

const BIG: usize = 256 << 10;

/// A daemon whose kernel buffers are small, so that a listener that reads nothing is soon seen to be slow.
async fn app(stall: Duration, clips: usize) -> TestApp {
    app_for(Way::WebSocket, stall, clips).await
}

async fn app_for(way: Way, stall: Duration, clips: usize) -> TestApp {
    TestApp::with_config(|config| {
        way.configure(config);
        config.server.send_buffer_bytes = 16 << 10;
        config.listener.stall_timeout = stall;
        config.listener.queue_clips = clips;
        config.livestream.history_clips = clips;
        config.upload.clips_burst = u32::try_from(clips).expect("a small number");
        config.upload.clips_per_minute = 10_000_000;
        config.upload.bytes_burst = 1 << 30;
    })
    .await
}

/// A listener with a small kernel buffer, that has heard its success.
async fn small(app: &TestApp) -> Client {
    let token = app.token("slow");
    let named = headers(&[("id-token", &token), ("livestream-id", "show")]);
    let wire = Wire::web_socket(app.clients(), &named, Some(8 << 10)).await;
    let mut client = Client::on(wire, "/listener");
    client.connect().await;
    client.is_let_in("slow", "listener", "show").await;
    client
}

#[tokio::test]
async fn listener_that_reads_nothing_is_closed() {
    let app = app(Duration::from_millis(600), 16).await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let mut stalled = small(&app).await;
    let mut healthy = Client::listener(&app, Way::WebSocket, "bob", "show").await;
    // Clips that were handed to somebody, as the streamer is told.
    let mut owed = 0;
    for number in 0..40 {
        streamer.upload_asking(1, &clip(number, BIG)).await;
        streamer.is_received().await;
        owed += loop {
            if let Said::Ack(_, answer) = streamer.next().await {
                break answer["listeners"].as_u64().expect("a number");
            }
        };
        healthy.hears(&clip(number, BIG)).await;
    }
    let closed = r#"castaway_connections_closed_total{reason="stalled"}"#;
    app.until_metric(closed, |count| count == 1).await;
    app.until_metric("castaway_listeners", |count| count == 1)
        .await;
    // Each was sent, or is counted as dropped.
    let dropped = app.metric("castaway_clips_dropped_total");
    app.until_metric("castaway_clips_sent_total", |sent| sent + dropped == owed)
        .await;
    // What it got is whole clips in order, as far as it got any; then its transport ends, so that it comes back.
    let mut last = None;
    loop {
        match stalled.next().await {
            Said::Clip(heard) => {
                assert!(last < Some(number(&heard)), "in order");
                last = Some(number(&heard));
            }
            Said::Closed => break,
            said => panic!("{said:?}"),
        }
    }
    streamer.upload(&clip(40, BIG)).await;
    healthy.hears(&clip(40, BIG)).await;
}

/// The ways on which a listener can be slow, and such a listener.
const SLOW: [Way; 3] = [Way::WebSocket, Way::Copied, Way::Polling];

async fn slow(app: &TestApp, way: Way) -> Client {
    match way {
        Way::Polling => Client::listener(app, way, "slow", "show").await,
        _ => small(app).await,
    }
}

#[tokio::test]
async fn slow_listener_loses_its_oldest_clips_whole() {
    for way in SLOW {
        let app = app_for(way, Duration::from_mins(1), 4).await;
        let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
        let mut slow = slow(&app, way).await;
        for number in 0..30 {
            streamer.upload(&clip(number, BIG)).await;
            streamer.is_received().await;
        }
        let dropped = app.metric("castaway_clips_dropped_total");
        assert!(dropped > 0, "{way:?}: nothing was dropped");
        // Now it reads: whole clips, in order, and the latest among them.
        let mut heard = Vec::new();
        while heard.last() != Some(&29) {
            let bytes = slow.hears_clip().await;
            assert_eq!(bytes, clip(number(&bytes), BIG), "whole");
            heard.push(number(&bytes));
        }
        assert!(heard.is_sorted_by(|a, b| a < b), "{way:?}: {heard:?}");
        assert_eq!(heard.len() as u64 + dropped, 30, "{way:?}: {heard:?}");
        // Of the four that may wait one is on its way already.
        assert_eq!(heard[heard.len() - 3..], [27, 28, 29], "{way:?}");
        // It stays.
        app.until_metric("castaway_listeners", |count| count == 1)
            .await;
    }
}

#[tokio::test]
async fn listener_that_lags_too_far_is_closed() {
    for way in SLOW {
        let app = TestApp::with_config(|config| {
            way.configure(config);
            config.server.send_buffer_bytes = 16 << 10;
            config.listener.max_lag = Duration::from_millis(500);
            config.listener.stall_timeout = Duration::from_mins(1);
        })
        .await;
        let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
        let slow = slow(&app, way).await;
        for number in 0..10 {
            streamer.upload(&clip(number, BIG)).await;
            streamer.is_received().await;
        }
        let closed = r#"castaway_connections_closed_total{reason="lagging"}"#;
        app.until_metric(closed, |count| count == 1).await;
        app.until_metric("castaway_listeners", |count| count == 0)
            .await;
        drop(slow);
    }
}

#[tokio::test]
async fn listener_that_does_not_poll_is_closed() {
    let app = app_for(Way::Polling, Duration::from_millis(500), 100).await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let stalled = slow(&app, Way::Polling).await;
    for number in 0..10 {
        streamer.upload(&clip(number, BIG)).await;
        streamer.is_received().await;
    }
    let closed = r#"castaway_connections_closed_total{reason="stalled"}"#;
    app.until_metric(closed, |count| count == 1).await;
    app.until_metric("castaway_listeners", |count| count == 0)
        .await;
    drop(stalled);
}

#[tokio::test]
async fn clips_leave_as_soon_as_there_is_room() {
    for way in Way::ALL {
        let app = TestApp::with_config(|config| {
            way.configure(config);
            config.upload.clips_burst = 1000;
            config.upload.clips_per_minute = 10_000_000;
            config.listener.queue_clips = 1000;
        })
        .await;
        let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
        let mut listener = Client::listener(&app, way, "bob", "show").await;
        // More than the Socket.IO library's own queue takes, while the listener reads nothing.
        for number in 0..600 {
            streamer.upload(&clip(number, 16 << 10)).await;
            streamer.is_received().await;
        }
        for expected in 0..600 {
            assert_eq!(number(&listener.hears_clip().await), expected, "{way:?}");
        }
    }
}

#[tokio::test]
async fn stop_does_not_wait_for_a_stalled_listener() {
    let app = app(Duration::from_mins(1), 16).await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let stalled = small(&app).await;
    for number in 0..10 {
        streamer.upload(&clip(number, BIG)).await;
        streamer.is_received().await;
    }
    // The Socket.IO library's own end may wait for the stalled one: it has a quarter of the time there is.
    let start = tokio::time::Instant::now();
    app.stop().await;
    assert!(start.elapsed() < TEST_TIMEOUT / 2, "{:?}", start.elapsed());
    drop(stalled);
}
