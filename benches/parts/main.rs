//! What the inner parts cost, one by one: `cargo bench --bench parts`, or with a word of a name behind `--`.
//!
//! For the daemon as a whole, against the limit and others: `benches/compare/run`.

mod fan_out;
mod rules;

use std::time::Instant;

use bytes::Bytes;
use castaway_media_server::broadcast::{Clip, Position};
use criterion::{criterion_group, criterion_main};

/// Clips of these lengths, in bytes: one that is copied to stand behind its head, and one that is not.
const LENGTHS: [usize; 2] = [1000, 80_000];

fn clip(length: usize) -> Clip {
    let bytes = Bytes::from(vec![7; length]);
    Clip::new(1, Position::new(1, 1), bytes.into(), Instant::now())
}

criterion_group!(
    parts,
    fan_out::clip_frame,
    fan_out::send_queue,
    fan_out::outbox,
    rules::livestream,
    rules::history,
    rules::token,
    rules::quota,
);
criterion_main!(parts);
