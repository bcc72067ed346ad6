//! Players and bans.

use std::time::SystemTime;

use super::*;
use crate::bans::{Ban, Subject};

#[tokio::test(start_paused = true)]
async fn ban_ends_a_stream_before_its_next_clip() {
    let world = world(|_| {});
    world.clip(M4A);
    let answer = world.get("live", &[]).await;
    let mut body = answer.into_body();
    let first = body.frame().await.expect("a clip").expect("no error");
    assert_eq!(first.into_data().expect("data"), ADTS);
    world.clip(M4A);
    let (show, ban) = (
        Subject::Livestream("show".into()),
        Ban {
            until: None,
            reason: String::new(),
        },
    );
    let now = SystemTime::now();
    let banned = world.relay.bans().set(show, Some(ban), 0, now);
    assert!(banned.expect("room").is_some());
    assert!(body.frame().await.is_none());
    for file in ["live", "live.m3u8"] {
        let (status, text) = world.text(file).await;
        assert_eq!((status, text.contains("banned")), (403, true), "{text}");
    }
}
