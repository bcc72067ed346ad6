//! Clips that are sent again, and ids that are used again.

use super::*;

#[tokio::test]
async fn id_with_other_bytes_is_another_clip() {
    let nodes = Nodes::new();
    let node = nodes.start();
    // The streamer's client counts from 1 again: with the node before it, or after 512 others.
    node.upload((7, 1), START, Some("1")).wait().await;
    node.upload((8, 2), START + 26, Some("1")).wait().await;
    // Its answer was lost: it sends the same again to another node.
    let again = frame(2);
    node.upload_bytes((9, 3), START + 52, Some("1"), again)
        .wait()
        .await;
    node.recorder.ended(&show(), "ended", START + 100);
    node.is_brought().await;
    nodes.round(START + 101).await;
    assert_eq!(nodes.sound().await, frames(1..=2));
    assert_eq!(nodes.manifests().await[0].left_out.len(), 1);
}

#[tokio::test]
async fn known_clip_replaces_one_that_is_gone() {
    let nodes = Nodes::new();
    let node = nodes.start();
    node.upload((7, 1), START, Some("a")).wait().await;
    // Clip 2 was known to others, and its node is gone with the bytes.
    for (id, sequence) in [("a", 1), ("b", 2), ("b", 2)] {
        let id = ClipId::new(id).expect("an id");
        let bytes = frame(u8::try_from(sequence).expect("small")).into();
        node.recorder
            .known_clip(
                &show(),
                &UserId::new("ada"),
                START + 26,
                KnownClip {
                    id: &id,
                    sequence,
                    bytes: &bytes,
                },
            )
            .wait()
            .await;
    }
    node.upload((8, 3), START + 52, Some("c")).wait().await;
    node.recorder.ended(&show(), "ended", START + 100);
    node.is_brought().await;
    nodes.round(START + 101).await;
    assert_eq!(nodes.sound().await, frames(1..=3));
    let manifest = nodes.manifests().await.remove(0);
    assert!(manifest.missing.is_empty(), "{:?}", manifest.missing);
    let numbers: Vec<u64> = manifest.clips.iter().map(|clip| clip.sequence).collect();
    assert_eq!(numbers, [1, 2, 3]);
}
