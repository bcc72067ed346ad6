//! `docs/configuration.md` and `nixos/config.example.toml`, from the structs of `src/config`.

use std::fmt::Write as _;

use castaway_media_server::config::Config;
use serde_json::Value;

use super::source::Source;
use super::{cell, compare};

const PAGE: &str = "\
# Configuration

<!-- Generated from src/config; write it again with UPDATE_DOCS=1 cargo test --test it reference -->

Values come from four places; a later place wins:

1. the defaults below,
2. the TOML file: `--config`, `CASTAWAY_CONFIG`, or `/etc/castaway-media-server/config.toml` if it exists,
3. the environment: `CASTAWAY_SECTION__KEY`, so `CASTAWAY_LIVESTREAM__GRACE=60s`, and the legacy names below,
4. systemd credentials: `castaway.section.key`, so `castaway.google.api_key`.

An unknown key is an error. Durations are written `250ms`, `10s`, `2m`; sizes are whole numbers of bytes; lists in the
environment are written `[\"a\", \"b\"]` or `a,b`. `castaway-media-server check-config` reports what is wrong.

Secrets belong in credentials, never in the file. `systemctl reload` (SIGHUP) reads the credentials and the keys marked
*reload* again; any other change needs a restart, and the log names the keys that wait for one.

`FIRESTORE_EMULATOR_HOST`, `FIREBASE_AUTH_EMULATOR_HOST` and `GCE_METADATA_HOST` work as in Google's SDKs.
";

const EXAMPLE: &str = "\
# /etc/castaway-media-server/config.toml
#
# Every key is optional. A key behind a # shows its default, or an example if it has none.
# The same keys are read from the environment (CASTAWAY_LIVESTREAM__GRACE=60s) and, for secrets, from systemd
# credentials (castaway.google.private_key); the later wins. Durations are written \"250ms\", \"10s\", \"2m\".
#
# Generated from src/config: see CONTRIBUTING.md.
";

pub(super) struct Section {
    pub(super) name: String,
    doc: String,
    pub(super) keys: Vec<Key>,
}

pub(super) struct Key {
    pub(super) name: String,
    kind: Kind,
    meaning: String,
    /// As it is written in TOML.
    default: Option<String>,
    /// For a key without a default: a value as it is written in TOML.
    example: Option<String>,
    reloads: bool,
}

enum Kind {
    Plain(&'static str),
    Secret,
    /// The words that it may be, each with its meaning.
    Word(Vec<(String, String)>),
}

impl Kind {
    fn of(source: &Source, key: &str, type_name: &str) -> Self {
        if let Some(variants) = source.variants(type_name) {
            return Self::Word(variants);
        }
        Self::Plain(match type_name {
            "SecretString" => return Self::Secret,
            "bool" => "true or false",
            "Duration" => "duration",
            "IpNet" => "network",
            "PathBuf" => "path",
            "SocketAddr" => "address",
            "String" => "text",
            "Vec<IpNet>" => "networks",
            "Vec<String>" => "list",
            "u32" | "u64" | "usize" if key.contains("bytes") => "bytes",
            "u32" | "u64" | "usize" => "number",
            other => panic!("{key}: say in {} how the type {other} is called", file!()),
        })
    }

    fn name(&self) -> &str {
        match self {
            Self::Plain(name) => name,
            Self::Secret => "secret",
            Self::Word(_) => "word",
        }
    }
}

pub(super) fn sections() -> Vec<Section> {
    let source = Source::read();
    let defaults = serde_json::to_value(Config::default()).expect("JSON");
    let reloaded = source.list("RELOADED");
    let section = |section: super::source::Field| {
        let key = |key: super::source::Field| {
            let full = format!("{}.{}", section.name, key.name);
            let kind = Kind::of(&source, &full, &key.type_name);
            let (meaning, example) = split_example(&key.doc);
            assert!(!meaning.is_empty(), "{full} has no doc comment");
            let default = toml(&defaults[&section.name][&key.name]);
            assert!(
                default.is_some() || example.is_some(),
                "{full} has no default: its doc comment must end with: Example: `\"…\"`."
            );
            Key {
                name: key.name,
                kind,
                meaning,
                default,
                example,
                reloads: reloaded.contains(&full),
            }
        };
        let doc = source.doc(&section.type_name);
        let (_, doc) = doc.split_once("]`: ").expect("`[section]`: what it is");
        Section {
            doc: capitalised(doc),
            keys: source
                .fields(&section.type_name)
                .into_iter()
                .map(key)
                .collect(),
            name: section.name.clone(),
        }
    };
    source.fields("Config").into_iter().map(section).collect()
}

/// The meaning, and the example that may stand at a doc comment's end.
fn split_example(doc: &str) -> (String, Option<String>) {
    match doc.split_once(" Example: `") {
        Some((meaning, example)) => {
            let example = example.strip_suffix("`.").expect("Example: `…`.");
            (meaning.to_owned(), Some(example.to_owned()))
        }
        None => (doc.to_owned(), None),
    }
}

fn toml(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Array(items) => {
            let items: Vec<String> = items.iter().filter_map(toml).collect();
            Some(format!("[{}]", items.join(", ")))
        }
        other => Some(other.to_string()),
    }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(char::to_uppercase);
    first.into_iter().flatten().chain(letters).collect()
}

fn page(sections: &[Section]) -> String {
    let mut page = PAGE.to_owned();
    for Section { name, doc, keys } in sections {
        write!(page, "\n## `[{name}]`\n\n{doc}\n\n").expect("memory");
        page.push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
        for key in keys {
            let default = key.default.as_ref();
            let default = default.map_or_else(|| "unset".to_owned(), |text| format!("`{text}`"));
            let mut meaning = key.meaning.clone();
            if let Kind::Word(words) = &key.kind {
                for (word, doc) in words {
                    write!(meaning, "<br>`{word}`: {doc}").expect("memory");
                }
            }
            if let (Kind::Plain(_), Some(example)) = (&key.kind, &key.example) {
                write!(meaning, " Example: `{example}`.").expect("memory");
            }
            if key.reloads {
                meaning.push_str(" *Reload.*");
            }
            let (kind, meaning) = (key.kind.name(), cell(&meaning));
            let name = &key.name;
            writeln!(page, "| `{name}` | {kind} | {default} | {meaning} |").expect("memory");
        }
    }
    page
}

fn example(sections: &[Section]) -> String {
    let mut text = EXAMPLE.to_owned();
    for Section { name, keys, .. } in sections {
        write!(text, "\n[{name}]\n").expect("memory");
        for key in keys {
            let mut meaning = key.meaning.replace('`', "");
            match &key.kind {
                Kind::Plain(_) => {}
                Kind::Secret => meaning.push_str(" A secret: better a credential."),
                Kind::Word(words) => {
                    for (word, doc) in words {
                        write!(meaning, " \"{word}\": {}", doc.replace('`', "")).expect("memory");
                    }
                }
            }
            for line in wrapped(&meaning, 118) {
                writeln!(text, "# {line}").expect("memory");
            }
            let value = key.default.as_ref().or(key.example.as_ref());
            writeln!(text, "#{} = {}", key.name, value.expect("checked")).expect("memory");
        }
    }
    text
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("one at least");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[test]
fn configuration_md_is_what_the_types_say() {
    compare("docs/configuration.md", &page(&sections()));
}

#[test]
fn config_example_is_what_the_types_say() {
    compare("nixos/config.example.toml", &example(&sections()));
}
