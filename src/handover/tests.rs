use proptest::prelude::*;

use super::*;
use crate::media::{AacConfig, Audio, Codec, Timeline};

fn place(epoch: u64, sequence: u64) -> Place {
    let audio = Audio {
        codec: Codec::Aac(AacConfig::with(48_000, 2).unwrap()),
        frames: vec![Bytes::from_static(b"frame")],
        delay: 0,
        padding: 0,
    };
    Timeline::default().place(epoch, sequence, &audio, 1_700_000_000_000)
}

fn snapshots() -> impl Strategy<Value = Vec<Snapshot>> {
    let clip = (
        prop::collection::vec(any::<u8>(), 0..50),
        any::<(u64, u64)>(),
        any::<u64>(),
        any::<bool>(),
    );
    let clip = clip.prop_map(|(bytes, position, sent_at, has_id)| NewClip {
        bytes: bytes.into(),
        id: ClipId::new("an id").filter(|_| has_id),
        sent_at,
        position: Some(Position::new(position.0, position.1)),
        place: Some(place(position.0, position.1)).filter(|_| has_id),
    });
    let clips = prop::collection::vec(clip, 0..3);
    let ids = prop::collection::vec(("\\PC{1,64}", any::<u64>()), 0..3);
    let one = ("[a-z]{1,8}", "\\PC{1,8}", 1..1000_u64, clips, ids).prop_map(
        |(id, user, next, clips, ids)| {
            let id_of = |(id, sequence): (String, u64)| (ClipId::new(&id).unwrap(), sequence);
            Snapshot {
                livestream: LivestreamId::new(&id).unwrap(),
                streamer: UserId::new(&user),
                next_sequence: next,
                epoch: next + 7,
                place: Some(place(7, next)).filter(|_| next % 2 == 0),
                recording: RecordingState::parse("paused 4").filter(|_| next % 3 == 0),
                clips,
                clip_ids: ids.into_iter().map(id_of).collect(),
            }
        },
    );
    prop::collection::vec(one, 0..4)
}

fn text_of(snapshots: &[Snapshot]) -> String {
    format!("{snapshots:?}")
}

proptest! {
    #[test]
    fn snapshots_are_taken_as_they_were_left(snapshots in snapshots()) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("handover");
        let now = SystemTime::now();
        leave(&path, &snapshots, now).unwrap();
        let taken = take(&path, Duration::from_secs(30), now).unwrap();
        prop_assert_eq!(text_of(&taken), text_of(&snapshots));
        prop_assert!(take(&path, Duration::from_secs(30), now).unwrap().is_empty(), "once");
    }

    #[test]
    fn decode_of_junk_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        decode(bytes.into()).ok();
    }

    #[test]
    fn truncated_file_is_refused(snapshots in snapshots(), cut in 0.0..1.0_f64) {
        let whole = encode(&snapshots, SystemTime::now()).concat();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "an offset in a small file")]
        let cut = (whole.len() as f64 * cut) as usize;
        prop_assert!(decode(Bytes::from(whole).slice(..cut)).is_err());
    }
}

#[test]
fn returns_are_taken_as_they_were_left() {
    let directory = tempfile::tempdir().unwrap();
    let path = returns_in(directory.path());
    let now = SystemTime::now();
    assert_eq!(take_returns(&path, now).unwrap().0, []);
    let of = |role| HandedOver {
        right: Return {
            user: UserId::new("ada \"é\""),
            role,
            livestream: LivestreamId::new("x").unwrap(),
            token: TokenHash::of("token"),
        },
        sockets: 2,
        left: Duration::from_millis(1234),
    };
    let left = [of(Role::Streamer), of(Role::Listener)];
    leave_returns(&path, &left, now).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(!text.contains("\"token\":\"token"), "{text}");
    let (taken, ago) = take_returns(&path, now + Duration::from_secs(3)).unwrap();
    assert_eq!(taken, left);
    assert!(ago.abs_diff(Duration::from_secs(3)) < Duration::from_millis(2));
    fs::write(&path, &text[..text.len() / 2]).unwrap();
    assert!(take_returns(&path, now).is_err());
}

#[test]
fn snapshots_older_than_the_grace_period_are_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("handover");
    let snapshot = Snapshot {
        livestream: LivestreamId::new("x").unwrap(),
        streamer: UserId::new("streamer"),
        next_sequence: 2,
        epoch: 7,
        place: None,
        recording: None,
        clips: vec![Bytes::from_static(b"clip").into()],
        clip_ids: Vec::new(),
    };
    let now = SystemTime::now();
    leave(&path, &[snapshot], now).unwrap();
    let taken = take(&path, Duration::from_secs(30), now + Duration::from_mins(1)).unwrap();
    assert!(taken.is_empty());
    assert!(!path.exists());
}

#[test]
fn handover_of_an_older_version_has_no_ids() {
    let header = r#"{"left_at":0,"livestreams":[{"livestream":"x","streamer":"ada","next_sequence":2,"clips":[4]}]}"#;
    let file = format!("{header}\nclip");
    let (_, snapshots) = decode(file.into()).unwrap();
    assert_eq!(snapshots[0].clip_ids, []);
    assert_eq!(snapshots[0].clips, [Bytes::from_static(b"clip").into()]);
}

/// A livestream with clips of these sizes.
fn with_clips(id: &str, sizes: &[usize]) -> Snapshot {
    let clip = |size: &usize| NewClip::from(Bytes::from(vec![7; *size]));
    Snapshot {
        livestream: LivestreamId::new(id).unwrap(),
        streamer: UserId::new("ada"),
        next_sequence: 9,
        epoch: 1,
        place: None,
        recording: None,
        clips: sizes.iter().map(clip).collect(),
        clip_ids: Vec::new(),
    }
}

fn sizes(snapshots: &[Snapshot]) -> Vec<Vec<usize>> {
    let sizes = |snapshot: &Snapshot| snapshot.clips.iter().map(|it| it.bytes.len()).collect();
    snapshots.iter().map(sizes).collect()
}

#[test]
fn handover_has_each_livestreams_latest_clips() {
    for (limit, left) in [
        (0, [vec![], vec![]]),
        (60, [vec![30], vec![]]),
        (100, [vec![20, 30], vec![]]),
        (119, [vec![20, 30], vec![]]),
        (120, [vec![10, 20, 30], vec![60]]),
        (1_000, [vec![10, 20, 30], vec![80, 60]]),
    ] {
        let mut snapshots = [with_clips("a", &[10, 20, 30]), with_clips("b", &[80, 60])];
        let removed = shorten(&mut snapshots, limit);
        assert_eq!(sizes(&snapshots), left, "{limit}");
        assert_eq!(removed, 5 - left.concat().len(), "{limit}");
    }
    assert_eq!(shorten(&mut [], 100), 0);
}
