//! The operator's API: on the health port with a token, on its Unix socket, and from the command line.

mod audit;
mod bans;
mod drain;
mod page;

use std::path::Path;
use std::process::{Command, Output};

use castaway_media_server::app::Directories;
use castaway_media_server::config::Config;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::app::{TestApp, world};
use crate::support::client::{Client, Said, Way, clip};
use crate::support::wire::http_client;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn open(config: &mut Config) {
    config.api.token = Some(format!("ops:{TOKEN}").into());
}

async fn start() -> TestApp {
    TestApp::with_config(open).await
}

/// A daemon whose state and socket are in this directory.
async fn beside(directory: &TempDir) -> TestApp {
    let path = || Some(directory.path().to_owned());
    let directories = Directories {
        state: path(),
        runtime: path(),
    };
    TestApp::beside(world().await, &directories, open).await
}

/// Asks the API, with a body if there is one; the status, and the answer.
async fn ask(app: &TestApp, method: &str, path: &str, body: Option<&str>) -> (u16, Value) {
    let method = method.parse().expect("a method");
    let request = http_client().request(method, app.health_url(&format!("/api/v1{path}")));
    let mut request = request.header("authorization", format!("Bearer {TOKEN}"));
    if let Some(body) = body {
        request = request
            .header("content-type", "application/json")
            .body(body.to_owned());
    }
    let answer = request.send().await.expect("an answer");
    let status = answer.status();
    let kind = answer.headers().get("content-type").cloned();
    if status.is_client_error() {
        assert_eq!(kind.expect("a type"), "application/problem+json");
    }
    let text = answer.text().await.expect("a body");
    (
        status.as_u16(),
        serde_json::from_str(&text).unwrap_or_default(),
    )
}

#[tokio::test]
async fn api_without_its_token_is_closed() {
    let app = start().await;
    for token in ["", "x", &TOKEN[1..]] {
        let request = http_client().get(app.health_url("/api/v1/livestreams"));
        let answer = request
            .header("authorization", format!("Bearer {token}"))
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status().as_u16(), 401);
        let problem: Value = answer.json().await.expect("JSON");
        assert_eq!(problem["status"], 401);
    }
    assert_eq!(ask(&app, "GET", "/livestreams", None).await.0, 200);
    let unauthorized = r#"castaway_api_requests_total{outcome="unauthorized"}"#;
    assert_eq!(app.metric(unauthorized), 3);
}

#[tokio::test]
async fn control_page_needs_an_open_api() {
    let page = async |address: String| {
        let answer = http_client().get(address).send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.text().await.expect("a text"))
    };
    let app = start().await;
    let (status, text) = page(app.health_url("/control")).await;
    assert_eq!((status, text.contains("<title>Control")), (200, true));
    assert_eq!(page(app.url("/control")).await.0, 404);
    let closed = TestApp::start().await;
    let (status, text) = page(closed.health_url("/control")).await;
    assert_eq!((status, text.contains("castaway.api.token")), (404, true));
}

#[tokio::test]
async fn client_port_has_no_api() {
    let app = start().await;
    let answer = http_client()
        .get(app.url("/api/v1/livestreams"))
        .header("authorization", format!("Bearer {TOKEN}"));
    assert_eq!(
        answer.send().await.expect("an answer").status().as_u16(),
        404
    );
}

#[tokio::test]
async fn livestreams_are_listed_and_shown() {
    let app = start().await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let _other = Client::streamer(&app, Way::WebSocket, "other").await;
    let mut listener = Client::listener(&app, Way::Polling, "bob", "show").await;
    streamer.upload(&clip(1, 3_000)).await;
    listener.hears(&clip(1, 3_000)).await;
    let (_, list) = ask(&app, "GET", "/livestreams?sort=listeners&limit=1", None).await;
    assert_eq!(list["total"], 2);
    let found = &list["livestreams"][0];
    assert_eq!(found["id"], "show");
    assert_eq!(found["state"], "live");
    assert_eq!(found["streamer"], "ada");
    assert_eq!(found["listeners"], 1);
    assert_eq!(found["sequence"], 1);
    assert_eq!([&found["bytes_in"], &found["bytes_out"]], [3_000, 3_000]);
    assert_eq!(found["bytes_per_second"], 100);
    let (_, page) = ask(&app, "GET", "/livestreams?offset=1", None).await;
    assert_eq!(page["livestreams"].as_array().map(Vec::len), Some(1));
    let (status, shown) = ask(&app, "GET", "/livestreams/show", None).await;
    assert_eq!(status, 200);
    let sockets = shown["sockets"].as_array().expect("sockets");
    assert_eq!(sockets.len(), 2);
    assert_eq!(sockets[0]["role"], "streamer");
    assert_eq!(sockets[1]["user"], "bob");
    assert_eq!(sockets[1]["transport"], "polling");
}

