//! The audit: each act has a line in the log that says who did it, and to whom.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;

use super::{TOKEN, ask, start};
use crate::support::client::{Client, Way};

/// The log of this thread, and so of a daemon in a runtime of one thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("the log").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// The lines about operators since the last call.
    fn acts(&self) -> Vec<String> {
        let text = std::mem::take(&mut *self.0.lock().expect("the log"));
        let text = String::from_utf8(text).expect("text");
        assert!(!text.contains(TOKEN), "{text}");
        let acts = text.lines().filter(|line| line.contains("operator: "));
        acts.map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn each_act_is_logged_with_its_operator() {
    let log = Log::default();
    let writer = log.clone();
    let layer = fmt::layer()
        .with_ansi(false)
        .with_writer(move || writer.clone());
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let app = start().await;
    let _streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let _listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
    let (_, shown) = ask(&app, "GET", "/livestreams/show", None).await;
    let sockets = shown["sockets"].as_array().expect("sockets");
    let socket = sockets[1]["id"].as_str().expect("an id");
    assert_eq!(log.acts(), Vec::<String>::new(), "looking is no act");
    let disconnect = format!("/sockets/{socket}?text=Bye.");
    let ban = r#"{"until": "2199-12-01T18:00:00Z", "reason": "noise"}"#;
    let socket_field = format!("socket.id=\"{socket}\"");
    for (method, path, body, says) in [
        (
            "DELETE",
            &*disconnect,
            None,
            &[&*socket_field, "user.id=bob", "Bye."][..],
        ),
        (
            "DELETE",
            "/livestreams/show/streamer?text=Too%20loud.",
            None,
            &["livestream.id=show", "user.id=ada", "Too loud."],
        ),
        (
            "POST",
            "/livestreams/show/end",
            None,
            &["livestream.id=show"],
        ),
        (
            "PUT",
            "/bans/user/eve",
            Some(ban),
            &["\"user\"", "\"eve\"", "noise", "2199-12-01T18:00:00Z"],
        ),
        (
            "PUT",
            "/bans/livestream/other",
            Some("{}"),
            &["\"livestream\"", "\"other\""],
        ),
        (
            "DELETE",
            "/bans/user/eve",
            None,
            &["\"user\"", "\"eve\"", "removed"],
        ),
        ("POST", "/drain", None, &["drain begins", "node="]),
        ("DELETE", "/drain", None, &["drain undone", "node="]),
    ] {
        let (status, answer) = ask(&app, method, path, body).await;
        assert!(status < 300, "{method} {path}: {answer}");
        let acts = log.acts();
        let [act] = &acts[..] else {
            panic!("{method} {path}: {acts:?}");
        };
        for part in ["operator=token ops"].iter().chain(says) {
            assert!(act.contains(part), "{method} {path} lacks {part}: {act}");
        }
    }
    // What has no effect is no act.
    assert_eq!(ask(&app, "DELETE", "/bans/user/eve", None).await.0, 404);
    assert_eq!(ask(&app, "DELETE", "/drain", None).await.0, 200);
    assert_eq!(log.acts(), Vec::<String>::new());
}
