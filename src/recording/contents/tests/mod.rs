mod pauses;

use proptest::prelude::*;

use super::*;

fn clip(epoch: u64, sequence: u64, received: u64) -> ClipName {
    ClipName {
        epoch,
        sequence,
        received,
        id: None,
        extension: "m4a".into(),
    }
}

fn with(clips: &[(u64, u64, u64)], marks: &[(u64, Mark)]) -> Contents {
    let clips = clips
        .iter()
        .map(|(epoch, sequence, at)| clip(*epoch, *sequence, *at));
    Contents {
        clips: clips.collect(),
        marks: marks.iter().cloned().collect(),
        first: None,
    }
}

fn ended(at: u64) -> (u64, Mark) {
    let reason = "ended".into();
    (
        at,
        Mark::Ended {
            reason,
            latest: None,
        },
    )
}

fn numbers(missing: &[Missing]) -> Vec<u64> {
    missing.iter().map(|it| it.sequence).collect()
}

#[test]
fn listing_is_read_and_foreign_names_left_out() {
    let contents = Contents::of([
        "clips/7-1-100.m4a",
        "clips/thumbs.db",
        "marks/120-link_lost",
        "marks/130-unknown",
        "recording.m4a",
        "manifest.json",
    ]);
    assert_eq!(contents, with(&[(7, 1, 100)], &[(120, Mark::LinkLost)]));
}

#[test]
fn clips_are_in_the_order_of_acceptance() {
    // Epoch 9 is another node's, then epoch 3 continues; its clock was set back.
    let contents = with(&[(9, 2, 250), (3, 1, 300), (3, 3, 100), (9, 1, 200)], &[]);
    let order: Vec<_> = contents
        .in_order()
        .iter()
        .map(|it| (it.epoch, it.sequence))
        .collect();
    assert_eq!(order, [(9, 1), (9, 2), (3, 1), (3, 3)]);
}

#[test]
fn clip_sent_again_is_taken_once() {
    let of = |epoch, received| ClipName {
        id: Some("0123456789abcdef".into()),
        ..clip(epoch, 5, received)
    };
    let contents = Contents {
        clips: [of(1, 100), of(2, 200)].into(),
        marks: BTreeSet::new(),
        first: None,
    };
    assert_eq!(contents.in_order(), [&of(1, 100)]);
}

#[test]
fn id_used_again_by_one_owner_is_kept() {
    let of = |sequence| ClipName {
        id: Some("0123456789abcdef".into()),
        ..clip(1, sequence, sequence)
    };
    let contents = Contents {
        clips: [of(5), of(900)].into(),
        marks: BTreeSet::new(),
        first: None,
    };
    assert_eq!(contents.in_order(), [&of(5), &of(900)]);
}

#[test]
fn missing_clips_are_named_with_their_reason() {
    let lost = |sequence| Mark::ClipLost {
        epoch: 1,
        sequence,
        reason: "spool_full".into(),
    };
    let contents = with(&[(1, 2, 20), (1, 6, 60)], &[(40, lost(4)), (70, lost(7))]);
    let missing = contents.missing();
    assert_eq!(numbers(&missing), [1, 3, 4, 5, 7]);
    let reasons: Vec<&str> = missing.iter().map(|it| it.reason.as_str()).collect();
    let not_received = "not_received";
    assert_eq!(
        reasons,
        [
            not_received,
            not_received,
            "spool_full",
            not_received,
            "spool_full"
        ]
    );
}

fn missing(clips: &[(u64, u64)], marks: &[Mark]) -> Vec<(u64, u64)> {
    let clips: Vec<_> = clips.iter().map(|(epoch, it)| (*epoch, *it, *it)).collect();
    let marks: Vec<_> = marks.iter().map(|mark| (50, mark.clone())).collect();
    let missing = with(&clips, &marks).missing();
    missing.iter().map(|it| (it.epoch, it.sequence)).collect()
}

/// An epoch that a node numbers alone.
fn alone(micros: u64) -> u64 {
    crate::broadcast::local_epoch(micros)
}

#[test]
fn numbers_without_redis_make_no_hole() {
    let repeated = Mark::Repeated {
        epoch: 8,
        from: 4,
        until: 6,
    };
    // Without Redis the node counted from what it had heard; then three of those were published again.
    let clips = [
        (7, 1),
        (7, 2),
        (7, 3),
        (alone(1), 30),
        (alone(1), 31),
        (8, 7),
    ];
    assert_eq!(missing(&clips, &[repeated]), []);
    assert_eq!(missing(&clips, &[]), [(7, 4), (7, 5), (7, 6)]);
    // Another outage: what came between has numbers of its own.
    let clips = [(7, 1), (alone(1), 2), (7, 2), (7, 3), (alone(1), 5)];
    assert_eq!(missing(&clips, &[]), []);
}

