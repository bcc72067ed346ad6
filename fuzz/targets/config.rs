//! A configuration file is read or refused in one line of words, and what is read is valid.
#![no_main]

use std::cell::LazyCell;
use std::path::PathBuf;

use castaway_media_server::config::{Config, Sources};
use libfuzzer_sys::fuzz_target;

thread_local! {
    static FILE: LazyCell<PathBuf> = const {
        LazyCell::new(|| std::env::temp_dir().join(format!("castaway-fuzz-{}.toml", std::process::id())))
    };
}

fuzz_target!(|text: &str| {
    FILE.with(|file| {
        std::fs::write(&**file, text).expect("a file");
        let sources = Sources {
            file: Some((**file).clone()),
            ..Sources::default()
        };
        match Config::load(&sources) {
            Ok(config) => config.validate().expect("what is loaded is valid"),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    });
});
