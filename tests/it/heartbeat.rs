//! Who is alive: a session whose bytes arrive, whether or not it answers pings.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::support::app::TestApp;
use crate::support::client::{Client, Said, Way, clip};
use crate::support::raw::{Raw, WEB_SOCKET, connect, frame, handshake, request};

const INTERVAL: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_millis(500);

const UPLOAD: &str = r#"451-/streamer,7["upload",{"_placeholder":true,"num":0}]"#;
const HEARTBEAT: &str = r#"castaway_connections_closed_total{reason="heartbeat"}"#;

async fn app(min_bytes_per_second: u32) -> TestApp {
    TestApp::with_config(|config| {
        config.server.ping_interval = INTERVAL;
        config.server.ping_timeout = TIMEOUT;
        config.server.min_bytes_per_second = min_bytes_per_second;
    })
    .await
}

/// A streamer on a WebSocket that was let in.
async fn streamer(app: &TestApp) -> Raw {
    let mut raw = Raw::web_socket(app, WEB_SOCKET).await;
    let join = connect(app, "streamer", "ada", "show");
    raw.send(&frame(0x81, join.as_bytes())).await;
    raw.next_text(|text| text.contains("connected as"))
        .await
        .expect("success");
    raw
}

/// Sends bytes slowly: so many each 20 ms.
async fn send_slowly(raw: &mut Raw, bytes: &[u8], each: usize) {
    for piece in bytes.chunks(each) {
        raw.send(piece).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn slow_upload_over_a_web_socket_is_taken() {
    // One clip in one frame, or many clips: longer than interval and timeout, and no pong in between.
    for (clips, size) in [(1, 150_000), (10, 15_000)] {
        let app = app(1000).await;
        let mut raw = streamer(&app).await;
        let one = [frame(0x81, UPLOAD.as_bytes()), frame(0x82, &vec![7; size])].concat();
        send_slowly(&mut raw, &one.repeat(clips), 1000).await;
        let mut pings = 0;
        for _ in 0..clips {
            while let Some(text) = raw
                .next_text(|text| text == "2" || text.starts_with("43/"))
                .await
            {
                if text.starts_with("43/") {
                    assert!(text.contains(r#""ok":true"#), "{text}");
                    break;
                }
                pings += 1;
            }
        }
        // The client, too, would take a server that does not ping for dead.
        assert!(pings >= 3, "{pings} pings in 3 s");
        assert_eq!(app.metric("castaway_clips_received_total"), clips as u64);
        assert_eq!(app.metric(HEARTBEAT), 0);
    }
}

#[tokio::test]
async fn slow_upload_by_polling_is_taken() {
    let app = app(1000).await;
    let (mut raw, path) = Raw::polling(&app, "").await;
    let join = connect(&app, "streamer", "ada", "show");
    assert_eq!(raw.ask("POST", &path, "", Some(&join)).await.0, 200);
    let mut polls = Raw::connect(&app).await;
    while !polls
        .ask("GET", &path, "", None)
        .await
        .1
        .contains("connected as")
    {}
    let body = format!("{UPLOAD}\u{1e}b{}", STANDARD.encode(vec![7; 110_000]));
    let whole = request("POST", &path, "", Some(&body));
    let start = Instant::now();
    let polling = async {
        let (mut pings, mut all) = (0, String::new());
        while !all.contains("43/streamer,7") {
            let (status, body) = polls.ask("GET", &path, "", None).await;
            assert_eq!(status, 200);
            pings += usize::from(body.split('\u{1e}').any(|packet| packet == "2"));
            all.push_str(&body);
        }
        assert!(all.contains(r#""ok":true"#), "{all}");
        pings
    };
    let (pings, ()) = tokio::join!(polling, send_slowly(&mut raw, whole.as_bytes(), 1000));
    assert_eq!(raw.answer().await.0, 200);
    assert!(start.elapsed() > INTERVAL + TIMEOUT);
    assert!(pings >= 3, "{pings} pings in 3 s");
}

#[tokio::test]
async fn upload_below_the_minimum_rate_is_cut_off() {
    for polling in [false, true] {
        let app = app(100_000).await;
        let mut raw;
        if polling {
            let path;
            (raw, path) = Raw::polling(&app, "").await;
            let join = connect(&app, "streamer", "ada", "show");
            assert_eq!(raw.ask("POST", &path, "", Some(&join)).await.0, 200);
            app.until_metric("castaway_admissions_total", |count| count == 1)
                .await;
            let whole = request("POST", &path, "", Some(&"4".repeat(10_000)));
            send_slowly(&mut raw, &whole.as_bytes()[..300], 300).await;
        } else {
            raw = streamer(&app).await;
            raw.send(&frame(0x82, &[7; 10_000])[..300]).await;
        }
        let dribble = async {
            loop {
                send_slowly(&mut raw, b"4", 1).await;
            }
        };
        tokio::select! {
            () = app.until_metric(HEARTBEAT, |count| count == 1) => {}
            () = dribble => {}
        }
        app.until_metric("castaway_sessions", |count| count == 0)
            .await;
    }
}

#[tokio::test]
async fn dribbled_post_of_a_polling_session_is_cut() {
    let app = app(100_000).await;
    let (mut raw, path) = Raw::polling(&app, "").await;
    let join = connect(&app, "streamer", "ada", "show");
    assert_eq!(raw.ask("POST", &path, "", Some(&join)).await.0, 200);
    let whole = request("POST", &path, "", Some(&"4".repeat(10_000)));
    raw.send(&whole.as_bytes()[..300]).await;
    let mut polls = Raw::connect(&app).await;
    let polling = async { while polls.ask("GET", &path, "", None).await.0 == 200 {} };
    let dribble = async {
        loop {
            send_slowly(&mut raw, b"4", 1).await;
        }
    };
    tokio::select! {
        () = polling => {}
        () = dribble => {}
    }
    app.until_metric("castaway_sessions", |count| count == 0)
        .await;
}

#[tokio::test]
async fn dead_client_is_noticed_after_interval_and_timeout() {
    for way in [Way::WebSocket, Way::Polling, Way::Upgraded] {
        let app = app(1000).await;
        let client = Client::streamer(&app, way, "show").await;
        let start = Instant::now();
        // It no longer reads or writes.
        app.until_metric(HEARTBEAT, |count| count == 1).await;
        let took = start.elapsed();
        assert!(
            took > INTERVAL && took < 4 * (INTERVAL + TIMEOUT),
            "{way:?}: {took:?}"
        );
        app.until_metric("castaway_sessions", |count| count == 0)
            .await;
        drop(client);
    }
}

/// A proxy in front of the daemon: its own connection to the daemon is always alive. Where it takes connections.
async fn proxy(app: &TestApp) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.expect("a free port");
    let (address, daemon) = (listener.local_addr().expect("bound"), app.clients());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = TcpStream::connect(daemon).await.expect("the daemon");
                copy_bidirectional(&mut client, &mut server).await.ok();
            });
        }
    });
    address
}

