//! Clips that were not recorded on purpose.

use super::*;

#[test]
fn paused_clips_are_not_missing() {
    let left_out = |at, from, until| (at, Mark::LeftOut { from, until });
    let contents = with(
        &[(1, 3, 30), (1, 4, 40), (2, 9, 90), (2, 12, 120)],
        &[
            left_out(30, 1, 3),
            (45, Mark::Paused),
            left_out(90, 5, 8),
            left_out(120, 11, 12),
        ],
    );
    assert_eq!(numbers(&contents.missing()), [8, 10]);
    let reason = |one: &ClipName, other: &ClipName| {
        contents.reason(
            (one.received, other.received),
            (one, other),
            &contents.missing(),
        )
    };
    let [third, fourth, ninth, twelfth] =
        [(1, 3, 30), (1, 4, 40), (2, 9, 90), (2, 12, 120)].map(|(e, s, at)| clip(e, s, at));
    assert_eq!(reason(&fourth, &ninth), "not_received");
    assert_eq!(reason(&ninth, &twelfth), "not_received");
    assert_eq!(reason(&third, &fourth), "nothing_sent");
    let whole = with(&[(1, 4, 40), (2, 9, 90)], &[left_out(90, 5, 9)]);
    assert_eq!(
        whole.reason((40, 90), (&fourth, &ninth), &whole.missing()),
        "pause",
        "also over a takeover"
    );
    let silent = with(&[(1, 3, 30), (1, 4, 40)], &[(31, Mark::Paused)]);
    assert_eq!(
        silent.reason((30, 40), (&third, &fourth), &silent.missing()),
        "pause"
    );
}

proptest! {
    #[test]
    fn every_sequence_is_here_missing_or_left_out(
        present in prop::collection::btree_set(1..60_u64, 1..30),
        spans in prop::collection::vec((0..60_u64, 0..60_u64), 0..6),
    ) {
        let clips: Vec<_> = present.iter().map(|it| (1, *it, *it)).collect();
        let marks: Vec<_> = spans.iter().map(|(from, until)| (9, Mark::LeftOut { from: *from, until: *until })).collect();
        let missing = numbers(&with(&clips, &marks).missing());
        let is_left_out = |it: &u64| spans.iter().any(|(from, until)| (from..until).contains(&it));
        let latest = present.last().copied().unwrap_or(0);
        let expected: Vec<u64> = (1..latest).filter(|it| !present.contains(it) && !is_left_out(it)).collect();
        prop_assert_eq!(missing, expected);
    }
}

#[test]
fn pause_does_not_end_a_recording() {
    let paused = with(&[(1, 1, 1)], &[(399_999, Mark::Paused)]);
    assert_eq!(next_step(&paused, None, TIMING), Step::Finish);
    let paused = with(&[(1, 1, 1)], &[(400_001, Mark::Paused)]);
    assert_eq!(next_step(&paused, None, TIMING), Step::Wait);
}

#[test]
fn pause_overrules_an_end_as_clips_do() {
    let reason = "expired".into();
    let end = (
        100_000,
        Mark::Ended {
            reason,
            latest: None,
        },
    );
    let paused = |at| with(&[(1, 1, 1)], &[end.clone(), (at, Mark::Paused)]);
    assert_eq!(paused(150_000).ended(), Some((100_000, "expired")));
    assert_eq!(paused(160_001).ended(), None);
}

#[test]
fn pause_until_the_end_leaves_nothing_missing() {
    let reason = "ended".into();
    let latest = Some((1, 9));
    let marks = [
        (80, Mark::LeftOut { from: 5, until: 10 }),
        (80, Mark::Ended { reason, latest }),
    ];
    assert_eq!(numbers(&with(&[(1, 4, 40)], &marks).missing()), [1, 2, 3]);
    assert_eq!(
        numbers(&with(&[(1, 4, 40)], &marks[1..]).missing()),
        [1, 2, 3, 5, 6, 7, 8, 9]
    );
}

#[test]
fn clip_of_a_pause_is_not_taken_again() {
    let again = |sequence: u64| ClipName {
        id: Some(sequence.to_string()),
        ..clip(SENT_AGAIN, sequence, 95)
    };
    let contents = Contents {
        clips: [clip(1, 4, 40), again(6), again(8), clip(2, 9, 100)].into(),
        marks: [(100, Mark::LeftOut { from: 5, until: 8 })].into(),
        first: Some(4),
    };
    let order: Vec<u64> = contents.in_order().iter().map(|it| it.sequence).collect();
    assert_eq!(order, [4, 8, 9]);
    assert!(contents.missing().is_empty());
}
