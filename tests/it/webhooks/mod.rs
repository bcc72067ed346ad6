//! Webhooks: what is delivered, to receivers of every kind, and what is not. The clock stands still unless it is advanced.

mod daemon;
mod receiver;
mod recording;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::http::header;
use castaway_media_server::broadcast::{Epoch, LivestreamId, UserId};
use castaway_media_server::config::Webhooks as Config;
use castaway_media_server::metrics::Metrics;
use castaway_media_server::relay::{Arrival, Event, Totals};
use castaway_media_server::webhooks::Webhooks;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, yield_now};

use receiver::{Got, KEYS, Manner, Receiver};

/// A clock that moves only when it is told to, so that input and output have all the time that they need.
struct Clock(Option<std::sync::mpsc::Sender<()>>);

impl Clock {
    fn stopped() -> Self {
        tokio::time::pause();
        // While such a task runs, tokio does not advance the clock by itself.
        let (sender, receiver) = std::sync::mpsc::channel();
        tokio::task::spawn_blocking(move || receiver.recv().ok());
        Self(Some(sender))
    }

    async fn pass(&self, time: Duration) {
        tokio::time::advance(time).await;
        for _ in 0..200 {
            yield_now().await;
        }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        drop(self.0.take());
    }
}

/// The webhooks of a process.
struct Sender {
    webhooks: Webhooks,
    events: mpsc::UnboundedSender<Arc<Event>>,
    metrics: Metrics,
    task: JoinHandle<std::io::Result<()>>,
    number: u64,
}

impl Sender {
    fn to(receiver: &Receiver, directory: Option<&Path>, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            url: Some(receiver.url()),
            secrets: Some(format!("whsec_{}", KEYS[0]).into()),
            ..Config::default()
        };
        change(&mut config);
        let metrics = Metrics::new();
        let webhooks = Webhooks::open(&config, directory, None, &metrics);
        let (webhooks, settling) = webhooks.expect("good ones").expect("they are on");
        let (events, relayed) = mpsc::unbounded_channel();
        Self {
            task: tokio::spawn(webhooks.clone().run(relayed, settling)),
            webhooks,
            events,
            metrics,
            number: 0,
        }
    }

    /// A streamer is lost, whose livestream has as many clips as there were events before.
    fn tell(&mut self, livestream: &str) {
        self.number += 1;
        let event = Event::StreamerLost {
            livestream: LivestreamId::new(livestream).expect("an id"),
            user: UserId::new("ada"),
            totals: Totals {
                seconds: 1,
                clips: self.number,
                bytes: 1,
                peak_listeners: 1,
                joined: 1,
                listener_seconds: 1,
                dropped: 0,
            },
        };
        self.events.send(Arc::new(event)).expect("it takes them");
    }

    fn metric(&self, series: &str) -> u64 {
        let text = self.metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        let value = line.unwrap_or_else(|| panic!("{series} in {text}"));
        value.trim().parse().expect("a number")
    }

    fn waiting(&self) -> u64 {
        self.metric("castaway_webhooks_waiting ")
    }

    fn failed(&self, reason: &str) -> u64 {
        self.metric(&format!(
            "castaway_webhooks_failed_total{{reason=\"{reason}\"}}"
        ))
    }

    /// The process stops in order.
    async fn stop(self) {
        self.webhooks.settle(Duration::from_hours(1)).await;
        self.crash();
    }

    /// The process is gone.
    fn crash(self) {
        self.task.abort();
    }
}

/// Collects what the receiver takes until it has so many messages, while time passes.
async fn taken(receiver: &mut Receiver, clock: &Clock, count: usize) -> Vec<Got> {
    let mut taken: Vec<Got> = Vec::new();
    for _ in 0..2_000 {
        while let Ok(got) = receiver.got.try_recv() {
            taken.extend(Some(got).filter(|got| got.is_taken));
        }
        if taken.len() >= count {
            // Whatever comes twice comes now.
            for _ in 0..20 {
                clock.pass(Duration::from_mins(1)).await;
            }
            while let Ok(got) = receiver.got.try_recv() {
                taken.push(got);
            }
            return taken;
        }
        clock.pass(Duration::from_secs(1)).await;
    }
    panic!("only {} of {count} came", taken.len());
}

