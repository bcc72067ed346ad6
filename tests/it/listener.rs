//! The listener's door: what is heard, by whom, and from where on.

use std::time::Duration;

use serde_json::json;

use crate::support::app::TestApp;
use crate::support::client::{Client, Said, Way, clip, number};

#[tokio::test]
async fn clip_is_heard_in_its_livestream_alone() {
    for way in Way::ALL {
        let app = TestApp::with_config(|config| way.configure(config)).await;
        let mut streamer = Client::streamer(&app, way, "show").await;
        let mut other = Client::streamer(&app, way, "other").await;
        let mut bob = Client::listener(&app, way, "bob", "show").await;
        let mut carol = Client::listener(&app, way, "carol", "show").await;
        let mut dave = Client::listener(&app, way, "dave", "other").await;
        for (round, length) in [8, 125, 126, 65_535, 65_536, 2 << 20]
            .into_iter()
            .enumerate()
        {
            let (ours, theirs) = (clip(round, length), clip(100 + round, length));
            streamer.upload(&ours).await;
            other.upload(&theirs).await;
            bob.hears(&ours).await;
            carol.hears(&ours).await;
            dave.hears(&theirs).await;
            streamer.is_received().await;
            other.is_received().await;
        }
    }
}

#[tokio::test]
async fn late_joiner_gets_the_latest_clips_at_once() {
    for kept in [0, 1, 3] {
        for way in Way::ALL {
            let app = TestApp::with_config(|config| {
                way.configure(config);
                config.livestream.join_clips = kept;
            })
            .await;
            let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
            for number in 0..5 {
                streamer.upload(&clip(number, 100)).await;
                streamer.is_received().await;
            }
            let mut listener = Client::listener(&app, way, "bob", "show").await;
            streamer.upload(&clip(5, 100)).await;
            // At least the latest, or none at all, whatever the configuration's bounds.
            let first = number(&listener.hears_clip().await);
            let expected = 5 - kept;
            assert_eq!(first, expected, "{way:?}");
            for next in first + 1..=5 {
                assert_eq!(number(&listener.hears_clip().await), next, "{way:?}");
            }
        }
    }
}

