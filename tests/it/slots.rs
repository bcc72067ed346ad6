//! What a client without a namespace holds, and when it is given back.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::app::TestApp;
use crate::support::raw::{POLLING, Raw, WEB_SOCKET, frame, handshake};

const NOT_JOINED: &str = r#"castaway_connections_closed_total{reason="not_joined"}"#;

#[tokio::test]
async fn closed_connection_gives_its_slot_back_at_once() {
    // How a client may end a WebSocket; each far earlier than `connect_timeout`.
    let ends: [Option<Vec<u8>>; 3] = [
        None,
        Some(frame(0x88, b"\x03\xe8")),
        Some(frame(0x81, b"1")),
    ];
    for end in ends {
        let app = TestApp::with_config(|config| {
            config.server.connect_timeout = Duration::from_mins(10);
            config.server.max_connections_per_address = 3;
            config.server.max_unjoined_sessions_per_address = Some(3);
        })
        .await;
        for _ in 0..12 {
            let mut raw = Raw::web_socket(&app, WEB_SOCKET).await;
            if let Some(end) = &end {
                raw.send(end).await;
                assert!(raw.close_frame().await.is_some());
            }
            drop(raw);
            app.until_metric("castaway_connections", |open| open == 0)
                .await;
            app.until_metric("castaway_sessions", |open| open == 0)
                .await;
        }
    }
}

#[tokio::test]
async fn closed_polling_session_frees_its_slot_at_once() {
    let app = TestApp::with_config(|config| {
        config.server.connect_timeout = Duration::from_mins(10);
        config.server.max_sessions_per_address = Some(1);
    })
    .await;
    for _ in 0..5 {
        let (mut raw, path) = Raw::polling(&app, "").await;
        assert_eq!(raw.ask("POST", &path, "", Some("1")).await.0, 200);
        app.until_metric("castaway_sessions", |open| open == 0)
            .await;
    }
}

#[tokio::test]
async fn refused_client_has_no_more_time_than_another() {
    let time = Duration::from_millis(1500);
    let app = TestApp::with_config(|config| config.server.connect_timeout = time).await;
    let start = Instant::now();
    let mut refused = Raw::web_socket(&app, WEB_SOCKET).await;
    refused.send(&frame(0x81, b"40/listener,")).await;
    let (mut polled, path) = Raw::polling(&app, "").await;
    assert_eq!(
        polled.ask("POST", &path, "", Some("40/streamer,")).await.0,
        200
    );
    refused
        .next_text(|text| text.starts_with("41/listener"))
        .await
        .expect("DISCONNECT");
    assert!(start.elapsed() < time, "the machine is too busy");
    assert!(refused.close_frame().await.is_some());
    app.until_metric(NOT_JOINED, |count| count == 2).await;
    app.until_metric("castaway_sessions", |count| count == 0)
        .await;
    assert_eq!(polled.ask("GET", &path, "", None).await.0, 400);
}

#[tokio::test]
async fn sessions_are_counted_in_four_ways() {
    for limit in ["total", "address", "unjoined", "connection"] {
        let app = TestApp::with_config(|config| {
            let server = &mut config.server;
            match limit {
                "total" => server.max_sessions = Some(3),
                "address" => {
                    server.max_sessions_per_address = Some(3);
                    server.max_unjoined_sessions_per_address = Some(100);
                }
                "unjoined" => server.max_unjoined_sessions_per_address = Some(3),
                _ => server.max_sessions_per_connection = 3,
            }
        })
        .await;
        let refusal = if limit == "total" { 503 } else { 429 };
        let mut raw = Raw::connect(&app).await;
        for status in [200, 200, 200, refusal] {
            assert_eq!(raw.ask("GET", POLLING, "", None).await.0, status, "{limit}");
        }
        // Another connection is no way round it, unless the limit is the connection's.
        let mut other = Raw::connect(&app).await;
        let status = other.ask("GET", WEB_SOCKET, &handshake(), None).await.0;
        assert_eq!(status, if limit == "connection" { 101 } else { refusal });
        let sessions = 3 + u64::from(limit == "connection");
        assert_eq!(app.metric("castaway_sessions_refused_total"), 5 - sessions);
        app.until_metric("castaway_sessions", |count| count == sessions)
            .await;
    }
}

#[tokio::test]
async fn sessions_behind_a_proxy_are_counted_apart() {
    let app = TestApp::with_config(|config| {
        config.server.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
        config.server.max_sessions_per_address = Some(1);
    })
    .await;
    for (client, status) in [
        ("5.6.7.8:1", 200),
        ("5.6.7.8:2", 429),
        ("[2001:db8::1]:1", 200),
        ("2001:db8::ffff", 429),
        ("2001:db8:0:1::1", 200),
    ] {
        let header = format!("X-Forwarded-For: {client}\r\n");
        let mut raw = Raw::connect(&app).await;
        let answered = raw.ask("GET", POLLING, &header, None).await.0;
        assert_eq!(answered, status, "{client}");
    }
}

#[tokio::test]
async fn large_request_head_is_refused_with_431() {
    let app = TestApp::start().await;
    for (name, bytes, status) in [
        ("id-token", 4_000, 200),
        ("id-token", 9_000, 431),
        ("livestream-id", 380_000, 431),
        ("x-anything", 20_000, 431),
    ] {
        let mut raw = Raw::connect(&app).await;
        // A small request before it changes nothing.
        assert_eq!(raw.ask("GET", POLLING, "", None).await.0, 200);
        let header = format!("{name}: {}\r\n", "x".repeat(bytes));
        assert_eq!(
            raw.ask("GET", POLLING, &header, None).await.0,
            status,
            "{name} {bytes}"
        );
    }
    let large = r#"castaway_connections_closed_total{reason="large_headers"}"#;
    assert_eq!(app.metric(large), 3);
}

#[tokio::test]
async fn message_before_joining_may_have_16_kib() {
    let app = TestApp::start().await;
    for (extra, status) in [(0, 200), (1, 413)] {
        let (mut raw, path) = Raw::polling(&app, "").await;
        let body = format!("4{}", "5".repeat((16 << 10) - 1 + extra));
        let answered = raw.ask("POST", &path, "", Some(&body)).await.0;
        if extra == 0 {
            // No packet of Socket.IO, but not too large.
            assert_ne!(answered, 413);
        } else {
            assert_eq!(answered, status);
            let mut raw = Raw::connect(&app).await;
            assert_eq!(raw.ask("GET", &path, "", None).await.0, 400, "it has ended");
        }
    }
}