/// Each once, and those of each livestream in the order of their events.
fn is_complete(taken: &[Got], count: usize) {
    let ids: BTreeSet<&str> = taken.iter().map(|got| &*got.id).collect();
    assert_eq!((ids.len(), taken.len()), (count, count), "lost or doubled");
    let mut clips: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for got in taken {
        let data = &got.body["data"];
        let livestream = data["livestream"].as_str().expect("a livestream");
        let number = data["totals"]["clips"].as_u64().expect("a number");
        clips.entry(livestream).or_default().push(number);
    }
    for (livestream, clips) in clips {
        assert!(clips.is_sorted(), "{livestream}: {clips:?}");
    }
}

#[tokio::test]
async fn receiver_down_for_an_hour_misses_nothing() {
    let clock = Clock::stopped();
    let mut receiver = Receiver::down().await;
    let mut sender = Sender::to(&receiver, None, |_| {});
    for second in 0..360_u64 {
        if second.is_multiple_of(6) {
            sender.tell(["one", "two", "three"][usize::try_from(second / 6 % 3).expect("small")]);
        }
        clock.pass(Duration::from_secs(10)).await;
    }
    assert_eq!(sender.waiting(), 60);
    let tries = sender.failed("unreachable");
    assert!((10..60).contains(&tries), "{tries} tries in an hour");
    assert!(sender.metric("castaway_webhooks_oldest_seconds ") >= 3_500);
    receiver.up().await;
    is_complete(&taken(&mut receiver, &clock, 60).await, 60);
    assert_eq!(sender.waiting(), 0);
    let sent = "castaway_webhooks_sent_total{type=\"livestream.reconnecting\"}";
    assert_eq!(sender.metric(sent), 60);
}

#[tokio::test]
async fn answer_that_never_ends_delivers_once() {
    let clock = Clock::stopped();
    let mut receiver = Receiver::start().await;
    receiver.is(Manner::Endless);
    let mut sender = Sender::to(&receiver, None, |_| {});
    for _ in 0..20 {
        sender.tell("one");
    }
    is_complete(&taken(&mut receiver, &clock, 20).await, 20);
    assert_eq!((sender.waiting(), sender.failed("timeout")), (0, 0));
}

#[tokio::test]
async fn silent_receiver_is_asked_again() {
    let clock = Clock::stopped();
    let mut receiver = Receiver::start().await;
    receiver.is(Manner::Silent);
    let mut sender = Sender::to(&receiver, None, |_| {});
    sender.tell("one");
    let first = receiver.next().await;
    clock.pass(Duration::from_secs(14)).await;
    assert_eq!(sender.failed("timeout"), 0);
    clock.pass(Duration::from_secs(2)).await;
    assert_eq!(sender.failed("timeout"), 1);
    receiver.is(Manner::Good);
    let taken = taken(&mut receiver, &clock, 1).await;
    is_complete(&taken, 1);
    assert_eq!((&taken[0].id, &taken[0].body), (&first.id, &first.body));
}

#[tokio::test]
async fn redirect_is_not_followed() {
    let clock = Clock::stopped();
    let (mut receiver, mut other) = (Receiver::start().await, Receiver::start().await);
    for status in [301, 302, 303, 307, 308] {
        let to = Some((header::LOCATION, other.url()));
        receiver.is(Manner::Says(status, to));
        let mut sender = Sender::to(&receiver, None, |_| {});
        sender.tell("one");
        receiver.next().await;
        clock.pass(Duration::from_millis(1)).await;
        while sender.failed("redirect") == 0 && receiver.is_in_time() {
            clock.pass(Duration::from_millis(1)).await;
        }
        assert_eq!(sender.waiting(), 1, "{status}");
        sender.crash();
    }
    clock.pass(Duration::from_mins(1)).await;
    assert!(other.got.try_recv().is_err());
}

