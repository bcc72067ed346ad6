//! Every metric and key that a hand-written page mentions exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::config::sections;
use super::metrics::scraped;

const PAGES: [&str; 8] = [
    "README.md",
    "docs/api.md",
    "docs/architecture.md",
    "docs/client-protocol.md",
    "docs/clustering.md",
    "docs/operations.md",
    "docs/performance.md",
    "docs/players.md",
];

/// A page without its blocks of code.
fn read(page: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{page}: {error}"));
    text.split("\n```").step_by(2).collect()
}

/// The words of a text, of letters, digits, `_`, `.` and `-`.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let inside = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
    text.split(move |letter| !inside(letter))
        .map(|word| word.trim_matches('.'))
        .filter(|word| !word.is_empty() && !word.ends_with('_'))
}

/// Adds the new name of what the changelog renames and is known by its old one.
fn add_renamed(known: &mut BTreeSet<String>) {
    for row in read("CHANGELOG.md").lines() {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        if let [_, "key" | "metric", old, new, _] = cells[..] {
            for (old, new) in words(old).zip(words(new)) {
                if known.contains(old) {
                    known.insert(new.to_owned());
                }
            }
        }
    }
}

/// The name of a histogram, of one of its series.
fn histogram(series: &str) -> &str {
    let parts = ["_bucket", "_sum", "_count"];
    let name = parts.iter().find_map(|part| series.strip_suffix(part));
    name.unwrap_or(series)
}

fn all_exist(mut known: BTreeSet<String>, is_name: impl Fn(&str) -> bool) {
    add_renamed(&mut known);
    let mut count = 0;
    for page in PAGES {
        for name in words(&read(page)).filter(|word| is_name(word)) {
            assert!(
                known.contains(name) || known.contains(histogram(name)),
                "{page}: there is no {name}"
            );
            count += 1;
        }
    }
    assert!(count > 20, "the pages are written in another way");
}

#[tokio::test]
async fn metrics_in_the_pages_exist() {
    all_exist(scraped().await.into_keys().collect(), |word| {
        let metric = word.starts_with("castaway_") || word.starts_with("process_");
        metric && !word.contains('.')
    });
}

#[test]
fn keys_in_the_pages_exist() {
    let sections = sections();
    let keys = sections.iter().flat_map(|section| {
        let name = |key: &super::config::Key| format!("{}.{}", section.name, key.name);
        section.keys.iter().map(name)
    });
    all_exist(keys.collect(), |word| {
        // Not the names of files: `api.md`, `api.sock`.
        let is_file = [".md", ".sock"].iter().any(|end| word.ends_with(end));
        let section = word.split_once('.').map(|(section, _)| section);
        let is_key = |known: &super::config::Section| Some(known.name.as_str()) == section;
        !is_file && sections.iter().any(is_key)
    });
}
