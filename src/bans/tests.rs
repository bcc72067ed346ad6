use std::time::Duration;

use super::*;

const HOUR: Duration = Duration::from_hours(1);

fn ada() -> Subject {
    Subject::User("ada".into())
}

fn show() -> Subject {
    Subject::Livestream("show".into())
}

fn ban(until: Option<SystemTime>) -> Ban {
    Ban {
        until: until.map(millis),
        reason: "noise".into(),
    }
}

fn finds(bans: &Bans, user: &str, livestream: &str, now: SystemTime) -> Option<Subject> {
    let livestream = LivestreamId::new(livestream).unwrap();
    bans.find(Some(&UserId::new(user)), &livestream, now)
}

#[test]
fn ban_holds_for_its_subject_alone() {
    let (bans, now) = (Bans::open(None, 9, &Metrics::new()), SystemTime::now());
    assert!(bans.put(ada(), ban(None), now).unwrap());
    assert!(bans.put(show(), ban(None), now).unwrap());
    assert_eq!(finds(&bans, "ada", "other", now), Some(ada()));
    assert_eq!(finds(&bans, "bob", "show", now), Some(show()));
    assert_eq!(finds(&bans, "show", "ada", now), None);
    assert!(bans.remove(&ada(), now).unwrap());
    assert!(!bans.remove(&ada(), now).unwrap());
    assert_eq!(finds(&bans, "ada", "other", now), None);
}

#[test]
fn ban_ends_at_its_time() {
    let metrics = Metrics::new();
    let (bans, now) = (Bans::open(None, 9, &metrics), SystemTime::now());
    bans.put(ada(), ban(Some(now + HOUR)), now).unwrap();
    let almost = now + HOUR - Duration::from_secs(1);
    assert!(finds(&bans, "ada", "show", almost).is_some());
    assert!(finds(&bans, "ada", "show", now + HOUR).is_none());
    assert!(bans.get(&ada(), now + HOUR).is_none());
    assert_eq!(metrics.bans.with_label_values(&["user"]).get(), 1);
    bans.sweep(now + HOUR);
    assert_eq!(metrics.bans.with_label_values(&["user"]).get(), 0);
}

#[test]
fn bans_survive_a_restart() {
    let (directory, now) = (tempfile::tempdir().unwrap(), SystemTime::now());
    let open = || Bans::open(Some(directory.path()), 9, &Metrics::new());
    let bans = open();
    bans.put(ada(), ban(Some(now + HOUR)), now).unwrap();
    bans.put(show(), ban(None), now).unwrap();
    bans.put(show(), ban(Some(now + HOUR * 2)), now).unwrap();
    let kept = bans.all(now);
    assert_eq!(kept.len(), 2);
    assert_eq!(open().all(now), kept);
}

#[test]
fn number_of_bans_is_bounded() {
    let (bans, now) = (Bans::open(None, 1, &Metrics::new()), SystemTime::now());
    bans.put(ada(), ban(Some(now + HOUR)), now).unwrap();
    let refused = bans.put(show(), ban(None), now);
    assert!(matches!(refused, Err(BanError::Full(1))), "{refused:?}");
    assert!(!bans.put(ada(), ban(Some(now + HOUR)), now).unwrap());
    // One that is over makes room.
    assert!(bans.put(show(), ban(None), now + HOUR).unwrap());
}

#[test]
fn ban_that_cannot_be_written_does_not_hold() {
    let (directory, now) = (tempfile::tempdir().unwrap(), SystemTime::now());
    let bans = Bans::open(Some(directory.path()), 9, &Metrics::new());
    drop(directory);
    assert!(matches!(
        bans.put(ada(), ban(None), now),
        Err(BanError::Io(_))
    ));
    assert_eq!(finds(&bans, "ada", "show", now), None);
}

#[test]
fn unreadable_file_is_kept() {
    let (directory, now) = (tempfile::tempdir().unwrap(), SystemTime::now());
    let (path, metrics) = (directory.path().join("bans"), Metrics::new());
    fs::write(&path, "[{").unwrap();
    let bans = Bans::open(Some(directory.path()), 9, &metrics);
    bans.put(ada(), ban(None), now).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "[{");
    assert_eq!(metrics.state_file_errors.get(), 1);
}
