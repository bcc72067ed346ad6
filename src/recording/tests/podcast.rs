//! Recordings that are registered as podcasts, in a bucket and a list of uploads of the app.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;

use super::super::podcast::{Podcasts, Upload};
use super::nodes::memory;
use super::*;

const DAY: u64 = 24 * 3_600_000;

/// The app: its bucket, and its list of uploads.
struct App {
    bucket: Bucket,
    uploads: Arc<Mutex<BTreeMap<String, Upload>>>,
    told: Arc<Mutex<Vec<String>>>,
    /// How often its list fails before it is there.
    fails: Arc<AtomicUsize>,
}

impl App {
    fn new() -> Self {
        Self {
            bucket: memory(),
            uploads: Arc::default(),
            told: Arc::default(),
            fails: Arc::default(),
        }
    }

    fn podcasts(&self) -> Podcasts {
        let (uploads, told, fails) = (self.uploads.clone(), self.told.clone(), self.fails.clone());
        Podcasts {
            bucket: self.bucket.clone(),
            prefix: String::new(),
            register: Box::new(move |upload| {
                let (uploads, fails) = (uploads.clone(), fails.clone());
                Box::pin(async move {
                    let left = fails.load(Ordering::SeqCst);
                    fails.store(left.saturating_sub(1), Ordering::SeqCst);
                    if left > 0 {
                        return Err("it is away".to_owned());
                    }
                    uploads.lock().entry(upload.id.clone()).or_insert(upload);
                    Ok(())
                })
            }),
            registered: Box::new(move |_, _, upload| told.lock().push(upload.id.clone())),
        }
    }

    fn finisher(&self, nodes: &Nodes) -> Finisher {
        Finisher {
            podcasts: Some(self.podcasts()),
            ..nodes.finisher()
        }
    }

    async fn round(&self, nodes: &Nodes, now: u64) {
        self.finisher(nodes).round(now).await.expect("a listing");
    }

    /// The uploads by their ids, each with the bytes of its object.
    async fn uploaded(&self) -> Vec<(Upload, Bytes)> {
        let uploads: Vec<Upload> = self.uploads.lock().values().cloned().collect();
        let mut all = Vec::new();
        for upload in uploads {
            let bytes = self.bucket.get(&upload.path).await.expect("an answer");
            all.push((upload, bytes.expect("an object")));
        }
        all
    }
}

async fn file(nodes: &Nodes) -> Bytes {
    let objects = nodes.objects().await;
    let file = objects
        .into_iter()
        .find(|(name, _)| name.ends_with("/recording.mp3"));
    file.expect("a file").1
}

async fn is_pending(nodes: &Nodes) -> bool {
    let names = nodes.bucket.names(names::PENDING).await;
    !names.expect("a listing").is_empty()
}

/// Real time: the bucket notes it.
fn days_later(days: u64) -> u64 {
    crate::unix_time::millis(std::time::SystemTime::now()) + days * DAY + 1000
}

#[tokio::test]
async fn recording_is_registered_as_its_streamers_upload() {
    let (nodes, app) = (over(40).await, App::new());
    // Finish and announce; register.
    for round in 0..4 {
        app.round(&nodes, START + 201 + round).await;
    }
    let uploaded = app.uploaded().await;
    let [(upload, bytes)] = &uploaded[..] else {
        panic!("{uploaded:?}")
    };
    assert_eq!(
        (upload.user.as_str(), upload.file.as_str(), upload.seconds),
        ("ada", "recording.mp3", 1)
    );
    assert_eq!(*bytes, file(&nodes).await);
    let name = upload.path.strip_suffix(".mp3").expect("its kind");
    assert!(name.len() == 32 && name.bytes().all(|it| it.is_ascii_hexdigit()));
    assert_eq!(upload.id.len(), 20);
    assert_eq!(*app.told.lock(), std::slice::from_ref(&upload.id), "once");
    assert_eq!(nodes.told.lock().len(), 1);
}

