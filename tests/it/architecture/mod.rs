//! The house's rules: imports point down, rooms of a floor keep to themselves, modules form no circles, the core is
//! pure, and a library is used only where it belongs.

mod circles;
mod libraries;
mod source;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

use source::{below, files, root};

/// Every room and its floor; a file without a room of its own stands here by its name.
const FLOORS: [(&str, u8); 30] = [
    ("broadcast", 0),
    ("config", 0),
    ("files", 0),
    ("http_client", 0),
    ("media", 0),
    ("metrics", 0),
    ("unix_time", 0),
    ("transport", 1),
    ("identity", 1),
    ("directory", 1),
    ("google", 1),
    ("limits", 1),
    ("bans", 1),
    ("cluster", 1),
    ("recording", 1),
    ("relay", 2),
    ("socket", 3),
    ("http", 3),
    ("webhooks", 3),
    ("app", 4),
    ("lifecycle", 4),
    ("preflight", 4),
    ("recheck", 4),
    ("telemetry", 4),
    ("cli", 4),
    ("ctl", 4),
    ("demo", 4),
    ("handover", 4),
    ("housekeeping", 4),
    ("socket_activation", 4),
];

/// The longest file, in lines.
const LONGEST: usize = 450;
/// The longest name of a test, in words.
const MOST_WORDS: usize = 8;

fn floor(room: &str) -> u8 {
    let known = FLOORS.iter().find(|(name, _)| *name == room);
    known
        .unwrap_or_else(|| panic!("on which floor is {room}?"))
        .1
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
        for name in file.names.iter().filter(|name| name.is_ours) {
            let (from, to) = (file.room(), &name.path[0]);
            if !may(from, to) {
                wrong.push(format!("{} imports {to}", file.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rooms_have_a_floor_that_the_library_names() {
    let library = fs::read_to_string(root().join("lib.rs")).expect("text");
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
fn modules_with_children_are_mod_files() {
    fn two_styles(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                let beside = path.with_extension("rs");
                found.extend(beside.exists().then_some(beside));
                two_styles(&path, found);
            }
        }
    }
    let mut found = Vec::new();
    for directory in ["src", "tests/it", "benches/parts", "fuzz/targets"] {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
        // A package's source has no fuzz targets.
        if directory.exists() {
            two_styles(&directory, &mut found);
        }
    }
    assert!(found.is_empty(), "not foo/mod.rs: {found:?}");
}

#[test]
fn files_are_short_enough_to_read() {
    for file in files() {
        let lines = file.text.lines().count();
        assert!(
            lines <= LONGEST,
            "{} has {lines} lines",
            file.path.display()
        );
    }
}

/// The functions that ask by their name, and return no `bool`.
fn odd_questions(text: &str) -> Vec<&str> {
    let asks = |name: &str| name.starts_with("is_") || name.starts_with("has_");
    let functions = text.split("fn ").skip(1);
    functions
        .filter_map(|rest| {
            let header = rest.split('{').next()?;
            let name = header.split(['(', '<']).next()?;
            (asks(name) && !header.contains("bool")).then_some(name)
        })
        .collect()
}

#[test]
fn questions_are_answered_by_a_bool() {
    let files = files();
    let code = files
        .iter()
        .filter(|file| file.names.iter().any(|name| !name.in_test));
    let odd: Vec<&str> = code.flat_map(|file| odd_questions(&file.text)).collect();
    assert!(odd.is_empty(), "{odd:?}");
    let text = "fn is_over() {} fn is_new() -> bool {} fn has<T>() {} fn has_room(&self) {}";
    assert_eq!(odd_questions(text), ["is_over", "has_room"]);
}

/// The names of the tests in a file.
fn tests_in(text: &str) -> Vec<&str> {
    let is_mark = |line: &str| line.starts_with("#[test]") || line.starts_with("#[tokio::test");
    let mut lines = text.lines().map(str::trim);
    let mut names = Vec::new();
    while lines.any(is_mark) {
        let header = lines.find_map(|line| Some(line.split_once("fn ")?.1.split_once('(')?.0));
        names.extend(header);
    }
    names
}

#[test]
fn names_of_tests_are_short() {
    let mut paths = Vec::new();
    below(&root(), &mut paths);
    below(&root().with_file_name("tests").join("it"), &mut paths);
    let mut long = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).expect("a source file");
        let mut names = tests_in(&text);
        names.retain(|name| name.split('_').count() > MOST_WORDS);
        long.extend(names.into_iter().map(str::to_owned));
    }
    assert!(long.is_empty(), "more than {MOST_WORDS} words: {long:?}");
    let text = "fn help() {}\n#[test]\nfn one() {}\n#[tokio::test]\nasync fn two() {}";
    assert_eq!(tests_in(text), ["one", "two"]);
}