/// Joins while clips are being sent; what is heard must be one run of numbers without a gap.
async fn joins_in_the_middle(way: Way, listeners: usize) {
    let app = TestApp::with_config(|config| {
        way.configure(config);
        config.upload.clips_burst = 10_000;
        config.upload.clips_per_minute = 10_000_000;
        config.upload.bytes_burst = 1 << 30;
        config.upload.bytes_per_second = 1 << 30;
        config.listener.queue_clips = 10_000;
        config.listener.queue_bytes = 1 << 30;
    })
    .await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    streamer.upload(&clip(0, 1000)).await;
    streamer.is_received().await;
    let join = async {
        for wave in 0..listeners.div_ceil(10) {
            let joins = (0..10).map(|index| {
                let (app, user) = (&app, format!("guest-{wave}-{index}"));
                async move {
                    let mut listener = Client::knock(app, way, "/listener", &user, "show").await;
                    // Its first word is the success, whatever is being sent meanwhile.
                    listener.is_let_in(&user, "listener", "show").await;
                    if way == Way::Upgraded {
                        listener.upgrade().await;
                    }
                    let mut heard = Vec::new();
                    for _ in 0..10 {
                        heard.push(number(&listener.hears_clip().await));
                    }
                    let run: Vec<usize> = (heard[0]..heard[0] + 10).collect();
                    assert_eq!(heard, run, "{way:?}");
                }
            });
            futures_util::future::join_all(joins).await;
        }
    };
    let upload = async {
        for number in 1.. {
            streamer.upload(&clip(number, 1000)).await;
            streamer.is_received().await;
        }
    };
    tokio::select! {
        () = join => {}
        () = upload => unreachable!("it goes on for ever"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn join_on_a_web_socket_leaves_no_gap() {
    joins_in_the_middle(Way::WebSocket, 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn join_without_shared_writes_leaves_no_gap() {
    joins_in_the_middle(Way::Copied, 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn join_by_polling_leaves_no_gap() {
    joins_in_the_middle(Way::Polling, 60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upgrade_to_a_web_socket_leaves_no_gap() {
    joins_in_the_middle(Way::Upgraded, 60).await;
}

#[tokio::test]
async fn listener_gets_the_state_after_its_success() {
    let app = TestApp::start().await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    streamer
        .until_state(|state| *state == json!({ "state": "live", "listeners": 0 }))
        .await;
    let mut listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
    listener
        .until_state(|state| *state == json!({ "state": "live", "listeners": 1 }))
        .await;
    streamer
        .until_state(|state| *state == json!({ "state": "live", "listeners": 1 }))
        .await;
    drop(listener);
    streamer.states.clear();
    streamer
        .until_state(|state| *state == json!({ "state": "live", "listeners": 0 }))
        .await;
}

#[tokio::test]
async fn upload_of_a_listener_is_relayed_to_nobody() {
    let app = TestApp::start().await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let mut eve = Client::listener(&app, Way::WebSocket, "eve", "show").await;
    let mut bob = Client::listener(&app, Way::WebSocket, "bob", "show").await;
    eve.upload(&clip(666, 100)).await;
    streamer.upload(&clip(1, 100)).await;
    eve.hears(&clip(1, 100)).await;
    bob.hears(&clip(1, 100)).await;
}

#[tokio::test]
async fn listener_may_return_on_the_same_session() {
    for way in [Way::WebSocket, Way::Copied, Way::Polling] {
        let app = TestApp::with_config(|config| way.configure(config)).await;
        let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
        let mut listener = Client::listener(&app, way, "bob", "show").await;
        for round in 0..10 {
            listener.leave().await;
            // Unlike the number of listeners it is never old.
            app.until_metric(r#"castaway_users{role="listener"}"#, |users| users == 0)
                .await;
            streamer.upload(&clip(round, 100)).await;
            streamer.is_received().await;
            listener.connect().await;
            listener.is_let_in("bob", "listener", "show").await;
            listener.hears(&clip(round, 100)).await;
        }
    }
}

#[tokio::test]
async fn listeners_over_the_limit_are_refused_for_now() {
    let app = TestApp::with_config(|config| config.livestream.max_listeners = 2).await;
    let _streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let _bob = Client::listener(&app, Way::WebSocket, "bob", "show").await;
    let carol = Client::listener(&app, Way::WebSocket, "carol", "show").await;
    let mut dave = Client::knock(&app, Way::WebSocket, "/listener", "dave", "show").await;
    dave.is_told_to_come_back("Server is full, try again later.")
        .await;
    drop(carol);
    app.until_metric("castaway_listeners", |count| count == 1)
        .await;
    let _dave = Client::listener(&app, Way::WebSocket, "dave", "show").await;
}

#[tokio::test]
async fn dead_client_is_noticed_by_its_pings() {
    let app = TestApp::with_config(|config| {
        config.server.ping_interval = Duration::from_millis(200);
        // The streamer must be able to answer on a machine that has a lot to do.
        config.server.ping_timeout = Duration::from_secs(2);
    })
    .await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let dead = Client::listener(&app, Way::WebSocket, "bob", "show").await;
    // It is there, and reads and answers nothing, while the streamer answers its pings.
    tokio::select! {
        () = app.until_metric("castaway_connections", |open| open == 1) => {}
        said = streamer.next() => panic!("{said:?}"),
    }
    drop(dead);
}

#[tokio::test]
async fn token_is_refreshed_in_place() {
    let app = TestApp::start().await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    for (user, ok) in [("ada", true), ("eve", false)] {
        let token = app.token(user);
        let event = format!(r#"2/streamer,3["token","{token}"]"#);
        streamer.say(&event).await;
        let Said::Ack(3, answer) = streamer.next().await else {
            panic!("no answer")
        };
        assert_eq!(answer["ok"], ok, "{user}");
    }
}

#[tokio::test]
async fn listener_is_refused_on_fresh_knowledge_alone() {
    let app = TestApp::with_config(|config| {
        // Nobody listens there.
        config.cluster.url = Some("redis://127.0.0.1:1".to_owned().into());
        config.google.cache_ttl = Duration::from_mins(1);
    })
    .await;
    let mut early = Client::knock(&app, Way::WebSocket, "/listener", "bob", "show").await;
    early.is_sent_away("Livestream show has not started.").await;
    // Its streamer comes to another node, of which this one hears nothing.
    app.google.world().put_livestream("show", "ada", true);
    let _late = Client::listener(&app, Way::WebSocket, "carol", "show").await;
}