#[tokio::test]
async fn registration_goes_on_after_each_fault() {
    let prepared = async || {
        let nodes = over(4).await;
        nodes.round(START + 201).await;
        (nodes, App::new())
    };
    let (good, app) = prepared().await;
    good.bucket.faults.fail(0, 0);
    app.bucket.faults.fail(0, 0);
    app.round(&good, START + 202).await;
    let expected = (good.objects().await, app.uploaded().await);
    for of_the_app in [false, true] {
        for step in 1..=12 {
            let (nodes, app) = prepared().await;
            let bucket = if of_the_app {
                &app.bucket
            } else {
                &nodes.bucket
            };
            bucket.faults.fail(step, usize::MAX);
            app.finisher(&nodes).round(START + 202).await.ok();
            bucket.faults.fail(0, 0);
            app.round(&nodes, START + 203).await;
            assert_eq!(
                (nodes.objects().await, app.uploaded().await),
                expected,
                "after a fault at step {step}"
            );
        }
    }
}

#[tokio::test]
async fn registration_by_two_nodes_is_one() {
    let (nodes, app) = (over(4).await, App::new());
    nodes.round(START + 201).await;
    let (one, other) = (app.finisher(&nodes), app.finisher(&nodes));
    let (one, other) = tokio::join!(one.round(START + 202), other.round(START + 202));
    one.expect("a listing");
    other.expect("a listing");
    let uploaded = app.uploaded().await;
    assert_eq!(uploaded.len(), 1);
    assert_eq!(uploaded[0].1, file(&nodes).await);
    let objects = app.bucket.list("").await.expect("a listing");
    assert_eq!(objects.len(), 1);
}

#[tokio::test]
async fn published_upload_is_not_registered_again() {
    let (nodes, app) = (over(4).await, App::new());
    app.round(&nodes, START + 201).await;
    app.round(&nodes, START + 202).await;
    // The backend deletes what is published.
    let published = app.uploads.lock().pop_first();
    assert!(published.is_some());
    let finisher = app.finisher(&nodes);
    finisher
        .finish(&nodes.id().await)
        .await
        .expect("the same again");
    finisher.round(START + 203).await.expect("a listing");
    finisher.round(days_later(2)).await.expect("a listing");
    assert!(app.uploads.lock().is_empty());
}

#[tokio::test]
async fn upload_of_the_same_id_stays() {
    let (nodes, app) = (over(4).await, App::new());
    nodes.round(START + 201).await;
    let manifest = nodes.manifests().await.remove(0);
    let uploads = super::super::podcast::uploads(&nodes.id().await, &manifest);
    let theirs = Upload {
        user: "eve".into(),
        ..uploads[0].clone()
    };
    app.uploads.lock().insert(theirs.id.clone(), theirs.clone());
    app.round(&nodes, START + 202).await;
    let uploads: Vec<Upload> = app.uploads.lock().values().cloned().collect();
    assert_eq!(uploads, [theirs]);
}

#[tokio::test]
async fn app_that_is_away_harms_no_recording() {
    let (nodes, app) = (over(4).await, App::new());
    app.fails.store(usize::MAX, Ordering::SeqCst);
    let finisher = app.finisher(&nodes);
    for now in [START + 201, START + 202, days_later(2)] {
        finisher.round(now).await.expect("a listing");
    }
    assert_eq!(nodes.sound().await, frames(1..=4));
    let names: Vec<String> = nodes.objects().await.into_iter().map(|it| it.0).collect();
    assert!(
        !names.iter().any(|name| name.contains("/clips/")),
        "{names:?}"
    );
    assert!(is_pending(&nodes).await, "the podcast is still wanted");
    assert_eq!(
        finisher
            .metrics
            .errors
            .with_label_values(&["podcast"])
            .get(),
        2
    );
    app.fails.store(0, Ordering::SeqCst);
    for now in [days_later(3), days_later(4)] {
        app.round(&nodes, now).await;
    }
    assert_eq!(app.uploaded().await.len(), 1);
    assert!(!is_pending(&nodes).await);
}

