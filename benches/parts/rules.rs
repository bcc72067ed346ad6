//! The rules of a livestream, and who may do what.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use castaway_media_server::broadcast::{
    Epoch, History, ListenerId, Livestream, LivestreamId, LivestreamLimits, Role, UserId,
};
use castaway_media_server::config::{Identity as IdentityConfig, Upload};
use castaway_media_server::identity::{Identity, Signer};
use castaway_media_server::limits::UploadQuota;
use criterion::{BatchSize, Criterion};

use crate::clip;

fn started(now: Instant) -> Livestream<()> {
    let bounds = LivestreamLimits {
        grace: Duration::from_secs(30),
        history_clips: 1,
        history_bytes: 8 << 20,
        max_listeners: usize::MAX,
    };
    let mut livestream = Livestream::new(bounds, now);
    livestream
        .start(UserId::new("ada"), Epoch(1))
        .expect("it waits");
    livestream
}

/// A clip is stamped; a listener takes its place among a thousand, and leaves it.
pub(crate) fn livestream(criterion: &mut Criterion) {
    let now = Instant::now();
    let bytes = Bytes::from(vec![7; 80_000]);
    let mut live = started(now);
    criterion.bench_function("livestream: upload", |bench| {
        bench.iter(|| live.upload(Epoch(1), bytes.clone(), now).expect("live"));
    });
    for place in 0..1000 {
        live.join(ListenerId(place), ()).expect("room");
    }
    criterion.bench_function("livestream: join and leave", |bench| {
        bench.iter(|| {
            live.join(ListenerId(1000), ()).expect("room");
            live.leave(black_box(ListenerId(1000)))
        });
    });
}

/// A clip comes in, and an older one goes.
pub(crate) fn history(criterion: &mut Criterion) {
    let mut history = History::new(8, 8 << 20);
    let clip = Arc::new(clip(80_000));
    criterion.bench_function("history: push", |bench| {
        bench.iter(|| history.push(clip.clone()));
    });
}

/// The whole check of a token that is good: its claims, and an RSA signature.
pub(crate) fn token(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let signer = Signer::new("bench").expect("a key pair");
    let identity = Identity::local(&signer, &IdentityConfig::default()).expect("its keys");
    let token = signer.mint(&UserId::new("streamer"), Duration::from_hours(1));
    let livestream = LivestreamId::new("one").expect("an id");
    criterion.bench_function("identity: check", |bench| {
        bench.iter(|| {
            runtime.block_on(async {
                let verified = identity.verify(&token, Role::Streamer, &livestream).await;
                let verified = verified.expect("a good token");
                identity.confirm(verified).await.expect("a good account")
            })
        });
    });
}

/// A thousand streamers take of their quotas in turn.
pub(crate) fn quota(criterion: &mut Criterion) {
    let quota = UploadQuota::new(&Upload::default());
    let streamers: Vec<UserId> = (0..1000)
        .map(|number| UserId::new(&format!("streamer {number}")))
        .collect();
    let mut turn = streamers.iter().cycle();
    criterion.bench_function("limits: take", |bench| {
        bench.iter_batched(
            || turn.next().expect("endless"),
            |streamer| quota.take(streamer, 1000).is_ok(),
            BatchSize::SmallInput,
        );
    });
}
