//! Nodes that are cut off from the others, which decide without them.

use super::*;

#[tokio::test]
async fn end_by_a_cut_off_node_is_overruled() {
    let nodes = Nodes::new();
    let (one, other) = (nodes.start(), nodes.start());
    one.upload((7, 1), START, None).wait().await;
    one.is_brought().await;
    // The other does not see the owner, and the owner streams on.
    other.recorder.ended(&show(), "expired", START + 100);
    other.is_brought().await;
    nodes.round(START + 101).await;
    for number in 2..=8 {
        one.upload((7, number), START + number * 15_000, None)
            .wait()
            .await;
        one.is_brought().await;
    }
    let now = START + 8 * 15_000 + 1;
    let before = nodes.objects().await;
    nodes.round(now).await;
    assert_eq!(nodes.objects().await, before, "it goes on");
    // A process that remembers nothing continues the same recording.
    let one = nodes.start_in(one.kill().await);
    one.upload((9, 9), now, None).wait().await;
    one.recorder.ended(&show(), "ended", now + 1);
    one.is_brought().await;
    nodes.round(now + 2).await;
    assert_eq!(nodes.sound().await, frames(1..=9));
    assert_eq!(
        nodes.manifests().await[0].reason.as_deref(),
        Some("ended"),
        "the true end"
    );
}

#[tokio::test]
async fn recording_ended_by_others_is_looked_at_again() {
    let nodes = Nodes::new();
    let (one, other) = (nodes.start(), nodes.start());
    one.upload((7, 1), START, None).wait().await;
    one.is_brought().await;
    other.recorder.ended(&show(), "ended", START + 100);
    other.is_brought().await;
    nodes.round(START + 101).await;
    // This node was not told, and the next livestream begins on it.
    let next = START + 200_000;
    one.upload((8, 1), next, None).wait().await;
    one.recorder.ended(&show(), "ended", next + 100);
    one.is_brought().await;
    nodes.round(next + 101).await;
    assert_eq!(nodes.manifests().await.len(), 2);
}

#[tokio::test]
async fn recording_closed_by_others_is_looked_at_again() {
    let mut nodes = Nodes::new();
    nodes.config.keep_clips = Duration::ZERO;
    let node = nodes.start();
    node.upload((7, 1), START, None).wait().await;
    node.is_brought().await;
    // The node is cut off from the bucket for long: another one finishes what is there.
    let finished = START + 600_001;
    for round in 0..3 {
        nodes.round(finished + round).await;
    }
    assert!(
        nodes
            .objects()
            .await
            .iter()
            .all(|(name, _)| !name.contains("/clips/")),
        "its clips are deleted"
    );
    node.upload((7, 2), finished, None).wait().await;
    node.recorder.ended(&show(), "ended", finished + 26);
    node.is_brought().await;
    nodes.round(finished + 27).await;
    let clips: usize = nodes
        .manifests()
        .await
        .iter()
        .map(|it| it.clips.len())
        .sum();
    assert_eq!(
        (nodes.manifests().await.len(), clips),
        (2, 2),
        "no clip is left alone"
    );
}