#[test]
fn numbers_of_others_hide_no_hole() {
    assert_eq!(missing(&[(7, 1), (7, 3), (alone(1), 2)], &[]), [(7, 2)]);
    // Clip 3 of the owner before was not published, and its number was given again.
    assert_eq!(missing(&[(7, 1), (7, 3), (8, 2), (8, 3)], &[]), [(7, 2)]);
    assert_eq!(missing(&[(7, 1), (8, 2), (8, 4), (9, 3)], &[]), [(8, 3)]);
}

#[test]
fn numbers_of_one_node_follow_each_other() {
    let clips = [(alone(1), 1), (alone(1), 2), (alone(9), 4)];
    assert_eq!(missing(&clips, &[]), [(alone(1), 3)]);
    let restarted = [(alone(1), 1), (alone(1), 2), (alone(9), 1), (alone(9), 2)];
    assert_eq!(missing(&restarted, &[]), []);
}

#[test]
fn clips_lost_at_the_end_are_named() {
    let ended = |latest| Mark::Ended {
        reason: "expired".into(),
        latest: Some(latest),
    };
    assert_eq!(missing(&[(7, 1)], &[ended((7, 3))]), [(7, 2), (7, 3)]);
    // The owner that told of the end had no clip.
    assert_eq!(missing(&[(7, 1)], &[ended((8, 2))]), [(7, 2)]);
    assert_eq!(missing(&[(7, 1)], &[ended((7, 1))]), []);
}

#[test]
fn clips_of_a_recording_before_are_not_missing() {
    let contents = Contents {
        first: Some(500),
        ..with(&[(7, 498, 1), (7, 500, 2), (7, 502, 3)], &[])
    };
    assert_eq!(numbers(&contents.missing()), [499, 501]);
}

#[test]
fn clip_taken_again_is_not_missing() {
    assert_eq!(missing(&[(7, 1), (7, 3), (SENT_AGAIN, 2)], &[]), []);
}

#[test]
fn missing_clips_of_a_strange_listing_are_bounded() {
    let contents = with(&[(1, u64::MAX, 1)], &[]);
    assert_eq!(contents.missing().len(), 10_000);
}

fn candidate(number: u64, started: u64, ended: Option<u64>) -> Candidate {
    Candidate {
        number,
        started,
        ended,
        latest: started,
        is_closed: false,
    }
}

const HOUR: u64 = 3_600_000;

fn place(candidates: &[Candidate], at: u64) -> Option<u64> {
    super::place(candidates, at, HOUR)
}

#[test]
fn clip_goes_where_its_time_belongs() {
    let hour = HOUR;
    let both = [
        candidate(1, 10 * hour, Some(11 * hour)),
        candidate(2, 11 * hour + 5, None),
    ];
    assert_eq!(place(&[], 7), None);
    assert_eq!(place(&both, 10 * hour + 1), Some(1));
    assert_eq!(place(&both, 11 * hour), Some(1), "accepted before the end");
    assert_eq!(place(&both, 11 * hour + 9), Some(2));
    assert_eq!(
        place(&both, 9 * hour + 1),
        Some(1),
        "another node had opened it later"
    );
    assert_eq!(
        place(&both, 12 * hour + 5),
        Some(2),
        "its nodes were gone for a while"
    );
    assert_eq!(place(&both, 12 * hour + 6), None, "too long after");
    assert_eq!(place(&both[..1], 11 * hour + 1), None, "after the end");
}

#[test]
fn livestream_continues_within_its_time() {
    let open = [candidate(1, 10 * HOUR, None)];
    assert_eq!(super::place(&open, 12 * HOUR, 2 * HOUR), Some(1));
    assert_eq!(super::place(&open, 12 * HOUR + 1, 2 * HOUR), None);
}

#[test]
fn closed_recording_takes_no_later_clip() {
    let closed = [Candidate {
        is_closed: true,
        ..candidate(1, 10 * HOUR, None)
    }];
    assert_eq!(place(&closed, 10 * HOUR), Some(1));
    assert_eq!(place(&closed, 10 * HOUR + 1), None);
}

#[test]
fn end_that_later_clips_overrule_is_none() {
    let contents = |at| with(&[(1, 1, 10), (1, 2, at)], &[ended(20)]);
    assert_eq!(contents(60_020).ended(), Some((20, "ended")));
    assert_eq!(contents(60_021).ended(), None);
    // The true one comes later.
    let both = with(&[(1, 2, 99_000)], &[ended(20), ended(99_001)]);
    assert_eq!(both.ended(), Some((99_001, "ended")));
    let going_on = with(&[(1, 1, 900_000)], &[ended(800_000)]);
    let finished = Finished::default();
    assert_eq!(next_step(&going_on, Some(&finished), TIMING), Step::Wait);
}

