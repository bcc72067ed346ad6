//! The queue of clips, and their tickets.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn publish(link: &Link, clip: impl Into<Bytes>) -> Ticket {
    link.publish(clip.into().into()).0
}

fn link(clips: usize, bytes: usize) -> Arc<Link> {
    let metrics = Metrics::new(&prometheus::Registry::new()).expect("metrics");
    Link::new(LinkBounds { clips, bytes }, metrics, Arc::default()).0
}

proptest! {
    #[test]
    fn queue_is_bounded_and_every_ticket_answered(
        sizes in prop::collection::vec(0..40_usize, 1..30), clips in 1..6_usize, bytes in 1..60_usize,
    ) {
        let link = link(clips, bytes);
        let tickets: Vec<Ticket> = sizes
            .iter()
            .map(|size| publish(&link, vec![0; *size]))
            .collect();
        let mut taken = Vec::new();
        while let Some(waiting) = link.take(usize::MAX, None) {
            taken.push(waiting.clip.bytes.len());
            waiting.answer(Ok(taken.len() as u64));
        }
        prop_assert!(taken.len() <= clips);
        prop_assert!(taken.len() == 1 || taken.iter().sum::<usize>() <= bytes);
        prop_assert_eq!(&taken[..], &sizes[sizes.len() - taken.len()..]);
        let dropped = sizes.len() - taken.len();
        for (at, ticket) in tickets.into_iter().enumerate() {
            let expected = match at.checked_sub(dropped) {
                None => Err(Unpublished::Away),
                Some(index) => Ok(index as u64 + 1),
            };
            prop_assert_eq!(ticket.result(), Some(expected));
        }
    }
}

#[test]
fn change_of_owner_answers_every_ticket() {
    let link = link(8, 100);
    let ticket = publish(&link, "clip");
    link.refuse_all(Unpublished::Superseded);
    assert_eq!(ticket.result(), Some(Err(Unpublished::Superseded)));
    assert!(link.take(usize::MAX, None).is_none());
}

#[test]
fn clip_larger_than_the_room_stays_queued() {
    let link = link(8, 100);
    let _ticket = publish(&link, "clip");
    assert!(link.take(3, None).is_none());
    assert!(link.take(4, None).is_some());
    assert!(link.is_empty());
}

#[tokio::test(start_paused = true)]
async fn ticket_is_answered_within_the_limit() {
    let link = link(8, 100);
    let limit = Duration::from_secs(6);
    let early = publish(&link, "early");
    tokio::time::advance(limit / 2).await;
    let late = publish(&link, "late");
    link.drop_overdue(limit);
    assert_eq!(early.result(), None, "it may still be published");
    tokio::time::advance(limit / 2).await;
    link.drop_overdue(limit);
    assert_eq!(early.result(), Some(Err(Unpublished::Away)));
    assert_eq!(late.result(), None);
    assert_eq!(
        link.take(usize::MAX, None).map(|it| it.clip.bytes),
        Some(Bytes::from_static(b"late"))
    );
}

#[test]
fn clip_carries_when_its_own_streamer_came() {
    let link = link(8, 100);
    link.set_came(6);
    assert_eq!(link.take_heard(), None, "it has said nothing");
    let _ticket = publish(&link, "clip");
    assert_eq!(link.take_heard(), Some(6));
    assert_eq!(link.take_heard(), None, "once");
    link.set_came(7);
    let _ticket = publish(&link, "clip");
    let came = || link.take(usize::MAX, None).map(|it| it.came);
    assert_eq!([came(), came()], [Some(6), Some(7)]);
}

#[tokio::test]
async fn late_clip_is_answered_and_goes_on() {
    let link = link(8, 100);
    let ticket = publish(&link, "clip");
    let repeated = ticket.clone();
    let waiting = link.take(usize::MAX, None).expect("the clip");
    waiting.mark_late();
    assert_eq!(ticket.answer().await, Err(Unpublished::Away));
    assert_eq!(repeated.result(), None, "it may still be published");
    assert!(!waiting.is_overdue(Duration::ZERO), "it is answered once");
    waiting.answer(Ok(7));
    assert_eq!(repeated.answer().await, Ok(7));
}
