//! Words that are no longer used, in names and in prose: a concept has one word, and these were others for it.

use std::fs;
use std::path::{Path, PathBuf};

/// A word or a phrase, and the phrases in which it is right: names of others.
type Retired = (&'static str, &'static [&'static str]);

const RETIRED: &[Retired] = &[
    ("a show", &[]),
    ("the show", &[]),
    ("this show", &[]),
    ("each show", &[]),
    ("every show", &[]),
    ("one show", &[]),
    ("two shows", &[]),
    ("all shows", &[]),
    ("your show", &[]),
    ("mid show", &[]),
    ("live show", &[]),
    ("end show", &[]),
    ("describe show", &[]),
    ("adas show", &[]),
    ("another show", &[]),
    ("no show", &[]),
    ("holder", &[]),
    ("holders", &["copyright holders"]),
    ("keeper", &[]),
    ("keepers", &[]),
    (
        "backlog",
        &["syn backlog", "netdev max backlog", "backlog 16"],
    ),
    ("replay", &[]),
    ("replays", &[]),
    ("replayed", &[]),
    ("bearer", &[]),
    ("seat", &[]),
    ("seats", &[]),
    // The name of serde's trait.
    ("visitor", &["access visitor", "de visitor de"]),
    ("visitors", &[]),
    ("tether", &[]),
    ("tethers", &[]),
    ("pulse", &["pulse audio", "pulse server"]),
    ("pulses", &[]),
    (
        "engine",
        &[
            "engine io",
            "compute engine",
            "base64 engine",
            "engine general",
            // The field of a `socket.io-client`.
            "io engine",
            "engineioxide",
        ],
    ),
    ("engines", &["engines node"]),
    ("patience", &[]),
    ("figures", &[]),
    ("roster", &[]),
    ("rosters", &[]),
    ("provisional", &[]),
    ("whoever", &[]),
    ("anew", &[]),
    ("any more", &[]),
];

/// Where retired words are right for good: they list them, or are no text of ours.
const EXEMPT: &[&str] = &[
    "CHANGELOG.md",
    "src/config/renamed.rs",
    "src/http/pages/lamejs",
    "tests/it/architecture/words.rs",
];

/// The texts: by these endings, or without one.
const TEXTS: &[&str] = &[
    "rs", "lua", "md", "toml", "nix", "py", "js", "mjs", "ts", "html", "css", "service", "socket",
    "conf", "json", "yml",
];

const ROOTS: &[&str] = &[
    ".ci",
    ".github",
    "benches",
    "clients",
    "docs",
    "examples",
    "fuzz/targets",
    "nixos",
    "src",
    "tests",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.toml",
    "README.md",
    "SECURITY.md",
    "flake.nix",
];

fn texts(path: &Path, found: &mut Vec<PathBuf>) {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    if [
        "node_modules",
        "__pycache__",
        ".venv",
        "target",
        "package-lock.json",
    ]
    .contains(&name)
    {
        return;
    }
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a directory") {
            texts(&entry.expect("an entry").path(), found);
        }
    } else if path
        .extension()
        .is_none_or(|ending| TEXTS.iter().any(|text| *text == ending))
    {
        found.push(path.to_owned());
    }
}

/// The words of a line in lower case, with names taken apart: `heldBy`, `held_by` and `held-by` are two words.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for letter in line.chars() {
        let is_hump = before.is_lowercase() && letter.is_uppercase();
        if !letter.is_alphanumeric() || is_hump {
            words.push(String::new());
        }
        if letter.is_alphanumeric() {
            words
                .last_mut()
                .expect("a word")
                .extend(letter.to_lowercase());
        }
        before = letter;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The retired words in a line.
fn retired(line: &str) -> Vec<&'static str> {
    // HTTP's scheme, and OAuth's grant.
    let line = ["\"Bearer", ": Bearer", "jwt-bearer"]
        .iter()
        .fold(line.to_owned(), |line, scheme| line.replace(scheme, " "));
    // With a space on both sides, a phrase is found as whole words only.
    let text = format!(" {} ", words(&line).join(" "));
    let count = |phrase: &str| text.matches(&format!(" {phrase} ")).count();
    let is_wrong =
        |(word, right): &&Retired| count(word) > right.iter().map(|phrase| count(phrase)).sum();
    RETIRED
        .iter()
        .filter(is_wrong)
        .map(|(word, _)| *word)
        .collect()
}

#[test]
fn retired_words_do_not_come_back() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for place in ROOTS {
        texts(&root.join(place), &mut files);
    }
    assert!(files.len() > 200, "the texts are not where they were");
    let mut wrong = Vec::new();
    for file in files {
        let name = file
            .strip_prefix(root)
            .expect("a file below")
            .to_str()
            .expect("a name");
        if EXEMPT.iter().any(|exempt| name.starts_with(exempt)) {
            continue;
        }
        // What is no text has no words.
        let text = fs::read_to_string(&file).unwrap_or_default();
        for (number, line) in text.lines().enumerate() {
            for word in retired(line) {
                wrong.push(format!("{name}:{}: {word}", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn retired_word_is_seen_in_names_and_prose() {
    for (line, expected) in [
        ("fn the_holder(&self)", &["holder"][..]),
        ("struct EnginePulse;", &["pulse", "engine"]),
        ("// It is not there any more.", &["any more"]),
        ("The show goes on.", &["the show"]),
        ("async function endShow() {", &["end show"]),
        ("Engine.IO on Compute Engine, base64::Engine", &[]),
        ("placeholder, impulse, shows a line", &[]),
        ("authorization: Bearer owner, grant-type=jwt-bearer", &[]),
        ("an engine beside Engine.IO", &["engine"]),
    ] {
        assert_eq!(retired(line), expected, "{line}");
    }
}
