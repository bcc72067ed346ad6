//! A bucket that is a directory.

use super::*;

#[tokio::test]
async fn directory_may_be_away_at_the_start() {
    let parent = tempfile::tempdir().expect("a directory");
    let path = parent.path().join("a bucket");
    std::fs::write(&path, "").expect("a file");
    let mut config = config::Config::default();
    config.recording.url = Some(format!("file://{}/a%20bucket", parent.path().display()));
    let place = config.recording.place().expect("a url");
    let bucket = Bucket::open(&config, place, &nodes::metrics()).expect("a bucket");
    let put = || bucket.put("one/two=2E", "three".into());
    put().await.expect_err("there is no directory");
    std::fs::remove_file(&path).expect("the file");
    put().await.expect("a directory is made");
    assert_eq!(
        std::fs::read(path.join("one/two=2E")).ok(),
        Some(b"three".to_vec())
    );
    assert_eq!(bucket.names("one").await.expect("a listing"), ["two=2E"]);
}
