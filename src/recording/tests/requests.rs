//! Requests to a bucket: how often and how long they are tried, and what is counted.

use super::nodes::metrics;
use super::*;

fn bucket(double: &Double, retries: usize, metrics: &RecordingMetrics) -> Bucket {
    let mut config = config::Config::default();
    config.recording.url = Some("gs://bucket".into());
    config.recording.endpoint = Some(double.endpoint.clone());
    config.recording.retries = retries;
    let place = config.recording.place().expect("a place");
    Bucket::open(&config, place, metrics).expect("a bucket")
}

#[tokio::test]
async fn request_is_retried_as_often_as_configured() {
    let double = Double::start().await;
    for (retries, failures, is_good) in [(0, 1, false), (2, 2, true), (2, 3, false)] {
        let metrics = metrics();
        let bucket = bucket(&double, retries, &metrics);
        double.fail(failures);
        let outcome = bucket.put("a", Bytes::from_static(b"one")).await;
        assert_eq!(outcome.is_ok(), is_good, "{retries} for {failures}");
        let label = if is_good { "ok" } else { "failed" };
        assert_eq!(metrics.requests.with_label_values(&[label]).get(), 1);
        assert_eq!(metrics.request_seconds.get_sample_count(), 1);
    }
}

#[tokio::test]
async fn outcomes_of_requests_are_counted() {
    let double = Double::start().await;
    let metrics = metrics();
    let bucket = bucket(&double, 0, &metrics);
    let one = Bytes::from_static(b"one");
    assert!(bucket.create("a", one.clone()).await.expect("an answer"));
    assert!(!bucket.create("a", one).await.expect("an answer"));
    assert_eq!(bucket.get("b").await.expect("an answer"), None);
    assert_eq!(bucket.size("b").await.expect("an answer"), None);
    assert_eq!(bucket.size("a").await.expect("an answer"), Some(3));
    bucket.list("").await.expect("a listing");
    let counts = ["ok", "exists", "not_found"]
        .map(|label| metrics.requests.with_label_values(&[label]).get());
    assert_eq!(counts, [3, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn waits_for_the_bucket_are_bounded() {
    for (longest, at_most) in [(1, 45), (30, 1200)] {
        let mut nodes = Nodes::new();
        nodes.config.max_retry_wait = Duration::from_secs(longest);
        nodes.bucket.faults.fail(1, 40);
        let node = nodes.start();
        let start = Instant::now();
        node.upload((7, 1), START, None).wait().await;
        node.is_brought().await;
        let waited = start.elapsed().as_secs();
        assert!((at_most / 2..at_most).contains(&waited), "{waited}");
    }
}