const TIMING: Timing = Timing {
    now: 1_000_000,
    is_on_air: false,
    finish_after: Duration::from_mins(10),
    wait_for_clips: Duration::from_mins(1),
    keep_clips: Duration::from_hours(1),
};

#[test]
fn recording_is_finished_once_it_is_over() {
    let step = |contents: &Contents, timing| next_step(contents, None, timing);
    let going_on = with(&[(1, 1, 399_999)], &[]);
    assert_eq!(
        step(&going_on, TIMING),
        Step::Finish,
        "all its nodes are gone"
    );
    let is_on_air = true;
    assert_eq!(
        step(
            &going_on,
            Timing {
                is_on_air,
                ..TIMING
            }
        ),
        Step::Wait
    );
    assert_eq!(step(&with(&[(1, 1, 400_001)], &[]), TIMING), Step::Wait);
    assert_eq!(
        step(&Contents::default(), TIMING),
        Step::Wait,
        "opened just now"
    );
    let over = with(&[(1, 1, 999_000)], &[ended(999_999)]);
    assert_eq!(step(&over, TIMING), Step::Finish);
    let with_hole = |at| with(&[(1, 1, at), (1, 3, at)], &[ended(at)]);
    assert_eq!(step(&with_hole(939_999), TIMING), Step::Finish);
    assert_eq!(
        step(&with_hole(940_001), TIMING),
        Step::Wait,
        "another node may bring it"
    );
}

#[test]
fn late_clip_is_joined_until_the_sweep() {
    let names = |numbers: &[u64]| {
        numbers
            .iter()
            .map(|it| clip(1, *it, *it).to_string())
            .collect()
    };
    let finished = |is_announced, age| Finished {
        clips: names(&[1, 2]),
        age: Duration::from_secs(age),
        is_announced,
        is_unregistered: false,
    };
    let here = |numbers: &[u64]| {
        let clips: Vec<_> = numbers.iter().map(|it| (1, *it, *it)).collect();
        with(&clips, &[ended(9)])
    };
    for (numbers, is_announced, age, step) in [
        (&[1, 2][..], false, 0, Step::Announce),
        (&[1, 2], true, 3599, Step::Wait),
        (&[1, 2], true, 3600, Step::Sweep),
        (&[2], true, 3600, Step::Sweep),
        (&[], true, 3600, Step::Sweep),
        (&[1, 2, 3], true, 3600, Step::Finish),
        (&[3], true, 3600, Step::Leave),
    ] {
        let finished = finished(is_announced, age);
        assert_eq!(
            next_step(&here(numbers), Some(&finished), TIMING),
            step,
            "{numbers:?}"
        );
    }
}

#[test]
fn podcast_is_registered_before_the_sweep() {
    let finished = |is_announced, days: u64| Finished {
        clips: [clip(1, 1, 1).to_string()].into(),
        age: Duration::from_hours(days * 24),
        is_announced,
        is_unregistered: true,
    };
    let swept = with(&[], &[ended(9)]);
    let whole = with(&[(1, 1, 1)], &[ended(9)]);
    let grown = with(&[(1, 1, 1), (1, 2, 2)], &[ended(9)]);
    for (contents, is_announced, days, step) in [
        (&whole, false, 0, Step::Announce),
        (&whole, true, 0, Step::Register),
        (&swept, true, 6, Step::Register),
        (&swept, true, 7, Step::Sweep),
        (&grown, true, 0, Step::Finish),
    ] {
        let finished = finished(is_announced, days);
        assert_eq!(next_step(contents, Some(&finished), TIMING), step);
    }
}

proptest! {
    #[test]
    fn order_does_not_depend_on_the_listing(
        clips in prop::collection::vec((1..4_u64, 1..20_u64, 0..50_u64), 0..30),
    ) {
        let names: Vec<String> = clips.iter().map(|(epoch, sequence, at)| format!("clips/{}", clip(*epoch, *sequence, *at))).collect();
        let one = Contents::of(names.iter().map(String::as_str));
        let other = Contents::of(names.iter().rev().map(String::as_str));
        prop_assert_eq!(one.in_order(), other.in_order());
        prop_assert_eq!(one.in_order().len(), one.clips.len(), "no clip is left out");
        for pair in one.in_order().windows(2) {
            prop_assert!(pair[0].epoch != pair[1].epoch || pair[0].sequence <= pair[1].sequence);
        }
    }
}
