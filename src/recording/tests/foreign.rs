//! Objects that are not as this server writes them.

use super::*;

fn recordings(nodes: &Nodes) -> (Recordings, mpsc::Receiver<RecordingId>) {
    let (requests, asked) = mpsc::channel(1);
    let bucket = nodes.bucket.clone();
    (Recordings { bucket, requests }, asked)
}

#[tokio::test]
async fn manifest_of_another_version_stays() {
    let nodes = over(4).await;
    nodes.round(START + 201).await;
    let id = nodes.id().await;
    let path = format!("{}/manifest.json", id.directory());
    let text = Bytes::from_static(b"{\"version\": 2}");
    nodes.bucket.put(&path, text.clone()).await.unwrap();
    let before = nodes.objects().await;
    nodes.round(START + 202).await;
    nodes.finisher().finish(&id).await.unwrap_err();
    assert_eq!(nodes.objects().await, before);
    let (recordings, _asked) = recordings(&nodes);
    recordings.finish(id.clone()).await.unwrap_err();
    let error = recordings.show(id.clone()).await.unwrap_err();
    assert!(error.to_string().contains(&path), "{error}");
    let listed = recordings.list(None, 10).await.expect("a list");
    assert!(listed[0].id == id && listed[0].manifest.is_none());
    // As the error says.
    nodes.bucket.delete(&path).await.unwrap();
    nodes.round(START + 203).await;
    assert_eq!(nodes.manifests().await[0].clips.len(), 4);
}

#[tokio::test]
async fn file_without_clips_and_manifest_stays() {
    let mut nodes = over(4).await;
    nodes.config.keep_clips = Duration::ZERO;
    for round in 1..4 {
        nodes.round(START + 200 + round).await;
    }
    let id = nodes.id().await;
    let path = format!("{}/manifest.json", id.directory());
    nodes.bucket.delete(&path).await.unwrap();
    let before = nodes.objects().await;
    nodes.finisher().finish(&id).await.unwrap_err();
    assert_eq!(nodes.objects().await, before);
}