#[tokio::test]
async fn operator_ends_a_livestream_for_everybody() {
    let app = start().await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let mut listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
    app.until_it_says("show", true).await;
    assert_eq!(
        ask(&app, "POST", "/livestreams/show/end", None).await.0,
        204
    );
    for client in [&mut streamer, &mut listener] {
        assert_eq!(client.next().await, Said::Disconnect);
        assert_eq!(client.states.last().expect("a state")["state"], "ended");
    }
    app.until_it_says("show", false).await;
    assert_eq!(
        ask(&app, "POST", "/livestreams/show/end", None).await.0,
        404
    );
    // It is no ban.
    Client::streamer(&app, Way::WebSocket, "show").await;
}

#[tokio::test]
async fn kicked_streamer_is_told_why() {
    let app = start().await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let mut listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
    let path = "/livestreams/show/streamer?text=Too%20loud.";
    let (status, kicked) = ask(&app, "DELETE", path, None).await;
    assert_eq!((status, kicked), (200, json!({ "users": ["ada"] })));
    streamer.is_sent_away("Too loud.").await;
    listener
        .until_state(|state| state["state"] == "reconnecting")
        .await;
    let (status, _) = ask(&app, "DELETE", "/livestreams/show/streamer", None).await;
    assert_eq!(status, 409);
    Client::streamer(&app, Way::WebSocket, "show").await;
    listener.until_state(|state| state["state"] == "live").await;
}

#[tokio::test]
async fn kicked_socket_is_gone_for_good() {
    let app = start().await;
    let _streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let mut bob = Client::listener(&app, Way::WebSocket, "bob", "show").await;
    let mut eve = Client::listener(&app, Way::WebSocket, "eve", "show").await;
    let (_, shown) = ask(&app, "GET", "/livestreams/show", None).await;
    let sockets = shown["sockets"].as_array().expect("sockets");
    let bobs = sockets.iter().find(|socket| socket["user"] == "bob");
    let id = bobs
        .and_then(|socket| socket["id"].as_str())
        .expect("bob's");
    let (status, kicked) = ask(&app, "DELETE", &format!("/sockets/{id}"), None).await;
    assert_eq!((status, kicked), (200, json!({ "users": ["bob"] })));
    bob.is_sent_away("Disconnected by the operator of this service.")
        .await;
    let time = std::time::Duration::from_millis(100);
    assert!(eve.hears_nothing_for(time).await);
    assert_eq!(ask(&app, "DELETE", "/sockets/nobody", None).await.0, 404);
}

