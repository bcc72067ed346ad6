use super::*;
use crate::metrics::Metrics;

fn open(directory: &Path, limit: u64) -> Spool {
    let metrics = RecordingMetrics::register(Metrics::new().registry()).expect("metrics");
    Spool::open(directory.to_owned(), limit, metrics).expect("a spool")
}

fn clip(livestream: &str, sequence: u64) -> Entry {
    Entry {
        livestream: livestream.into(),
        streamer: "ada".into(),
        at: sequence,
        what: What::Clip {
            epoch: 1,
            sequence,
            id: None,
            extension: "m4a".into(),
        },
    }
}

#[tokio::test]
async fn entries_outlive_the_process_in_order() {
    let directory = tempfile::tempdir().expect("a directory");
    let spool = open(directory.path(), 1 << 20);
    for sequence in 1..=3 {
        spool.write(clip("one", sequence), Some(&Bytes::from(vec![7; 10])));
    }
    let first = spool.next().await;
    spool.done(&first);
    drop(spool);
    let spool = open(directory.path(), 1 << 20);
    for sequence in 2..=3 {
        let next = spool.next().await;
        assert_eq!(*next.entry, clip("one", sequence));
        assert_eq!(spool.clip(&next).expect("a clip"), vec![7; 10]);
        spool.done(&next);
    }
    assert!(spool.is_empty());
}

#[tokio::test]
async fn lane_is_worked_on_by_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let spool = open(directory.path(), 1 << 20);
    spool.write(clip("one", 1), None);
    spool.write(clip("one", 2), None);
    spool.write(clip("two", 1), None);
    let (first, second) = (spool.next().await, spool.next().await);
    assert_eq!(
        (&*first.entry.livestream, &*second.entry.livestream),
        ("one", "two")
    );
    assert!(spool.take().is_none());
    spool.done(&first);
    assert_eq!(*spool.next().await.entry, clip("one", 2));
}

#[tokio::test]
async fn clip_beyond_the_bound_becomes_a_mark() {
    let directory = tempfile::tempdir().expect("a directory");
    let spool = open(directory.path(), 2000);
    spool.write(clip("one", 1), Some(&Bytes::from(vec![7; 1000])));
    spool.write(clip("one", 2), Some(&Bytes::from(vec![7; 1000])));
    spool.done(&spool.next().await);
    let next = spool.next().await;
    assert_eq!(*next.entry, clip("one", 2).given_up("spool_full"));
    assert_eq!(
        next.entry.path().expect("a path"),
        "marks/2-clip_lost-1-2-spool_full"
    );
    assert_eq!(
        spool.metrics.lost.with_label_values(&["spool_full"]).get(),
        1
    );
}

#[tokio::test]
async fn clip_that_cannot_be_written_becomes_a_mark() {
    let directory = tempfile::tempdir().expect("a directory");
    let spool = open(&directory.path().join("gone"), 2000);
    std::fs::remove_dir(directory.path().join("gone")).expect("an empty directory");
    spool.write(clip("one", 1), Some(&Bytes::from_static(b"clip")));
    let next = spool.next().await;
    assert_eq!(*next.entry, clip("one", 1).given_up("disk"));
    spool.done(&next);
    assert!(spool.is_empty());
}

#[tokio::test]
async fn entries_beyond_their_number_are_forgotten() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut spool = open(directory.path(), 1 << 20);
    spool.most = 2;
    for sequence in 1..=3 {
        spool.write(clip("one", sequence), Some(&Bytes::from(vec![7; 10])));
    }
    let files = std::fs::read_dir(directory.path()).expect("a directory");
    assert_eq!((files.count(), spool.state.lock().entries), (2, 2));
    assert_eq!(
        spool.metrics.lost.with_label_values(&["spool_full"]).get(),
        1
    );
}
