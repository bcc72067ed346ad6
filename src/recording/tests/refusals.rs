//! What the bucket, or the disk, does not take.

use super::*;

/// Until the bucket has an object with this in its name.
async fn comes(nodes: &Nodes, part: &str) {
    let found = async {
        loop {
            let objects = nodes.objects().await;
            if objects.iter().any(|(name, _)| name.contains(part)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let limit = Duration::from_mins(2);
    let came = tokio::time::timeout(limit, found).await;
    came.unwrap_or_else(|_| panic!("{part} does not come"));
}

#[tokio::test(start_paused = true)]
async fn refused_clip_keeps_no_other_livestream_waiting() {
    let nodes = Nodes::new();
    nodes.bucket.faults.forbid(Some("bad"));
    let node = nodes.start();
    // As many as there are workers.
    for name in ["bad-1", "bad-2"] {
        let id = LivestreamId::new(name).expect("an id");
        node.upload_to(&id, (7, 1), (START, None), frame(1))
            .wait()
            .await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    node.upload((7, 1), START, None).wait().await;
    comes(&nodes, "show/").await;
    comes(&nodes, "clips/7-1").await;
    node.upload((7, 2), START + 26, None).wait().await;
    comes(&nodes, "clips/7-2").await;
    let metrics = &node.uploader.metrics;
    assert_eq!((metrics.refused.get(), metrics.away.get()), (2, 0));
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!(metrics.away.get(), 0, "it takes those of others");
    nodes.bucket.faults.forbid(None);
    node.is_brought().await;
    assert_eq!(metrics.refused.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn events_are_bounded_while_the_disk_hangs() {
    let nodes = Nodes::new();
    // Nobody takes anything from the queue.
    let (recorder, recording) = nodes.recorder();
    for _ in 0..MAX_EVENTS + 10 {
        recorder.link_lost(&show(), START);
    }
    assert_eq!(recording.items.len(), MAX_EVENTS);
    let before = Instant::now();
    recorder.flush().wait().await;
    assert_eq!(before.elapsed(), Duration::ZERO, "nobody would write it");
    assert_eq!(
        recorder.metrics.errors.with_label_values(&["disk"]).get(),
        10
    );
}
