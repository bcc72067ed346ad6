//! A token that nobody signed is never taken for a signed one, and one that is read names a user.
#![no_main]

use std::time::{Duration, UNIX_EPOCH};

use castaway_media_server::identity::claims::{MAX_TOKEN, Rules, Token};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    for unsigned in [false, true] {
        let rules = Rules::firebase("project", Duration::from_secs(60), unsigned);
        let Ok(token) = Token::read(text, &rules, now) else {
            continue;
        };
        assert!(text.len() <= MAX_TOKEN);
        assert!((1..=128).contains(&token.user.as_str().chars().count()));
        assert_eq!(token.key_id.is_none(), unsigned);
    }
});