/// Joins as `role` on a WebSocket through the proxy; its OPEN packet.
async fn joined_through(app: &TestApp, proxy: SocketAddr, role: &str) -> (Raw, String) {
    let mut raw = Raw::to(proxy).await;
    raw.send(request("GET", WEB_SOCKET, &handshake(), None).as_bytes())
        .await;
    assert_eq!(raw.answer().await.0, 101);
    let open = raw.next_text(|text| text.starts_with('0')).await;
    let join = connect(app, role, "ada", "show");
    raw.send(&frame(0x81, join.as_bytes())).await;
    raw.next_text(|text| text.contains("connected as"))
        .await
        .expect("success");
    (raw, open.expect("OPEN"))
}

#[tokio::test]
async fn dead_streamer_behind_a_proxy_is_noticed() {
    let timeout = Duration::from_secs(1);
    let app = TestApp::with_config(|config| config.server.streamer_timeout = timeout).await;
    let proxy = proxy(&app).await;
    // The listener answers no pings either, and nobody expects it to.
    let (streamer, open) = joined_through(&app, proxy, "streamer").await;
    let (_listener, _) = joined_through(&app, proxy, "listener").await;
    assert!(
        open.contains(r#""pingInterval":25000,"pingTimeout":20000"#),
        "{open}"
    );
    let start = Instant::now();
    app.until_metric(HEARTBEAT, |count| count == 1).await;
    assert!(start.elapsed() < 4 * timeout, "{:?}", start.elapsed());
    app.until_metric("castaway_sessions", |count| count == 1)
        .await;
    drop(streamer);
}

#[tokio::test]
async fn streamer_that_answers_early_pings_stays() {
    let timeout = Duration::from_secs(1);
    let app = TestApp::with_config(|config| config.server.streamer_timeout = timeout).await;
    let proxy = proxy(&app).await;
    let (mut streamer, _) = joined_through(&app, proxy, "streamer").await;
    let (start, mut pings) = (Instant::now(), 0);
    while start.elapsed() < 3 * timeout {
        streamer
            .next_text(|text| text == "2")
            .await
            .expect("a ping");
        streamer.send(&frame(0x81, b"3")).await;
        pings += 1;
    }
    assert!(pings >= 4, "{pings} pings");
    assert_eq!(app.metric(HEARTBEAT), 0);
    assert_eq!(app.metric("castaway_sessions"), 1);
}

#[tokio::test]
async fn client_that_answers_pings_stays() {
    for way in Way::ALL {
        let app = app(1000).await;
        let mut listener_app = Client::streamer(&app, way, "show").await;
        let end = Instant::now() + 4 * (INTERVAL + TIMEOUT);
        while Instant::now() < end {
            assert!(listener_app.hears_nothing_for(INTERVAL).await, "{way:?}");
        }
        listener_app.upload(&clip(1, 100)).await;
        let received = Said::Text("success".into(), "Packet received from user ada".into());
        assert_eq!(listener_app.next().await, received, "{way:?}");
    }
}