#[tokio::test]
async fn podcasts_keep_no_recording_waiting() {
    let (nodes, app) = (over(2).await, App::new());
    // The livestream once more, long after its end.
    let node = nodes.start();
    let later = START + 86_400_000;
    node.upload((9, 1), later, None).wait().await;
    node.recorder.ended(&show(), "ended", later + 100);
    node.is_brought().await;
    app.fails.store(usize::MAX, Ordering::SeqCst);
    let finisher = app.finisher(&nodes);
    finisher.round(later + 201).await.expect("a listing");
    assert_eq!(nodes.manifests().await.len(), 2);
    let failed = finisher.metrics.errors.with_label_values(&["podcast"]);
    assert_eq!(failed.get(), 1, "the app is asked once in a round");
}

#[tokio::test]
async fn registration_is_given_up_after_a_week() {
    let (nodes, app) = (over(4).await, App::new());
    app.fails.store(usize::MAX, Ordering::SeqCst);
    for now in [START + 201, START + 202, days_later(7)] {
        app.round(&nodes, now).await;
    }
    assert!(app.uploads.lock().is_empty() && !is_pending(&nodes).await);
    assert_eq!(nodes.sound().await, frames(1..=4));
}

#[tokio::test]
async fn recording_joined_again_is_another_upload() {
    let (nodes, app) = (over(4).await, App::new());
    app.round(&nodes, START + 201).await;
    app.round(&nodes, START + 202).await;
    let before = app.uploaded().await;
    let node = nodes.start();
    node.upload((7, 5), START + 150, None).wait().await;
    node.is_brought().await;
    app.round(&nodes, START + 203).await;
    app.round(&nodes, START + 204).await;
    let after = app.uploaded().await;
    assert_eq!(after.len(), 2);
    assert!(after.contains(&before[0]), "it may be published");
    assert!(after.iter().any(|(_, bytes)| bytes.ends_with(&frame(5))));
}

#[tokio::test]
async fn file_unlike_its_manifest_is_not_registered() {
    let (nodes, app) = (over(4).await, App::new());
    nodes.round(START + 201).await;
    let path = format!("{}/recording.mp3", nodes.id().await.directory());
    let other = vec![7; file(&nodes).await.len()];
    nodes.bucket.put(&path, other.into()).await.unwrap();
    app.round(&nodes, START + 202).await;
    assert!(app.uploads.lock().is_empty());
    assert!(app.bucket.list("").await.expect("a listing").is_empty());
}

#[tokio::test]
async fn each_file_is_an_upload() {
    let (nodes, app) = (Nodes::new(), App::new());
    let node = nodes.start();
    node.upload((7, 1), START, None).wait().await;
    let mut other_rate = vec![0xFF, 0xFB, 0x94, 0x44];
    other_rate.resize(384, 2);
    node.upload_bytes((7, 2), START + 26, None, other_rate)
        .wait()
        .await;
    node.recorder.ended(&show(), "ended", START + 100);
    node.is_brought().await;
    app.round(&nodes, START + 101).await;
    app.round(&nodes, START + 102).await;
    let told = app.told.lock().clone();
    let uploads = app.uploads.lock();
    let files: Vec<&str> = told.iter().map(|id| uploads[id].file.as_str()).collect();
    assert_eq!(files, ["recording.mp3", "recording-2.mp3"]);
}

#[tokio::test]
async fn podcast_in_google_cloud_storage_has_its_kind() {
    let double = Double::start().await;
    let mut config = config::Config::default();
    config.recording.url = Some("gs://bucket/recordings".into());
    config.recording.podcast = Some("gs://podcasts".into());
    config.recording.endpoint = Some(double.endpoint.clone());
    let open = |place: Option<RecordingPlace>| {
        Bucket::open(&config, place.expect("a place"), &nodes::metrics()).expect("a bucket")
    };
    let (mut nodes, mut app) = (Nodes::new(), App::new());
    nodes.bucket = open(config.recording.place());
    app.bucket = open(config.recording.podcast_place());
    let node = nodes.start();
    node.upload((7, 1), START, None).wait().await;
    node.recorder.ended(&show(), "ended", START + 100);
    node.is_brought().await;
    app.round(&nodes, START + 101).await;
    app.round(&nodes, START + 102).await;
    let uploaded = app.uploaded().await;
    assert_eq!(uploaded[0].1, file(&nodes).await);
    assert!(
        double.kinds().contains(&"audio/mpeg".to_owned()),
        "{:?}",
        double.kinds()
    );
    assert!(!double.has_open_uploads());
}
