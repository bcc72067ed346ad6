//! The queue against its promises, over any sequence of outcomes.

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits {
    messages: 1000,
    bytes: 1 << 20,
    retry_time: Duration::from_hours(72),
    requests: 4,
};

fn message(lane: u8, number: usize) -> Message {
    Message {
        id: format!("msg_{number}"),
        lane: format!("lane-{lane}"),
        created: 0,
        kind: "livestream.started".to_owned(),
        body: "{}".to_owned(),
    }
}

fn failed(failure: Failure) -> Failed {
    failure.into()
}

fn push(queue: &mut Queue, lane: u8, number: usize, now: Instant) -> bool {
    queue.push(message(lane, number), Duration::ZERO, now)
}

proptest! {
    #[test]
    fn order_of_a_lane_is_kept(
        lanes in prop::collection::vec(0..3_u8, 1..40),
        outcomes in prop::collection::vec((any::<bool>(), 0..4_usize, 0..400_u64), 0..400),
    ) {
        let mut now = Instant::now();
        let mut queue = Queue::new(LIMITS);
        for (number, lane) in lanes.iter().enumerate() {
            prop_assert!(push(&mut queue, *lane, number, now));
        }
        let mut expected: Vec<Vec<String>> = vec![Vec::new(); 3];
        for (number, lane) in lanes.iter().enumerate() {
            expected[usize::from(*lane)].push(format!("msg_{number}"));
        }
        let mut heard: Vec<Vec<String>> = vec![Vec::new(); 3];
        let mut tries: Vec<Arc<Message>> = Vec::new();
        let mut outcomes = outcomes.into_iter();
        while queue.len() > 0 {
            let (is_good, which, seconds) = outcomes.next().unwrap_or((true, 0, 400));
            while let Some(message) = queue.take(now) {
                prop_assert!(tries.iter().all(|it| it.lane != message.lane), "one of a lane at a time");
                tries.push(message);
            }
            prop_assert!(tries.len() <= LIMITS.requests);
            now += Duration::from_secs(seconds);
            if tries.is_empty() {
                continue;
            }
            let message = tries.remove(which % tries.len());
            if is_good {
                let lane = usize::from(message.lane.as_bytes()[5] - b'0');
                heard[lane].push(message.id.clone());
                queue.delivered(&message, now);
            } else {
                queue.failed(&message, failed(Failure::ServerError), 0.5, now);
            }
        }
        prop_assert_eq!(heard, expected);
        prop_assert_eq!((queue.bytes(), queue.tries), (0, 0));
        prop_assert!(queue.lanes.is_empty() && queue.ready.is_empty(), "nothing is left");
    }
}

#[test]
fn queue_is_bounded_in_messages_and_bytes() {
    let now = Instant::now();
    let bytes = message(0, 0).bytes();
    let mut few = Queue::new(Limits {
        messages: 2,
        ..LIMITS
    });
    let mut small = Queue::new(Limits {
        bytes: 2 * bytes,
        ..LIMITS
    });
    for queue in [&mut few, &mut small] {
        let pushed = [0, 1, 2].map(|number| push(queue, 0, number, now));
        assert_eq!(pushed, [true, true, false]);
        assert_eq!((queue.len(), queue.bytes()), (2, 2 * bytes));
    }
}

#[test]
fn failing_receiver_is_left_alone_longer() {
    let mut now = Instant::now();
    let mut queue = Queue::new(LIMITS);
    for lane in 0..4 {
        push(&mut queue, lane, lane.into(), now);
    }
    let tries: Vec<_> = std::iter::from_fn(|| queue.take(now)).collect();
    assert_eq!(tries.len(), 4);
    for message in &tries {
        queue.failed(message, failed(Failure::Unreachable), 1.0, now);
    }
    let mut waits = Vec::new();
    for _ in 0..12 {
        let due = queue.next_due().unwrap();
        waits.push((due - now).as_secs());
        now = due;
        let message = queue.take(now).unwrap();
        assert!(queue.take(now).is_none(), "one at a time");
        queue.failed(&message, failed(Failure::Unreachable), 1.0, now);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
}

#[test]
fn refused_message_delays_its_own_lane() {
    let mut now = Instant::now();
    let mut queue = Queue::new(LIMITS);
    push(&mut queue, 0, 0, now);
    for _ in 0..5 {
        now = queue.next_due().unwrap();
        let poison = queue.take(now).unwrap();
        queue.failed(&poison, failed(Failure::Refused), 1.0, now);
    }
    push(&mut queue, 1, 1, now);
    now += Duration::from_secs(16);
    let other = queue.take(now).unwrap();
    assert_eq!(other.id, "msg_1", "it waited for the receiver alone");
    queue.delivered(&other, now);
    let poison = queue.take(now).unwrap();
    queue.failed(&poison, failed(Failure::Refused), 1.0, now);
    push(&mut queue, 1, 2, now);
    now += FIRST_WAIT;
    assert_eq!(
        queue.take(now).unwrap().id,
        "msg_2",
        "a success ended the pauses"
    );
    assert_eq!(queue.lanes["lane-0"].failures, 6);
}

#[test]
fn retry_after_is_honoured_within_a_day() {
    let wishes = [(90, 90), (10_000_000, 86_400), (0, 1)];
    for (wish, waited) in wishes {
        let now = Instant::now();
        let mut queue = Queue::new(LIMITS);
        push(&mut queue, 0, 0, now);
        let message = queue.take(now).unwrap();
        let asked = Failed {
            failure: Failure::Limited,
            retry_after: Some(Duration::from_secs(wish)),
        };
        queue.failed(&message, asked, 1.0, now);
        assert_eq!(queue.next_due(), Some(now + Duration::from_secs(waited)));
    }
}

#[test]
fn gone_receiver_is_sent_nothing() {
    let now = Instant::now();
    let mut queue = Queue::new(LIMITS);
    push(&mut queue, 0, 0, now);
    let message = queue.take(now).unwrap();
    queue.failed(&message, failed(Failure::Gone), 1.0, now);
    assert!(push(&mut queue, 1, 1, now), "it waits");
    assert!(queue.take(now + LONGEST_WAIT).is_none() && queue.next_due().is_none());
    assert_eq!(queue.len(), 2);
}

#[test]
fn old_messages_are_dropped_in_order() {
    let begun = Instant::now();
    let mut queue = Queue::new(LIMITS);
    let two_days = Duration::from_hours(48);
    assert!(
        queue.push(message(0, 0), two_days, begun),
        "of a process before"
    );
    push(&mut queue, 0, 1, begun);
    push(&mut queue, 1, 2, begun);
    assert!(queue.expire(begun).is_empty());
    let tried = queue.take(begun).unwrap();
    let later = begun + Duration::from_hours(24);
    assert!(queue.expire(later).is_empty(), "it is being sent");
    queue.failed(&tried, failed(Failure::Timeout), 1.0, later);
    let expired = queue.expire(later);
    assert_eq!((expired.len(), &*expired[0].id), (1, "msg_0"));
    assert_eq!(queue.oldest(later), Duration::from_hours(24));
    assert_eq!(queue.expire(begun + LIMITS.retry_time).len(), 2);
    assert_eq!((queue.len(), queue.bytes()), (0, 0));
}
