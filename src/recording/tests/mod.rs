//! Recordings in a bucket in memory, with a fault at every call.

mod cut_off;
mod directory;
mod double;
mod finishing;
mod foreign;
mod nodes;
mod podcast;
mod refusals;
mod repeats;
mod requests;

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::*;
use double::Double;
use nodes::{Nodes, frame, show};

pub(super) use nodes::Faults;

const START: u64 = 1_764_460_000_000;

fn frames(numbers: impl IntoIterator<Item = u8>) -> Vec<u8> {
    numbers.into_iter().flat_map(frame).collect()
}

#[tokio::test]
async fn recording_is_one_file_with_all_clips() {
    let nodes = over(5).await;
    nodes.round(START + 201).await;
    assert_eq!(nodes.sound().await, frames(1..=5));
    let manifest = nodes.manifests().await.remove(0);
    assert_eq!(
        (manifest.livestream.as_str(), manifest.streamer.as_str()),
        ("show", "ada")
    );
    assert_eq!(manifest.title.as_deref(), Some("About show"));
    assert_eq!(manifest.reason.as_deref(), Some("ended"));
    assert_eq!((manifest.clips.len(), manifest.left_out.len()), (5, 0));
    assert!(
        manifest.missing.is_empty() && manifest.gaps.is_empty(),
        "{manifest:?}"
    );
    let file = nodes
        .objects()
        .await
        .into_iter()
        .find(|(name, _)| name.ends_with("/recording.mp3"))
        .expect("a file")
        .1;
    assert_eq!(manifest.files[0].sha256, names::sha256(&file));
    assert_eq!(manifest.files[0].bytes, file.len() as u64);
    assert_eq!(nodes.told.lock().len(), 1);
    nodes.round(START + 202).await;
    assert_eq!(nodes.told.lock().len(), 1, "told once");
}

#[tokio::test]
async fn takeover_and_restart_make_one_recording() {
    let nodes = Nodes::new();
    let (one, other) = (nodes.start(), nodes.start());
    one.upload((7, 1), START, None).wait().await;
    one.recorder.link_lost(&show(), START + 100);
    one.is_brought().await;
    other.upload((8, 2), START + 5000, None).wait().await;
    other.is_brought().await;
    let directory = one.kill().await;
    let one = nodes.start_in(directory);
    one.upload((9, 3), START + 5026, None).wait().await;
    one.is_brought().await;
    one.recorder.ended(&show(), "ended", START + 5100);
    one.is_brought().await;
    nodes.round(START + 5101).await;
    assert_eq!(nodes.sound().await, frames(1..=3));
    let manifest = nodes.manifests().await.remove(0);
    let gaps: Vec<&str> = manifest
        .gaps
        .iter()
        .map(|gap| gap.reason.as_str())
        .collect();
    assert_eq!(gaps, ["link_lost"]);
}