#[tokio::test]
async fn gone_receiver_is_left_alone_until_restart() {
    let clock = Clock::stopped();
    let directory = tempfile::tempdir().expect("a directory");
    let mut receiver = Receiver::start().await;
    receiver.says(410);
    let mut sender = Sender::to(&receiver, Some(directory.path()), |_| {});
    sender.tell("one");
    receiver.next().await;
    for _ in 0..100 {
        clock.pass(Duration::from_mins(10)).await;
    }
    sender.tell("one");
    clock.pass(Duration::from_mins(10)).await;
    assert!(
        receiver.got.try_recv().is_err(),
        "nothing is sent any longer"
    );
    assert_eq!((sender.waiting(), sender.failed("gone")), (2, 1));
    assert_eq!(sender.metric("castaway_webhooks_gone "), 1);
    sender.stop().await;
    receiver.is(Manner::Good);
    let sender = Sender::to(&receiver, Some(directory.path()), |_| {});
    is_complete(&taken(&mut receiver, &clock, 2).await, 2);
    assert_eq!(sender.metric("castaway_webhooks_gone "), 0);
}

#[tokio::test]
async fn retry_after_is_waited_for() {
    let clock = Clock::stopped();
    let mut receiver = Receiver::start().await;
    receiver.is(Manner::Says(429, Some((header::RETRY_AFTER, "120".into()))));
    let mut sender = Sender::to(&receiver, None, |_| {});
    sender.tell("one");
    receiver.next().await;
    while sender.failed("limited") == 0 && receiver.is_in_time() {
        clock.pass(Duration::ZERO).await;
    }
    sender.tell("two");
    for _ in 0..119 {
        clock.pass(Duration::from_secs(1)).await;
    }
    assert!(receiver.got.try_recv().is_err(), "it asked for two minutes");
    receiver.is(Manner::Good);
    is_complete(&taken(&mut receiver, &clock, 2).await, 2);
}

#[tokio::test]
async fn message_keeps_its_id_over_a_restart() {
    let clock = Clock::stopped();
    let directory = tempfile::tempdir().expect("a directory");
    let mut receiver = Receiver::start().await;
    receiver.says(503);
    let mut sender = Sender::to(&receiver, Some(directory.path()), |_| {});
    for livestream in ["one", "two", "one", "one", "two"] {
        sender.tell(livestream);
    }
    let first = receiver.next().await;
    sender.stop().await;
    while receiver.got.try_recv().is_ok() {}
    receiver.is(Manner::Good);
    let sender = Sender::to(&receiver, Some(directory.path()), |_| {});
    let taken = taken(&mut receiver, &clock, 5).await;
    is_complete(&taken, 5);
    assert!(
        taken
            .iter()
            .any(|got| (&got.id, &got.body) == (&first.id, &first.body))
    );
    sender.stop().await;
    let sender = Sender::to(&receiver, Some(directory.path()), |_| {});
    clock.pass(Duration::from_mins(1)).await;
    assert_eq!(sender.waiting(), 0, "they are done");
    assert!(receiver.got.try_recv().is_err());
}

#[tokio::test]
async fn message_that_waits_is_queued_once() {
    let clock = Clock::stopped();
    let mut receiver = Receiver::down().await;
    let sender = Sender::to(&receiver, None, |_| {});
    // What this node has found out twice.
    for epoch in [7, 7, 8] {
        let livestream = LivestreamId::new("one").expect("an id");
        let event = Event::OrphanEnded { livestream, epoch };
        sender.events.send(Arc::new(event)).expect("it takes them");
    }
    clock.pass(Duration::from_secs(1)).await;
    assert_eq!(sender.waiting(), 2);
    receiver.up().await;
    let taken = taken(&mut receiver, &clock, 2).await;
    assert_ne!(taken[0].id, taken[1].id);
}

