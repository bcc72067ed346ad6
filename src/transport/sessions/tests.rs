//! Counts, pings and ends of sessions, on a paused clock.

use std::time::Duration;

use super::*;
use crate::transport::{HeartbeatTimes, Turn};

fn sessions(max: usize, max_per_address: usize) -> Sessions {
    let heartbeat = HeartbeatTimes {
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(10),
        streamer_timeout: Duration::from_secs(20),
        min_bytes_per_second: 1000,
    };
    let limits = SessionLimits {
        max,
        max_per_address,
        max_unjoined_per_address: max_per_address,
        max_per_connection: 1,
        join_timeout: Duration::from_secs(5),
        heartbeat,
        message_bytes: 1000,
        message_bytes_before_join: 10,
    };
    Sessions::new(limits, Metrics::new())
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[tokio::test]
async fn session_is_known_as_long_as_it_lives() {
    let sessions = sessions(10, 10);
    let session = sessions.admit(None, None, now()).unwrap();
    assert!(sessions.find("a").is_none());
    session.set_id("a");
    assert!(Arc::ptr_eq(&session, &sessions.find("a").unwrap()));
    drop(session);
    assert!(sessions.find("a").is_none() && sessions.is_empty());
}

#[tokio::test]
async fn sessions_are_counted_in_total_and_per_address() {
    let sessions = sessions(3, 2);
    let address = |text: &str| Some(text.parse().unwrap());
    let open = |text: &str| sessions.admit(address(text), None, now());
    let first = open("2001:db8::1").unwrap();
    let _second = open("2001:db8::2").unwrap();
    assert_eq!(open("2001:db8::3").err(), Some(TooMany::FromAddress));
    let _third = open("2001:db8:0:1::1").unwrap();
    assert_eq!(open("1.2.3.4").err(), Some(TooMany::InAll));
    drop(first);
    let _fourth = open("2001:db8::4").unwrap();
    assert_eq!(sessions.len(), 3);
}

#[tokio::test]
async fn sessions_without_a_namespace_are_counted_apart() {
    let sessions = {
        let limits = SessionLimits {
            max_unjoined_per_address: 1,
            ..sessions(10, 3).0.limits
        };
        Sessions::new(limits, Metrics::new())
    };
    let open = || sessions.admit(Some("1.2.3.4".parse().unwrap()), None, now());
    let first = open().unwrap();
    assert!(open().is_err());
    let members = [first.join(), first.join()];
    let second = open().unwrap();
    assert!(open().is_err());
    drop(members);
    drop(second);
    assert!(open().is_err(), "the first has left");
    drop(first);
    drop(open().unwrap());
}

#[tokio::test]
async fn oldest_refused_session_makes_room() {
    let limits = SessionLimits {
        max_unjoined_per_address: 2,
        ..sessions(10, 10).0.limits
    };
    let sessions = Sessions::new(limits, Metrics::new());
    let open = || sessions.admit(Some("1.2.3.4".parse().unwrap()), None, now());
    let [waits, refused] = [(); 2].map(|()| open().unwrap());
    assert!(open().is_err(), "nobody is refused yet");
    refused.refused();
    let third = open().unwrap();
    assert!(refused.is_closed() && !waits.is_closed() && !third.is_closed());
    assert!(open().is_err());
}

#[tokio::test]
async fn closing_wakes_waiters_and_is_remembered() {
    let session = sessions(1, 1).admit(None, None, now()).unwrap();
    let waiter = tokio::spawn({
        let session = session.clone();
        async move { session.closed().await }
    });
    tokio::task::yield_now().await;
    session.close();
    waiter.await.unwrap();
    session.closed().await;
}

#[tokio::test(start_paused = true)]
async fn session_without_a_namespace_is_closed_in_time() {
    let sessions = sessions(10, 10);
    let [never, left, stays] = [(); 3].map(|()| sessions.admit(None, None, now()).unwrap());
    let (member, _stays) = (left.join(), stays.join());
    tokio::time::advance(Duration::from_secs(6)).await;
    sessions.sweep(now());
    assert!(never.is_closed() && !left.is_closed());
    drop(member);
    tokio::time::advance(Duration::from_secs(6)).await;
    sessions.sweep(now());
    assert!(left.is_closed() && !stays.is_closed());
}

#[tokio::test(start_paused = true)]
async fn silent_session_is_closed_and_its_polls_end() {
    let sessions = sessions(10, 10);
    let session = sessions.admit(None, None, now()).unwrap();
    let _member = session.join();
    assert_eq!(session.turn().await, Turn::Ping);
    session.activity.heard_message();
    tokio::time::advance(Duration::from_secs(19)).await;
    sessions.sweep(now());
    assert!(!session.is_closed());
    tokio::time::advance(Duration::from_secs(2)).await;
    sessions.sweep(now());
    assert!(session.is_closed());
}

#[tokio::test(start_paused = true)]
async fn message_limit_rises_with_the_first_join() {
    let session = sessions(10, 10).admit(None, None, now()).unwrap();
    assert_eq!(session.message_limit(), 10);
    drop(session.join());
    assert_eq!(session.message_limit(), 1000);
}
