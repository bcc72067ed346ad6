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

fn put(bans: &Bans, subject: Subject, until: Option<SystemTime>, now: SystemTime) -> bool {
    let set = bans.set(subject, Some(ban(until)), 0, now).unwrap();
    !set.unwrap().1
}

fn remove(bans: &Bans, subject: Subject, now: SystemTime) -> bool {
    bans.set(subject, None, 0, now).unwrap().is_some()
}

fn change(subject: Subject, version: u64, ban: Option<Ban>) -> Change {
    Change {
        subject,
        version,
        ban,
    }
}

fn finds(bans: &Bans, user: &str, livestream: &str, now: SystemTime) -> Option<Subject> {
    let livestream = LivestreamId::new(livestream).unwrap();
    bans.find(Some(&UserId::new(user)), &livestream, now)
}

#[test]
fn ban_holds_for_its_subject_alone() {
    let (bans, now) = (Bans::open(None, 9, &Metrics::new()), SystemTime::now());
    assert!(put(&bans, ada(), None, now));
    assert!(put(&bans, show(), None, now));
    assert_eq!(finds(&bans, "ada", "other", now), Some(ada()));
    assert_eq!(finds(&bans, "bob", "show", now), Some(show()));
    assert_eq!(finds(&bans, "show", "ada", now), None);
    assert!(remove(&bans, ada(), now));
    assert!(!remove(&bans, ada(), now));
    assert_eq!(finds(&bans, "ada", "other", now), None);
}

#[test]
fn ban_ends_at_its_time() {
    let metrics = Metrics::new();
    let (bans, now) = (Bans::open(None, 9, &metrics), SystemTime::now());
    put(&bans, ada(), Some(now + HOUR), now);
    let almost = now + HOUR - Duration::from_secs(1);
    assert!(finds(&bans, "ada", "show", almost).is_some());
    assert!(finds(&bans, "ada", "show", now + HOUR).is_none());
    assert!(bans.get(&ada(), now + HOUR).is_none());
    assert_eq!(metrics.bans.with_label_values(&["user"]).get(), 1);
    bans.count(now + HOUR);
    assert_eq!(metrics.bans.with_label_values(&["user"]).get(), 0);
}

#[test]
fn bans_survive_a_restart() {
    let (directory, now) = (tempfile::tempdir().unwrap(), SystemTime::now());
    let open = || Bans::open(Some(directory.path()), 9, &Metrics::new());
    let bans = open();
    put(&bans, ada(), Some(now + HOUR), now);
    put(&bans, show(), None, now);
    put(&bans, show(), Some(now + HOUR * 2), now);
    let kept = bans.all(now);
    assert_eq!(kept.len(), 2);
    assert_eq!(open().all(now), kept);
}

#[test]
fn number_of_bans_is_bounded() {
    let (bans, now) = (Bans::open(None, 1, &Metrics::new()), SystemTime::now());
    put(&bans, ada(), Some(now + HOUR), now);
    let refused = bans.set(show(), Some(ban(None)), 0, now);
    assert!(matches!(refused, Err(BanError::Full(1))), "{refused:?}");
    assert!(!put(&bans, ada(), Some(now + HOUR), now));
    // One that is over makes room.
    assert!(put(&bans, show(), None, now + HOUR));
}

#[test]
fn ban_that_cannot_be_written_does_not_hold() {
    let (directory, now) = (tempfile::tempdir().unwrap(), SystemTime::now());
    let bans = Bans::open(Some(directory.path()), 9, &Metrics::new());
    drop(directory);
    assert!(matches!(
        bans.set(ada(), Some(ban(None)), 0, now),
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
    put(&bans, ada(), None, now);
    assert_eq!(fs::read_to_string(&path).unwrap(), "[{");
    assert_eq!(metrics.state_file_errors.get(), 1);
}

#[test]
fn each_change_has_a_higher_version() {
    let (bans, now) = (Bans::open(None, 9, &Metrics::new()), SystemTime::now());
    let version = |subject, given| {
        let set = bans.set(subject, Some(ban(None)), given, now).unwrap();
        set.unwrap().0.version
    };
    assert_eq!(version(ada(), 0), 1);
    assert_eq!(version(show(), 0), 2);
    assert_eq!(version(ada(), 7), 7, "from Redis");
    assert_eq!(version(show(), 3), 8, "Redis lost its own");
    assert_eq!(bans.latest_version(), 8);
}

#[test]
fn removal_is_remembered_and_survives_a_restart() {
    let (directory, now) = (tempfile::tempdir().unwrap(), SystemTime::now());
    let open = || Bans::open(Some(directory.path()), 9, &Metrics::new());
    let bans = open();
    put(&bans, ada(), None, now);
    assert!(remove(&bans, ada(), now));
    assert_eq!(open().changes(), [change(ada(), 2, None)]);
}

#[test]
fn adopted_changes_replace_own_ones() {
    let (directory, now) = (tempfile::tempdir().unwrap(), SystemTime::now());
    let open = || Bans::open(Some(directory.path()), 9, &Metrics::new());
    let bans = open();
    put(&bans, ada(), None, now);
    let theirs = vec![change(ada(), 5, None), change(show(), 6, Some(ban(None)))];
    bans.adopt(theirs, now);
    assert_eq!(finds(&bans, "ada", "other", now), None);
    assert_eq!(finds(&bans, "bob", "show", now), Some(show()));
    assert_eq!(open().all(now), bans.all(now));
}

#[test]
fn oldest_changes_that_do_not_hold_are_forgotten() {
    let (bans, now) = (Bans::open(None, 2, &Metrics::new()), SystemTime::now());
    let user = |name: u64| Subject::User(name.to_string());
    put(&bans, ada(), None, now);
    for name in 0..9 {
        put(&bans, user(name), None, now);
        assert!(remove(&bans, user(name), now));
    }
    let mut kept: Vec<Subject> = bans.changes().into_iter().map(|it| it.subject).collect();
    kept.sort();
    assert_eq!(kept, [user(6), user(7), user(8), ada()]);
    // Those of a node with a higher limit do not hold beyond this one's.
    let many = (20..30).map(|version| change(user(version), version, Some(ban(None))));
    bans.adopt(many.collect(), now);
    assert_eq!(bans.changes().len(), 4);
    assert_eq!(finds(&bans, "29", "other", now), Some(user(29)));
}

#[test]
fn adopted_ban_holds_if_it_cannot_be_written() {
    let (directory, now) = (tempfile::tempdir().unwrap(), SystemTime::now());
    let metrics = Metrics::new();
    let bans = Bans::open(Some(directory.path()), 9, &metrics);
    drop(directory);
    bans.adopt(vec![change(ada(), 5, Some(ban(None)))], now);
    assert_eq!(finds(&bans, "ada", "show", now), Some(ada()));
    assert_eq!(metrics.state_file_errors.get(), 1);
}
