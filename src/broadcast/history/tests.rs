use std::time::Instant;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::broadcast::{ClipId, NewClip};

/// A place, in few letters.
const fn at(epoch: u64, sequence: u64) -> Position {
    Position::new(epoch, sequence)
}

fn clip(position: Position, bytes: Bytes) -> Arc<Clip> {
    let clip = NewClip {
        position: Some(position),
        ..bytes.into()
    };
    Arc::new(Clip::new(position.sequence, position, clip, Instant::now()))
}

fn remaining(max_clips: usize, max_bytes: usize, sizes: &[usize]) -> Vec<u64> {
    let mut history = History::new(max_clips, max_bytes);
    for (sequence, size) in (1..).zip(sizes) {
        history.push(clip(at(1, sequence), vec![0; *size].into()));
    }
    history.clips().map(|clip| clip.sequence).collect()
}

fn after(history: &History, position: Position) -> Option<Vec<Position>> {
    Some(history.after(position)?.map(|clip| clip.position).collect())
}

#[test]
fn oldest_clips_beyond_the_number_bound_are_removed() {
    assert_eq!(remaining(2, 100, &[1, 1, 1]), [2, 3]);
    assert!(remaining(0, 100, &[1, 1]).is_empty());
}

#[test]
fn latest_clip_stays_beyond_the_byte_bound() {
    assert_eq!(remaining(9, 10, &[5, 5, 5]), [2, 3]);
    assert_eq!(remaining(9, 10, &[5, 50]), [2]);
}

/// What becomes of a livestream: clips of owners with rising epochs, whose sequences continue.
#[derive(Debug, Clone)]
enum Step {
    /// A clip comes.
    Clip,
    /// Another owner comes. It continues after the latest clip but so many, which were never published.
    Owner { unpublished: u64 },
    /// The history misses a clip.
    Miss,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => Just(Step::Clip),
        1 => (0..3_u64).prop_map(|unpublished| Step::Owner { unpublished }),
        1 => Just(Step::Miss),
    ];
    prop::collection::vec(step, 0..40)
}

proptest! {
    #[test]
    fn listener_resumes_with_all_later_clips_or_none(steps in steps(), max_clips in 0..12_usize) {
        let mut history = History::new(max_clips, usize::MAX);
        // All clips, in the order of the livestream, and those before which one is missing.
        let (mut all, mut gaps) = (Vec::new(), vec![0]);
        let (mut epoch, mut sequence) = (1, 0);
        for step in steps {
            match step {
                Step::Clip => {
                    sequence += 1;
                    all.push(at(epoch, sequence));
                    history.push(clip(at(epoch, sequence), Bytes::from_static(b"clip")));
                }
                Step::Owner { unpublished } => {
                    epoch += 1;
                    sequence -= unpublished.min(sequence);
                }
                Step::Miss => {
                    sequence += 1;
                    all.push(at(epoch, sequence));
                    history.break_chain(None);
                    gaps.push(all.len());
                }
            }
        }
        let first_known = gaps.last().copied().unwrap_or_default().max(all.len().saturating_sub(max_clips));
        for (index, position) in all.iter().enumerate() {
            let expected = (index + 1 >= first_known && index + 1 > *gaps.last().expect("one"))
                || (index + 1 == first_known && index + 1 > *gaps.last().expect("one"));
            let later = after(&history, *position);
            prop_assert_eq!(later.is_some(), expected, "{:?} of {:?}", position, history);
            if let Some(later) = later {
                prop_assert_eq!(&later[..], &all[index + 1..]);
            }
        }
    }

    #[test]
    fn history_of_the_cluster_leads_to_the_chain(
        all in 1..30_usize, known in 1..30_usize, fetched in 0..30_usize, max_clips in 1..30_usize,
    ) {
        let known = known.min(all).min(max_clips);
        let position = |index: usize| at(1 + index as u64 / 7, 1 + index as u64);
        let clips: Vec<_> = (0..all).map(|index| clip(position(index), Bytes::from_static(b"clip"))).collect();
        let mut history = History::new(max_clips, usize::MAX);
        for clip in &clips[all - known..] {
            history.push(clip.clone());
        }
        if known == max_clips.min(all) {
            history.break_chain(None);
            for clip in &clips[all - known..] {
                history.push(clip.clone());
            }
        }
        let fetched = fetched.min(all);
        history.prepend(clips[all - fetched..].to_vec());
        prop_assert!(history.clips().count() <= max_clips);
        for index in 0..all {
            if let Some(later) = after(&history, position(index)) {
                let expected: Vec<_> = (index + 1..all).map(position).collect();
                prop_assert_eq!(later, expected);
            } else {
                // Its next clip does not fit, or is neither known nor fetched.
                prop_assert!(index + 1 + known.max(fetched).min(max_clips) <= all);
            }
        }
    }
}

#[test]
fn local_position_is_never_compared() {
    let mut history = History::new(9, 100);
    let apart = local_epoch(5);
    for position in [at(1, 1), at(apart, 2), at(3, 2)] {
        history.push(clip(position, Bytes::from_static(b"clip")));
    }
    assert_eq!(after(&history, at(apart, 2)), Some(vec![at(3, 2)]));
    assert_eq!(after(&history, at(apart, 1)), None);
    assert_eq!(after(&history, at(local_epoch(6), 9)), None);
    // Never published: what followed was.
    assert_eq!(
        after(&history, at(1, 2)),
        Some(vec![at(apart, 2), at(3, 2)])
    );
}

/// A clip that was relayed here as `(1, 2)`, and reached other nodes as `(2, 4)`.
fn repeated(id: Option<ClipId>) -> History {
    let mut history = History::new(9, 100);
    for sequence in 1..=3 {
        let bytes = vec![u8::try_from(sequence).expect("small")];
        let new = NewClip {
            position: Some(at(1, sequence)),
            id: id.clone().filter(|_| sequence == 2),
            ..Bytes::from(bytes).into()
        };
        history.push(Arc::new(Clip::new(
            sequence,
            at(1, sequence),
            new,
            Instant::now(),
        )));
    }
    let again = NewClip {
        position: Some(at(2, 4)),
        id,
        ..Bytes::from_static(&[2]).into()
    };
    history.push(Arc::new(Clip::repeated(3, at(2, 4), again, Instant::now())));
    history.push(clip(at(2, 5), Bytes::from_static(b"five")));
    history
}

#[test]
fn clip_with_two_positions_is_sent_once() {
    let history = repeated(ClipId::new("id"));
    assert_eq!(
        after(&history, at(1, 1)),
        Some(vec![at(1, 2), at(1, 3), at(2, 5)])
    );
    // A listener of another node has not heard it.
    assert_eq!(after(&history, at(1, 3)), Some(vec![at(2, 4), at(2, 5)]));
    assert_eq!(after(&history, at(2, 4)), Some(vec![at(2, 5)]));
}

#[test]
fn clip_without_an_id_is_not_repeated() {
    let history = repeated(None);
    assert_eq!(after(&history, at(1, 3)), Some(vec![at(2, 5)]));
}