#[tokio::test]
async fn crash_loses_no_written_message() {
    let clock = Clock::stopped();
    let directory = tempfile::tempdir().expect("a directory");
    let mut receiver = Receiver::down().await;
    let file = directory.path().join("webhooks");
    let mut sender = Sender::to(&receiver, Some(directory.path()), |_| {});
    for _ in 0..10 {
        sender.tell("one");
    }
    let written = || {
        std::fs::read_to_string(&file)
            .unwrap_or_default()
            .lines()
            .count()
    };
    while written() < 10 && receiver.is_in_time() {
        clock.pass(Duration::from_millis(10)).await;
    }
    sender.crash();
    // It died in the middle of a line.
    let mut text = std::fs::read(&file).expect("the file");
    text.extend(br#"{"queued":{"id":"msg_half","lane":"o"#);
    std::fs::write(&file, text).expect("the file");
    receiver.up().await;
    let mut sender = Sender::to(&receiver, Some(directory.path()), |_| {});
    assert_eq!(sender.metric("castaway_state_file_errors_total "), 1);
    sender.number = 10;
    sender.tell("one");
    is_complete(&taken(&mut receiver, &clock, 11).await, 11);
}

#[tokio::test]
async fn queue_is_bounded_on_disk_too() {
    let clock = Clock::stopped();
    let directory = tempfile::tempdir().expect("a directory");
    let mut receiver = Receiver::down().await;
    let few = |config: &mut Config| config.queue_messages = 20;
    let mut sender = Sender::to(&receiver, Some(directory.path()), few);
    for number in 0..3_000 {
        sender.tell(&format!("livestream-{}", number % 7));
    }
    clock.pass(Duration::from_secs(2)).await;
    let dropped = "castaway_webhooks_dropped_total{reason=\"queue_full\"}";
    assert_eq!((sender.waiting(), sender.metric(dropped)), (20, 2_980));
    receiver.up().await;
    is_complete(&taken(&mut receiver, &clock, 20).await, 20);
    for _ in 0..60 {
        for _ in 0..15 {
            sender.tell("one");
        }
        taken(&mut receiver, &clock, 15).await;
    }
    let size = std::fs::metadata(directory.path().join("webhooks"))
        .expect("the file")
        .len();
    assert!(size < 400 << 10, "{size} bytes about the past");
}

#[tokio::test]
async fn both_secrets_sign_after_a_reload() {
    let clock = Clock::stopped();
    let mut receiver = Receiver::start().await;
    let mut sender = Sender::to(&receiver, None, |_| {});
    sender.tell("one");
    assert_eq!(receiver.next().await.signatures, 1);
    let both = format!("whsec_{}\nwhsec_{}", KEYS[0], KEYS[1]);
    sender.webhooks.set_secrets(Some(&both.into()));
    sender.tell("one");
    assert_eq!(receiver.next().await.signatures, 2);
    drop(clock);
}

#[tokio::test]
async fn livestream_left_behind_is_told_as_ended() {
    let clock = Clock::stopped();
    let directory = tempfile::tempdir().expect("a directory");
    let mut receiver = Receiver::start().await;
    let came = |livestream: &str| {
        Arc::new(Event::StreamerCame {
            livestream: LivestreamId::new(livestream).expect("an id"),
            user: UserId::new("ada"),
            epoch: Epoch(1),
            arrival: Arrival::Started,
        })
    };
    let sender = Sender::to(&receiver, Some(directory.path()), |_| {});
    for livestream in ["goes-on", "lost"] {
        sender.events.send(came(livestream)).expect("it takes them");
    }
    taken(&mut receiver, &clock, 2).await;
    sender.stop().await;
    let sender = Sender::to(&receiver, Some(directory.path()), |_| {});
    sender
        .webhooks
        .close_left_behind(|known| known.as_str() == "goes-on");
    let ended = receiver.next().await.body;
    assert_eq!(
        (&ended["type"], &ended["data"]["reason"]),
        (&"livestream.ended".into(), &"stopped".into())
    );
    assert_eq!(ended["data"]["livestream"], "lost");
    sender.stop().await;
    let sender = Sender::to(&receiver, Some(directory.path()), |_| {});
    sender
        .webhooks
        .close_left_behind(|known| known.as_str() == "goes-on");
    clock.pass(Duration::from_secs(1)).await;
    assert!(receiver.got.try_recv().is_err(), "it is told once");
}
