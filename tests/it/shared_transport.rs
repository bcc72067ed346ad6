//! Both namespaces on one session, as the libraries put those of one page: neither is the other's end.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use crate::support::app::{TEST_TIMEOUT, TestApp};
use crate::support::client::{Client, Way, clip};
use crate::support::google::{Endpoint, Fault};
use crate::support::wire::{Packet, Wire, headers};

/// A session of `ada`'s with both namespaces.
struct Page {
    wire: Wire,
}

impl Page {
    async fn open(app: &TestApp, way: Way) -> Self {
        let token = app.token("ada");
        let headers = headers(&[("id-token", &*token)]);
        let wire = match way {
            Way::Polling | Way::Upgraded => Wire::polling(app.clients(), &headers).await,
            // A small buffer, so that a page that does not read takes little.
            _ => Wire::web_socket(app.clients(), &headers, Some(16 << 10)).await,
        };
        let mut page = Self { wire };
        page.join("/streamer", "show").await;
        page.hears(r#"2/streamer,["success","User ada"#).await;
        if way == Way::Upgraded {
            page.wire.upgrade().await;
        }
        page
    }

    async fn join(&mut self, namespace: &str, livestream: &str) {
        self.say(&format!(
            r#"0{namespace},{{"livestreamId":"{livestream}"}}"#
        ))
        .await;
    }

    async fn say(&mut self, text: &str) {
        self.wire.send(&[Packet::Text(text.to_owned())]).await;
    }

    /// Waits for a message that begins so.
    async fn hears(&mut self, start: &str) -> String {
        let heard = async {
            loop {
                match self.wire.next().await {
                    Some(Packet::Text(text)) if text.starts_with(start) => return text,
                    Some(_) => {}
                    None => panic!("the transport is closed before {start}"),
                }
            }
        };
        timeout(TEST_TIMEOUT, heard)
            .await
            .unwrap_or_else(|_| panic!("{start} does not come"))
    }

    async fn is_closed(&mut self) {
        let closed = async { while self.wire.next().await.is_some() {} };
        timeout(TEST_TIMEOUT, closed).await.expect("it is closed");
    }

    async fn is_on_air(&mut self) {
        let head = r#"51-/streamer,9["upload",{"_placeholder":true,"num":0}]"#;
        let packets = [
            Packet::Text(head.to_owned()),
            Packet::Binary(Bytes::from_static(b"clip")),
        ];
        self.wire.send(&packets).await;
        let answer = self.hears("3/streamer,9[").await;
        assert!(answer.contains(r#""ok":true"#), "{answer}");
    }
}

/// Longer than a refused client has before it is parted from.
const FAREWELL: Duration = Duration::from_millis(900);

#[tokio::test]
async fn full_house_for_listeners_spares_the_streamer() {
    for way in [Way::WebSocket, Way::Polling, Way::Upgraded] {
        let app = TestApp::with_config(|config| {
            config.livestream.max_listeners = 1;
            config.server.max_refusals = 1;
        })
        .await;
        let mut page = Page::open(&app, way).await;
        let mut guest = Client::listener(&app, Way::WebSocket, "bob", "show").await;
        page.join("/listener", "show").await;
        page.hears(r#"2/listener,["error","Server is full, try again later."#)
            .await;
        tokio::time::sleep(FAREWELL).await;
        page.is_on_air().await;
        // It is let in once there is room, without asking again.
        guest.leave().await;
        page.hears(r#"2/listener,["success","User ada"#).await;
        page.is_on_air().await;
    }
}

#[tokio::test]
async fn outage_for_its_listener_leaves_the_streamer_alone() {
    let app = TestApp::with_config(|config| config.google.cache_ttl = Duration::ZERO).await;
    let mut page = Page::open(&app, Way::WebSocket).await;
    app.google.fail(Endpoint::Read, Fault::Status(503), 1000);
    page.join("/listener", "other").await;
    page.hears(r#"2/listener,["error","Service is temporarily"#)
        .await;
    tokio::time::sleep(FAREWELL).await;
    page.is_on_air().await;
    app.google.heal();
    // Then it is refused for good, and that is the end of its namespace alone.
    page.hears(r#"2/listener,["error","Livestream other has not"#)
        .await;
    page.hears("1/listener,").await;
    page.is_on_air().await;
}

#[tokio::test]
async fn temporary_refusal_closes_a_transport_that_is_alone() {
    let app = TestApp::with_config(|config| config.livestream.max_listeners = 1).await;
    let mut page = Page::open(&app, Way::WebSocket).await;
    let _guest = Client::listener(&app, Way::WebSocket, "bob", "show").await;
    page.join("/listener", "show").await;
    page.hears(r#"2/listener,["error""#).await;
    // The streamer is gone: nothing else is alive, and the client comes back by itself.
    page.say("1/streamer,").await;
    page.is_closed().await;
}

#[tokio::test]
async fn refused_streamer_leaves_its_listener_alone() {
    let app = TestApp::with_config(|config| config.livestream.max_live = 1).await;
    let mut host = Client::streamer(&app, Way::WebSocket, "show").await;
    let token = app.token("ada");
    let headers = headers(&[("id-token", &*token)]);
    let wire = Wire::web_socket(app.clients(), &headers, None).await;
    let mut page = Page { wire };
    page.join("/listener", "show").await;
    page.hears(r#"2/listener,["success""#).await;
    page.join("/streamer", "other").await;
    page.hears(r#"2/streamer,["error","Server is full"#).await;
    tokio::time::sleep(FAREWELL).await;
    host.upload(&clip(1, 100)).await;
    page.hears(r#"51-/listener,["audio""#).await;
    // Its livestream gives way, and the streamer is let in without asking again.
    host.leave().await;
    page.hears("1/listener,").await;
}

/// Its listener takes clips too slowly, or not at all: it loses them, and the streamer stays.
#[tokio::test]
async fn stalled_listener_leaves_its_streamer_alone() {
    for way in [Way::WebSocket, Way::Copied, Way::Polling] {
        let app = TestApp::with_config(|config| {
            way.configure(config);
            config.listener.max_lag = Duration::from_millis(300);
            config.listener.stall_timeout = Duration::from_millis(300);
            config.server.send_buffer_bytes = 4 << 10;
        })
        .await;
        let mut page = Page::open(&app, way).await;
        page.join("/listener", "show").await;
        page.hears(r#"2/listener,["success","User ada"#).await;
        let head = r#"51-/streamer,["upload",{"_placeholder":true,"num":0}]"#;
        for number in 0..8 {
            let clip = Packet::Binary(clip(number, 1 << 20));
            page.wire.send(&[Packet::Text(head.to_owned()), clip]).await;
        }
        app.until_metric("castaway_clips_dropped_total", |dropped| dropped > 0)
            .await;
        page.is_on_air().await;
        assert_eq!(
            app.metric("castaway_connections_closed_total"),
            0,
            "{way:?}"
        );
    }
}
