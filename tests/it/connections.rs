//! The client port below Socket.IO: how many connections there may be, and how long one may dawdle.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::app::{TEST_TIMEOUT, TestApp};
use crate::support::client::{Client, Way, clip};

/// Sends bytes; what is answered until the connection ends.
async fn exchange(address: SocketAddr, bytes: &str) -> String {
    let mut tcp = TcpStream::connect(address).await.expect("a connection");
    tcp.write_all(bytes.as_bytes()).await.ok();
    read_to_end(&mut tcp).await
}

async fn read_to_end(tcp: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset is an end, too.
    timeout(TEST_TIMEOUT, tcp.read_to_end(&mut answer))
        .await
        .expect("an end")
        .ok();
    String::from_utf8_lossy(&answer).into_owned()
}

/// A WebSocket handshake that was forwarded for `client`; the connection and the status.
async fn forwarded(address: SocketAddr, client: &str) -> (TcpStream, String) {
    let mut tcp = TcpStream::connect(address).await.expect("a connection");
    let request = format!(
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         X-Forwarded-For: {client}\r\n\r\n"
    );
    tcp.write_all(request.as_bytes()).await.expect("a request");
    let mut status = [0; 12];
    timeout(TEST_TIMEOUT, tcp.read_exact(&mut status))
        .await
        .expect("an answer")
        .expect("an answer");
    let status = String::from_utf8_lossy(&status[9..]).into_owned();
    (tcp, status)
}

#[tokio::test]
async fn connection_over_the_limit_is_closed() {
    for per_address in [false, true] {
        let app = TestApp::with_config(|config| {
            if per_address {
                config.server.max_connections_per_address = 3;
                config.server.max_sessions_per_address = Some(100);
            } else {
                config.server.max_connections = 3;
            }
        })
        .await;
        let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
        let mut listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
        let third = TcpStream::connect(app.clients())
            .await
            .expect("a connection");
        app.until_metric("castaway_connections", |open| open == 3)
            .await;
        let request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(exchange(app.clients(), request).await, "");
        assert_eq!(app.metric("castaway_connections_refused_total"), 1);
        streamer.upload(&clip(1, 100)).await;
        listener.hears(&clip(1, 100)).await;
        // The health port has its own, and a place that becomes free is free.
        drop(third);
        app.until_metric("castaway_connections", |open| open == 2)
            .await;
        let _carol = Client::listener(&app, Way::WebSocket, "carol", "show").await;
    }
}

#[tokio::test]
async fn late_headers_close_the_connection() {
    let app =
        TestApp::with_config(|config| config.server.header_timeout = Duration::from_millis(300))
            .await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let mut slow = TcpStream::connect(app.clients())
        .await
        .expect("a connection");
    let mut half = TcpStream::connect(app.clients())
        .await
        .expect("a connection");
    half.write_all(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nX-Sl")
        .await
        .expect("half a request");
    let drip = async {
        // A byte now and then does not help.
        while slow.write_all(b"G").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(TEST_TIMEOUT, drip).await.expect("an end");
    read_to_end(&mut half).await;
    assert!(app.metric("castaway_connections_closed_total") >= 1);
    streamer.upload(&clip(1, 100)).await;
    streamer.is_received().await;
}

#[tokio::test]
async fn headers_that_are_too_large_are_refused() {
    let app = TestApp::start().await;
    let address = app.clients();
    let header = format!("X-Large: {}\r\n", "x".repeat(1 << 20));
    let request = format!("GET / HTTP/1.1\r\nHost: x\r\n{header}\r\n");
    let answer = exchange(address, &request).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    for junk in [
        "\0\0\0\0\r\n\r\n",
        "GET\r\n\r\n",
        "BREW / HTTP/9.9\r\n\r\n",
        "\u{16}\u{3}\u{1}",
    ] {
        let mut tcp = TcpStream::connect(address).await.expect("a connection");
        tcp.write_all(junk.as_bytes()).await.ok();
        tcp.shutdown().await.ok();
        let answer = read_to_end(&mut tcp).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{answer}"
        );
    }
    let _streamer = Client::streamer(&app, Way::WebSocket, "show").await;
}

#[tokio::test]
async fn client_behind_a_trusted_proxy_is_counted() {
    let app = TestApp::with_config(|config| {
        config.server.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
        config.server.max_connections_per_address = 2;
        config.server.max_sessions_per_address = Some(100);
    })
    .await;
    let mut open = Vec::new();
    for client in ["1.1.1.1", "1.1.1.1", "2.2.2.2", "9.9.9.9, 2.2.2.2"] {
        let (tcp, status) = forwarded(app.clients(), client).await;
        assert_eq!(status, "101", "{client}");
        open.push(tcp);
    }
    for client in ["1.1.1.1", "2.2.2.2"] {
        assert_eq!(forwarded(app.clients(), client).await.1, "429", "{client}");
    }
    open.clear();
    app.until_metric("castaway_connections", |open| open == 0)
        .await;
    assert_eq!(forwarded(app.clients(), "1.1.1.1").await.1, "101");
}

#[tokio::test]
async fn poll_behind_a_trusted_proxy_is_counted() {
    let app = TestApp::with_config(|config| {
        config.server.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
        config.server.max_connections_per_address = 2;
        config.server.max_sessions_per_address = Some(100);
    })
    .await;
    let mut open = Vec::new();
    for client in ["1.1.1.1", "1.1.1.1", "2.2.2.2"] {
        let mut proxy = TcpStream::connect(app.clients()).await.expect("a way");
        assert_eq!(poll(&mut proxy, client).await, "200", "{client}");
        open.push(proxy);
    }
    assert_eq!(poll(&mut open[2], "1.1.1.1").await, "429");
    assert_eq!(forwarded(app.clients(), "1.1.1.1").await.1, "429");
    // The proxy uses one of the connections for another: so there is room for one more.
    assert_eq!(poll(&mut open[0], "3.3.3.3").await, "200");
    assert_eq!(poll(&mut open[2], "1.1.1.1").await, "200");
}

/// Opens a session by polling, on a proxy's connection that is kept; the status.
async fn poll(proxy: &mut TcpStream, client: &str) -> String {
    let request = format!(
        "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {client}\r\n\r\n"
    );
    proxy.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = vec![0; 4 << 10];
    let read = timeout(TEST_TIMEOUT, proxy.read(&mut answer)).await;
    let length = read.expect("an answer").expect("an answer");
    String::from_utf8_lossy(&answer[9..12.min(length)]).into_owned()
}

#[tokio::test]
async fn forwarded_address_of_a_stranger_is_ignored() {
    let app = TestApp::with_config(|config| {
        config.server.max_connections_per_address = 2;
        config.server.max_sessions_per_address = Some(100);
    })
    .await;
    let first = forwarded(app.clients(), "1.1.1.1").await;
    let second = forwarded(app.clients(), "2.2.2.2").await;
    assert_eq!((&*first.1, &*second.1), ("101", "101"));
    assert_eq!(exchange(app.clients(), "GET / HTTP/1.1\r\n\r\n").await, "");
}

#[tokio::test]
async fn idle_connection_is_closed() {
    let app =
        TestApp::with_config(|config| config.server.idle_timeout = Duration::from_millis(300))
            .await;
    // It answers a request first, and then waits for the next one in vain.
    let request = "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n";
    let answer = exchange(app.clients(), request).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    app.until_metric("castaway_connections", |open| open == 0)
        .await;
}
