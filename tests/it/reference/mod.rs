//! The reference pages that are generated: `docs/configuration.md`, `docs/metrics.md` and `nixos/config.example.toml`; and
//! what names their keys and metrics.
//!
//! **Invariant**: one source describes a key (its doc comment in `src/config`) or a metric (its help text).

mod alerts;
mod config;
mod labels;
mod mentions;
mod metrics;
mod rights;
mod source;

use std::path::Path;

/// Set it to write the pages instead of comparing them.
const UPDATE: &str = "UPDATE_DOCS";

/// Fails when the file at `path`, below the repository's root, is not `expected`; or writes it, if [`UPDATE`] is set.
fn compare(path: &str, expected: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&file, expected).expect("the page can be written");
        return;
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    let differs = found
        .lines()
        .zip(expected.lines())
        .position(|(found, expected)| found != expected)
        .unwrap_or_else(|| found.lines().count().min(expected.lines().count()));
    assert!(
        found == expected,
        "{path} is out of date from line {} on; write it again with {UPDATE}=1 cargo test --test it reference\n\
         found:    {}\nexpected: {}",
        differs + 1,
        found.lines().nth(differs).unwrap_or("(end)"),
        expected.lines().nth(differs).unwrap_or("(end)"),
    );
}

/// A text as a cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
