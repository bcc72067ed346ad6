//! Whatever is taken for a livestream's id is one sound segment of a path, and is what was given.
#![no_main]

use castaway_media_server::broadcast::LivestreamId;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Some(id) = LivestreamId::new(text) else {
        return;
    };
    assert_eq!(id.as_str(), text);
    assert!((1..=LivestreamId::MAX_BYTES).contains(&text.len()));
    assert!(text != "." && text != ".." && !text.contains('/'));
    assert!(!text.chars().any(char::is_control));
});
