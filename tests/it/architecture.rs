//! The house's rules, read from the `use` lines: imports point down, rooms of a floor keep to themselves.

use std::fs;
use std::path::{Path, PathBuf};

/// Every room and its floor; a file without a room of its own stands here by its name.
const FLOORS: [(&str, u8); 22] = [
    ("broadcast", 0),
    ("config", 0),
    ("metrics", 0),
    ("transport", 1),
    ("identity", 1),
    ("directory", 1),
    ("google", 1),
    ("limits", 1),
    ("cluster", 1),
    ("relay", 2),
    ("socket", 3),
    ("http", 3),
    ("app", 4),
    ("lifecycle", 4),
    ("preflight", 4),
    ("recheck", 4),
    ("telemetry", 4),
    ("cli", 4),
    ("demo", 4),
    ("handover", 4),
    ("housekeeping", 4),
    ("socket_activation", 4),
];

/// The longest file, in lines.
const LONGEST: usize = 450;

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files_below(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    files_below(&source(), &mut found);
    assert!(found.len() > 50, "the sources are not where they were");
    found
}

fn floor(room: &str) -> u8 {
    let known = FLOORS.iter().find(|(name, _)| *name == room);
    known
        .unwrap_or_else(|| panic!("on which floor is {room}?"))
        .1
}

/// The room that a file belongs to; none for the crate's root and the binaries.
fn room(file: &Path) -> Option<String> {
    let inside = file.strip_prefix(source()).expect("a source file");
    let first = inside.components().next()?.as_os_str().to_str()?;
    let room = first.strip_suffix(".rs").unwrap_or(first);
    (!["lib", "main", "bin"].contains(&room)).then(|| room.to_owned())
}

/// The rooms that `text` names as `crate::room`, in braces too; comments and their links do not count.
fn imports(text: &str) -> Vec<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let name = |text: &str| -> String {
        text.chars()
            .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
            .collect()
    };
    let mut rooms = Vec::new();
    for part in code.split("crate::").skip(1) {
        let Some(list) = part.strip_prefix('{') else {
            rooms.push(name(part));
            continue;
        };
        let (mut depth, mut start) = (0, true);
        for (at, letter) in list.char_indices() {
            match letter {
                '}' if depth == 0 => break,
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => start = true,
                _ if letter.is_whitespace() => {}
                _ => {
                    if std::mem::take(&mut start) {
                        rooms.push(name(&list[at..]));
                    }
                }
            }
        }
    }
    rooms
}

/// Whether a file of `from` may import from `to`.
fn may(from: &str, to: &str) -> bool {
    let shared_client = ["identity", "directory"].contains(&from) && to == "google";
    match floor(from) {
        _ if from == to || shared_client => true,
        // The ground and the roof are each built as one.
        floor_from @ (0 | 4) => floor(to) <= floor_from,
        floor_from => floor(to) < floor_from,
    }
}

#[test]
fn imports_point_down_only() {
    let mut wrong = Vec::new();
    for file in files() {
        let Some(from) = room(&file) else { continue };
        let text = fs::read_to_string(&file).expect("text");
        for to in imports(&text) {
            if !may(&from, &to) {
                wrong.push(format!("{} imports {to}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rooms_have_a_floor_that_the_library_names() {
    let library = fs::read_to_string(source().join("lib.rs")).expect("text");
    let rooms = library
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let mut count = 0;
    for room in rooms {
        floor(room);
        count += 1;
    }
    assert!(count > 10, "lib.rs looks other than it did");
}

#[test]
fn rules_find_what_is_wrong() {
    assert_eq!(
        imports("use crate::{a::{b, c}, d};\nuse crate::e::f; // crate::no\n//! [`crate::g`]")[..3],
        ["a", "d", "e"]
    );
    for (from, to) in [
        ("broadcast", "relay"),
        ("relay", "socket"),
        ("socket", "http"),
        ("http", "socket"),
        ("transport", "google"),
        ("google", "identity"),
        ("socket", "app"),
    ] {
        assert!(!may(from, to), "{from} → {to}");
    }
    for (from, to) in [
        ("app", "socket"),
        ("relay", "transport"),
        ("identity", "google"),
        ("lifecycle", "app"),
        ("socket", "broadcast"),
    ] {
        assert!(may(from, to), "{from} → {to}");
    }
}

#[test]
fn files_are_short_enough_to_read() {
    for file in files() {
        let lines = fs::read_to_string(&file).expect("text").lines().count();
        assert!(lines <= LONGEST, "{} has {lines} lines", file.display());
    }
}
