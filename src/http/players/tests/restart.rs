//! What players are told after a restart is what they were told before.

use super::*;
use crate::media::Place;
use crate::relay::Snapshot;

/// The next process, which has what this one leaves.
fn restarted(before: &World, change: impl FnOnce(&mut Snapshot)) -> World {
    let mut left = before.relay.snapshot().remove(0);
    change(&mut left);
    let mut after = world(|_| {});
    after.relay.end(&id(), after.epoch, now());
    after.fed();
    after.relay.restore(vec![left], now());
    after.fed();
    after.goes_on_air();
    after
}

fn places(world: &World) -> Vec<Place> {
    let found = world.players.find(&id()).expect("a window");
    let state = found.state();
    state.window.segments().map(|it| it.place).collect()
}

#[tokio::test]
async fn playlist_after_a_restart_is_the_same() {
    let before = world(|_| {});
    (1..=4).for_each(|_| before.clip(M4A));
    let (_, headers, text) = whole(before.get("live.m3u8", &[]).await).await;
    let after = restarted(&before, |_| {});
    let (_, again, repeated) = whole(after.get("live.m3u8", &[]).await).await;
    assert_eq!(text, repeated);
    assert_eq!(headers["etag"], again["etag"]);
    for file in before.segments().await {
        let (_, _, one) = whole(before.get(&file, &[]).await).await;
        let (status, _, other) = whole(after.get(&file, &[]).await).await;
        assert_eq!((status, one), (200, other), "{file}");
    }
    after.clip(M4A);
    let sequences = places(&after).into_iter().map(|place| place.sequence);
    assert_eq!(sequences.collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn timeline_goes_on_after_a_crash() {
    let before = world(|_| {});
    (1..=4).for_each(|_| before.clip(M4A));
    // What a crash leaves has no clips.
    let after = restarted(&before, |left| left.clips.clear());
    after.clip(M4A);
    let (last, next) = (places(&before)[3], places(&after)[0]);
    assert_eq!(next.sequence, 5);
    assert!(next.start >= last.end());
    assert!(
        next.epoch != last.epoch,
        "another clip may have been the fifth"
    );
}
