use std::time::UNIX_EPOCH;

use super::*;
use crate::config::Config;

fn config() -> Config {
    let mut config = Config::default();
    config.listener.passes = PassPolicy::Streamers;
    config
}

fn passes(state: Option<&Path>) -> Passes {
    let passes = Passes::open(&config(), None, state).expect("a key");
    passes.expect("passes are on")
}

fn id(name: &str) -> LivestreamId {
    LivestreamId::new(name).expect("an id")
}

const HOUR: Duration = Duration::from_hours(1);

#[test]
fn pass_admits_to_its_own_livestream_alone() {
    let passes = passes(None);
    let pass = passes.issue(&id("one"), HOUR).expect("a pass");
    assert!(Passes::is_pass(&pass.text));
    let checked = passes.check(&pass.text, &id("one")).expect("it is valid");
    assert_eq!(
        checked.expires_at,
        UNIX_EPOCH + Duration::from_secs(pass.expires_at)
    );
    assert_eq!(
        passes.check(&pass.text, &id("two")),
        Err(PassError::OtherLivestream)
    );
}

#[test]
fn pass_of_another_key_is_invalid() {
    let pass = passes(None).issue(&id("one"), HOUR).expect("a pass");
    let checked = passes(None).check(&pass.text, &id("one"));
    assert_eq!(checked, Err(PassError::Invalid("its signature is wrong")));
    let changed = pass.text.replace('.', ".A");
    let checked = passes(None).check(&changed, &id("one"));
    assert!(matches!(checked, Err(PassError::Invalid(_))));
}

#[test]
fn pass_ends_with_its_time() {
    let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(seconds);
    assert!(at(0) < at(2_000_000_000));
    let passes = passes(None).with_clock(|| UNIX_EPOCH + Duration::from_secs(2_000_000_000));
    let pass = passes.issue(&id("one"), HOUR).expect("a pass");
    assert_eq!(pass.expires_at, 2_000_003_600);
    let just_before = passes.with_clock(|| UNIX_EPOCH + Duration::from_secs(2_000_003_599));
    assert!(just_before.check(&pass.text, &id("one")).is_ok());
    let after = just_before.with_clock(|| UNIX_EPOCH + Duration::from_secs(2_000_003_600));
    assert_eq!(after.check(&pass.text, &id("one")), Err(PassError::Ended));
}

#[test]
fn lifetime_of_a_pass_is_bounded() {
    let passes = passes(None).with_clock(|| UNIX_EPOCH);
    let pass = passes.issue(&id("one"), HOUR * 1000).expect("a pass");
    assert_eq!(pass.expires_at, passes.max_lifetime().as_secs());
}

#[test]
fn end_of_a_livestream_revokes_its_passes() {
    let passes = passes(None).with_clock(|| UNIX_EPOCH + HOUR);
    let [one, two] = ["one", "two"].map(|name| passes.issue(&id(name), HOUR).expect("a pass"));
    passes.revoke(&id("one")).write();
    assert_eq!(passes.check(&one.text, &id("one")), Err(PassError::Ended));
    assert!(passes.check(&two.text, &id("two")).is_ok());
    let later = passes.with_clock(|| UNIX_EPOCH + HOUR + Duration::from_millis(1));
    let again = later.issue(&id("one"), HOUR).expect("a pass");
    assert!(later.check(&again.text, &id("one")).is_ok());
}

#[test]
fn key_and_ends_survive_a_restart() {
    let state = tempfile::tempdir().expect("a directory");
    let before = passes(Some(state.path()));
    let [one, two] = ["one", "two"].map(|name| before.issue(&id(name), HOUR).expect("a pass"));
    before.revoke(&id("one")).write();
    let after = passes(Some(state.path()));
    assert_eq!(after.check(&one.text, &id("one")), Err(PassError::Ended));
    assert!(after.check(&two.text, &id("two")).is_ok());
}

#[test]
fn key_file_that_is_no_key_is_named() {
    let state = tempfile::tempdir().expect("a directory");
    std::fs::write(state.path().join("passes.key"), "junk").expect("a file");
    let Err(error) = Passes::open(&config(), None, Some(state.path())) else {
        panic!("junk is no key");
    };
    assert!(error.to_string().contains("passes.key is no Ed25519 key"));
}

#[test]
fn remembered_ends_are_bounded() {
    let mut ended = Ended::open(None, HOUR, UNIX_EPOCH);
    for number in 0..=50_000_u64 {
        ended
            .record(&id(&format!("livestream-{number}")), 1_000_000 + number)
            .write();
    }
    assert_eq!(ended.at(&id("livestream-0")), None);
    assert_eq!(ended.at(&id("livestream-50000")), Some(1_050_000));
}