#[tokio::test]
async fn bad_requests_are_answered_with_problems() {
    let app = start().await;
    let long = format!("/livestreams/x/streamer?text={}", "x".repeat(501));
    for (method, path, body, expected) in [
        ("GET", "/livestreams?limit=0", None, 400),
        ("GET", "/livestreams?sort=age", None, 400),
        ("GET", "/livestreams?colour=red", None, 400),
        ("GET", "/livestreams/nobody", None, 404),
        ("GET", "/livestreams/%2E%2E%2Fetc", None, 404),
        ("POST", "/livestreams/nobody/end", None, 404),
        ("DELETE", "/livestreams/nobody/streamer", None, 404),
        ("DELETE", &*long, None, 400),
        ("PUT", "/bans/user/x", Some(r#"{"until":"tomorrow"}"#), 400),
        (
            "PUT",
            "/bans/user/x",
            Some(r#"{"until":"2001-01-01T00:00:00Z"}"#),
            400,
        ),
        ("PUT", "/bans/user/x", Some(r#"{"colour":"red"}"#), 400),
        ("PUT", "/bans/user/x", Some("{"), 400),
        ("PUT", "/bans/user/x", None, 415),
        ("PUT", "/bans/planet/x", Some("{}"), 404),
        ("GET", "/bans/user/nobody", None, 404),
        ("DELETE", "/bans/user/nobody", None, 404),
        ("PATCH", "/bans", None, 405),
        ("GET", "/nothing", None, 404),
    ] {
        let (status, problem) = ask(&app, method, path, body).await;
        assert_eq!(status, expected, "{method} {path}: {problem}");
        assert_eq!(problem["status"], expected, "{method} {path}");
        let detail = problem["detail"].as_str();
        assert!(detail.is_some_and(|it| !it.is_empty()), "{method} {path}");
    }
}

/// What `ctl` says on the socket in this directory.
pub(crate) async fn ctl(directory: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let program = env!("CARGO_BIN_EXE_castaway-media-server");
    let mut command = Command::new(program);
    command
        .arg("ctl")
        .arg("--socket")
        .arg(directory.join("api.sock"))
        .args(arguments);
    let Output {
        status,
        stdout,
        stderr,
    } = tokio::task::spawn_blocking(move || command.output())
        .await
        .expect("no panic")
        .expect("an end");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

#[tokio::test]
async fn command_line_does_what_the_api_does() {
    let directory = tempfile::tempdir().expect("a directory");
    let app = beside(&directory).await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let (code, list, _) = ctl(directory.path(), &["list"]).await;
    assert_eq!(code, Some(0));
    let lines: Vec<&str> = list.lines().collect();
    assert!(lines[0].starts_with("LIVESTREAM  STATE"), "{list}");
    assert!(lines[1].starts_with("show        live"), "{list}");
    let (_, shown, _) = ctl(directory.path(), &["show", "show", "--json"]).await;
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown["sockets"][0]["user"], "ada");
    let (code, said, _) = ctl(directory.path(), &["kick", "show", "--text", "Bye."]).await;
    assert_eq!((code, &*said), (Some(0), "disconnected: ada\n"));
    streamer.is_sent_away("Bye.").await;
    let ban = ["ban", "user", "ada", "--for", "2h", "--reason", "noise"];
    let (code, said, _) = ctl(directory.path(), &ban).await;
    assert_eq!(code, Some(0));
    assert!(said.starts_with("banned user ada until 2"), "{said}");
    let (_, bans, _) = ctl(directory.path(), &["bans"]).await;
    assert!(bans.contains("noise"), "{bans}");
    let (code, ..) = ctl(directory.path(), &["unban", "user", "ada"]).await;
    assert_eq!(code, Some(0));
    let (code, _, error) = ctl(directory.path(), &["end", "nobody"]).await;
    assert_eq!(code, Some(4));
    assert!(error.contains("no such livestream"), "{error}");
    let (code, ..) = ctl(Path::new("/nowhere"), &["list"]).await;
    assert_eq!(code, Some(3));
    let long = "x".repeat(1_001);
    for (refused, said) in [
        (&["ban", "user", "ada", "--reason", &long][..], "1000 bytes"),
        (&["kick", "show", "--text", ""], "text must have"),
    ] {
        let (code, _, error) = ctl(directory.path(), refused).await;
        assert_eq!(code, Some(1), "{error}");
        assert!(error.contains(said), "{error}");
    }
    for wrong in [&["kick"][..], &["list", "--token-file", "/nowhere"]] {
        let (code, _, error) = ctl(directory.path(), wrong).await;
        assert_eq!(code, Some(2), "{error}");
    }
    let (_, nodes, _) = ctl(directory.path(), &["nodes"]).await;
    assert!(nodes.starts_with("NODE "), "{nodes}");
    let (_, said, _) = ctl(directory.path(), &["drain"]).await;
    assert!(said.contains("drains: 0 streamers"), "{said}");
    let (_, said, _) = ctl(directory.path(), &["drain", "--undo"]).await;
    assert!(said.contains("admits clients"), "{said}");
}

#[tokio::test]
async fn node_alone_is_listed_with_its_counts() {
    let app = start().await;
    let _streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let _listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
    let (status, answer) = ask(&app, "GET", "/nodes", None).await;
    assert_eq!(status, 200);
    let nodes = answer["nodes"].as_array().expect("nodes");
    assert_eq!(nodes.len(), 1, "{answer}");
    assert_eq!([&nodes[0]["answers"], &nodes[0]["ready"]], [true, true]);
    assert_eq!([&nodes[0]["livestreams"], &nodes[0]["listeners"]], [1, 1]);
}