#[tokio::test]
async fn livestream_again_is_another_recording() {
    let nodes = Nodes::new();
    let node = nodes.start();
    for start in [START, START + 10_000] {
        node.upload((start, 1), start, None).wait().await;
        node.recorder.ended(&show(), "ended", start + 100);
    }
    node.is_brought().await;
    nodes.round(START + 20_000).await;
    assert_eq!(nodes.manifests().await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn bucket_that_is_away_loses_nothing() {
    let nodes = Nodes::new();
    nodes.bucket.faults.fail(1, 40);
    let node = nodes.start();
    for number in 1..=5 {
        node.upload((7, number), START + number * 26, None);
    }
    node.recorder.flush().wait().await;
    assert_eq!(node.uploader.open.lock().len(), 0);
    // The process is killed meanwhile.
    let node = nodes.start_in(node.kill().await);
    node.upload((7, 6), START + 6 * 26, None).wait().await;
    node.recorder.ended(&show(), "ended", START + 200);
    node.is_brought().await;
    nodes.round(START + 201).await;
    assert_eq!(nodes.sound().await, frames(1..=6));
    assert!(nodes.manifests().await.remove(0).missing.is_empty());
}

#[tokio::test(start_paused = true)]
async fn nodes_cut_off_from_the_bucket_open_one() {
    let nodes = Nodes::new();
    nodes.bucket.faults.fail(1, 20);
    let (one, other) = (nodes.start(), nodes.start());
    one.upload((7, 1), START, None).wait().await;
    other.upload((8, 2), START + 26, None).wait().await;
    one.is_brought().await;
    other.is_brought().await;
    other.recorder.ended(&show(), "ended", START + 100);
    other.is_brought().await;
    nodes.round(START + 101).await;
    assert_eq!(nodes.manifests().await.len(), 1);
    assert_eq!(nodes.sound().await, frames(1..=2));
}

#[tokio::test]
async fn late_clip_is_waited_for_and_joined() {
    let nodes = Nodes::new();
    let (one, other) = (nodes.start(), nodes.start());
    one.upload((7, 1), START, None).wait().await;
    one.is_brought().await;
    other.upload((8, 3), START + 52, None).wait().await;
    other.recorder.ended(&show(), "ended", START + 100);
    other.is_brought().await;
    nodes.round(START + 101).await;
    assert!(nodes.manifests().await.is_empty(), "clip 2 may come");
    let waited = START + 100 + 600_001;
    nodes.round(waited).await;
    assert_eq!(nodes.manifests().await[0].missing[0].reason, "not_received");
    // The node that had it comes back after all.
    one.upload((7, 2), START + 26, None).wait().await;
    one.is_brought().await;
    nodes.round(waited + 1).await;
    assert_eq!(nodes.sound().await, frames(1..=3));
    assert!(nodes.manifests().await[0].missing.is_empty());
    assert_eq!(nodes.told.lock().len(), 2);
}

#[tokio::test]
async fn recording_without_an_end_is_finished_later() {
    let nodes = Nodes::new();
    let node = nodes.start();
    node.upload((7, 1), START, None).wait().await;
    node.is_brought().await;
    nodes.round(START + 599_999).await;
    assert!(nodes.manifests().await.is_empty());
    nodes.round(START + 600_001).await;
    let manifest = nodes.manifests().await.remove(0);
    assert_eq!(manifest.reason, None);
}

#[tokio::test]
async fn clip_of_another_kind_is_named_and_kept() {
    let nodes = Nodes::new();
    let node = nodes.start();
    node.upload((7, 1), START, None).wait().await;
    node.upload_bytes((7, 2), START + 26, None, b"OggS and so on".to_vec())
        .wait()
        .await;
    node.recorder.ended(&show(), "ended", START + 100);
    node.is_brought().await;
    let days_later = crate::unix_time::millis(std::time::SystemTime::now()) + 48 * 3_600_000;
    nodes.round(START + 101).await;
    let manifest = nodes.manifests().await.remove(0);
    assert_eq!(manifest.left_out[0].name, format!("7-2-{}.ogg", START + 26));
    assert!(
        manifest.left_out[0].reason.contains("Ogg"),
        "{:?}",
        manifest.left_out
    );
    nodes.round(days_later).await;
    let names: Vec<String> = nodes
        .objects()
        .await
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let clips: Vec<&String> = names
        .iter()
        .filter(|name| name.contains("/clips/"))
        .collect();
    assert_eq!(clips.len(), 1, "{clips:?}");
    assert!(clips[0].contains("7-2-"));
}

#[tokio::test]
async fn clips_are_deleted_after_their_time() {
    let mut nodes = Nodes::new();
    nodes.config.keep_clips = Duration::from_secs(0);
    let node = nodes.start();
    node.upload((7, 1), START, Some("one")).wait().await;
    node.upload_bytes((8, 2), START + 26, Some("one"), frame(1))
        .wait()
        .await;
    node.recorder.ended(&show(), "ended", START + 100);
    node.is_brought().await;
    for round in 0..3 {
        nodes.round(START + 101 + round).await;
    }
    let names: Vec<String> = nodes
        .objects()
        .await
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert!(
        !names.iter().any(|name| name.contains("/clips/")),
        "{names:?}"
    );
    assert!(
        !names.iter().any(|name| name.starts_with("__pending__")),
        "{names:?}"
    );
    assert_eq!(
        nodes.sound().await,
        frames([1]),
        "sent again, recorded once"
    );
}

/// A recording of so many clips that is over and not finished, in a bucket of its own.
async fn over(clips: u64) -> Nodes {
    let nodes = Nodes::new();
    let node = nodes.start();
    for number in 1..=clips {
        node.upload((7, number), START + number * 26, None)
            .wait()
            .await;
    }
    node.recorder.ended(&show(), "ended", START + 200);
    node.is_brought().await;
    nodes
}

#[tokio::test]
async fn finished_recording_is_not_listed_each_minute() {
    let nodes = over(4).await;
    let finisher = nodes.finisher();
    let calls = async |at: u64| {
        nodes.bucket.faults.fail(0, 0);
        finisher.round(at).await.expect("a listing");
        nodes.bucket.faults.calls.load(Ordering::SeqCst)
    };
    calls(START + 201).await;
    assert!(calls(START + 202).await > 1, "it waits for its time");
    assert_eq!(calls(START + 60_202).await, 1, "the names alone");
    assert!(calls(START + 600_202).await > 1);
}

#[tokio::test]
async fn swept_recording_stays_as_it_is() {
    let mut nodes = over(4).await;
    nodes.config.keep_clips = Duration::ZERO;
    let id = nodes.id().await;
    // An operator, or another node, has asked before the clips were deleted.
    nodes.round(START + 201).await;
    nodes.round(START + 202).await;
    nodes.finisher().finish(&id).await.unwrap_err();
    assert_eq!(nodes.sound().await, frames(1..=4));
    assert_eq!(nodes.manifests().await[0].clips.len(), 4);
}

#[tokio::test]
async fn file_of_another_manifest_is_joined_again() {
    let nodes = over(4).await;
    nodes.round(START + 201).await;
    let expected = nodes.objects().await;
    // Another node joined fewer clips, and wrote its file last.
    let path = format!("{}/recording.mp3", nodes.id().await.directory());
    nodes.bucket.put(&path, frames(1..=2).into()).await.unwrap();
    nodes.round(START + 202).await;
    assert_eq!(nodes.objects().await, expected);
}

#[tokio::test]
async fn queue_without_room_names_the_clip() {
    let mut nodes = Nodes::new();
    nodes.config.queue_bytes = 1024;
    let node = nodes.start();
    // Nobody has taken the first one yet.
    let (first, second) = (
        node.upload((7, 1), START, None),
        node.upload((7, 2), START + 26, None),
    );
    first.wait().await;
    second.wait().await;
    node.recorder.ended(&show(), "ended", START + 100);
    node.is_brought().await;
    nodes.round(START + 101).await;
    let manifest = nodes.manifests().await.remove(0);
    let missing: Vec<_> = manifest
        .missing
        .iter()
        .map(|it| (it.sequence, it.reason.as_str()))
        .collect();
    assert_eq!(missing, [(2, "queue_full")]);
}

#[tokio::test]
async fn google_cloud_storage_holds_the_recording() {
    let double = Double::start().await;
    let mut config = config::Config::default();
    config.recording.url = Some("gs://bucket/a/prefix".into());
    config.recording.endpoint = Some(double.endpoint.clone());
    let mut nodes = Nodes::new();
    let place = config.recording.place().expect("a place");
    nodes.bucket = Bucket::open(&config, place, &nodes::metrics()).expect("a bucket");
    let node = nodes.start();
    for number in 1..=5 {
        double.fail(1);
        node.upload((7, number), START + number * 26, None)
            .wait()
            .await;
        node.is_brought().await;
    }
    node.recorder.ended(&show(), "ended", START + 200);
    node.is_brought().await;
    nodes.round(START + 201).await;
    assert_eq!(nodes.sound().await, frames(1..=5));
    assert!(
        double
            .names()
            .iter()
            .all(|name| name.starts_with("a/prefix/")),
        "{:?}",
        double.names()
    );
    nodes
        .finisher()
        .finish(&nodes.id().await)
        .await
        .expect("the same again");
    assert!(!double.has_open_uploads());
    nodes.config.keep_clips = Duration::ZERO;
    nodes.round(START + 202).await;
    nodes.round(START + 203).await;
    assert!(
        !double.names().iter().any(|name| name.contains("/clips/")),
        "{:?}",
        double.names()
    );
}

#[tokio::test]
async fn failed_finish_leaves_no_parts_behind() {
    let double = Double::start().await;
    let mut config = config::Config::default();
    config.recording.url = Some("gs://bucket".into());
    config.recording.endpoint = Some(double.endpoint.clone());
    let mut nodes = Nodes::new();
    let place = config.recording.place().expect("a place");
    nodes.bucket = Bucket::open(&config, place, &nodes::metrics()).expect("a bucket");
    let node = nodes.start();
    // More than one part.
    let long: Vec<u8> = (0..13_000).flat_map(|_| frame(1)).collect();
    node.upload_bytes((7, 1), START, None, long).wait().await;
    node.recorder.ended(&show(), "ended", START + 200);
    node.is_brought().await;
    let id = nodes.id().await;
    let mut steps = 0;
    loop {
        steps += 1;
        assert!(steps < 100, "it succeeds at last");
        nodes.bucket.faults.fail(steps, 1);
        let outcome = nodes.finisher().finish(&id).await;
        assert!(!double.has_open_uploads(), "after a fault at step {steps}");
        if outcome.is_ok() {
            break;
        }
    }
    assert!(steps > 8, "there are steps: {steps}");
}
