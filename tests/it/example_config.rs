//! The example of a configuration that the package ships: every key, and its real default.
//!
//! In it a key that has a default stands commented out with that default (`#grace = "30s"`), and a key that has none
//! stands commented out with an example (`#project_id = "…"`, among [`WITHOUT_DEFAULT`]).

use std::cell::RefCell;
use std::collections::BTreeSet;

use castaway_media_server::config::{Config, Sources};
use serde_json::Value;

const EXAMPLE: &str = include_str!("../../nixos/config.example.toml");

/// Keys that are unset by default.
const WITHOUT_DEFAULT: [&str; 19] = [
    "server.max_sessions",
    "server.max_sessions_per_address",
    "server.max_unjoined_sessions_per_address",
    "google.project_id",
    "google.api_key",
    "google.client_email",
    "google.private_key",
    "google.service_account",
    "google.service_account_file",
    "recording.url",
    "recording.endpoint",
    "recording.podcast",
    "cluster.url",
    "cluster.node",
    "passes.key",
    "api.token",
    "webhooks.url",
    "webhooks.secrets",
    "http.firebase",
];

/// The example with its keys switched on: `#key = value` becomes `key = value`, prose stays a comment.
fn switched_on(with: impl Fn(&str) -> bool) -> String {
    let mut section = String::new();
    let mut text = String::new();
    for line in EXAMPLE.lines() {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            name.clone_into(&mut section);
        }
        let key = line
            .strip_prefix('#')
            .and_then(|rest| rest.split_once(" = "))
            .filter(|(key, _)| !key.is_empty() && !key.contains(' '))
            .map(|(key, _)| format!("{section}.{key}"));
        let line = match key {
            Some(key) if with(&key) => &line[1..],
            _ => line,
        };
        text.push_str(line);
        text.push('\n');
    }
    text
}

fn load(text: &str) -> Config {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("config.toml");
    std::fs::write(&file, text).expect("a file");
    let sources = Sources {
        file: Some(file),
        ..Sources::default()
    };
    Config::load(&sources).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn json(config: &Config) -> Value {
    serde_json::to_value(config).expect("JSON")
}

#[test]
fn example_as_shipped_is_the_default() {
    assert_eq!(json(&load(EXAMPLE)), json(&Config::default()));
}

#[test]
fn defaults_in_the_example_are_the_real_ones() {
    let text = switched_on(|key| !WITHOUT_DEFAULT.contains(&key));
    assert_eq!(json(&load(&text)), json(&Config::default()));
}

#[test]
fn example_has_every_key_and_no_other() {
    let named = RefCell::new(BTreeSet::new());
    load(&switched_on(|key| {
        named.borrow_mut().insert(key.to_owned())
    }));
    let mut known: BTreeSet<String> = WITHOUT_DEFAULT.map(str::to_owned).into();
    for (section, keys) in json(&Config::default()).as_object().expect("sections") {
        let keys = keys.as_object().expect("a section").keys();
        known.extend(keys.map(|key| format!("{section}.{key}")));
    }
    assert_eq!(named.into_inner(), known);
}

#[test]
fn every_key_of_the_example_is_explained() {
    let mut explained = false;
    for line in EXAMPLE.lines() {
        let is_key = line.starts_with('#') && !line.starts_with("# ") && line.contains(" = ");
        assert!(!is_key || explained, "{line}");
        explained = line.starts_with("# ") || (is_key && explained);
    }
}
