//! Which library may be used where. A library of an upper floor stays out of the lower ones, and the core has none that
//! acts: no runtime, no clock, no log, no chance.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::floor;
use super::source::{File, Name, files};

/// Where a library may be used.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// On this floor and those above it.
    From(u8),
    /// In these rooms, and it is used in each.
    In(&'static [&'static str]),
}
use Place::{From, In};

const LIBRARIES: &[(&str, Place)] = &[
    // Types alone: of bytes, errors, text and addresses.
    ("bytes", From(0)),
    (
        "humantime_serde",
        In(&["config", "ctl", "http", "media", "recording", "webhooks"]),
    ),
    ("ipnet", In(&["config", "http", "socket", "transport"])),
    ("secrecy", From(0)),
    ("serde", From(0)),
    ("thiserror", From(0)),
    ("url", In(&["config", "directory"])),
    // General tools.
    ("base64", From(1)),
    ("futures_util", From(1)),
    ("parking_lot", From(1)),
    ("prometheus", From(0)),
    ("serde_json", From(1)),
    ("tempfile", From(0)),
    ("tokio", From(1)),
    ("tokio_util", From(4)),
    ("tracing", From(0)),
    // One task each.
    (
        "aws_lc_rs",
        In(&["http", "identity", "recording", "socket", "webhooks"]),
    ),
    ("figment", In(&["config"])),
    ("governor", In(&["limits"])),
    ("jsonwebtoken", In(&["google", "identity"])),
    ("moka", In(&["directory", "http"])),
    ("mp4_atom", In(&["media"])),
    ("object_store", In(&["recording"])),
    ("qrcode", In(&["http"])),
    (
        "rand",
        In(&[
            "cluster",
            "demo",
            "directory",
            "http",
            "relay",
            "transport",
            "webhooks",
        ]),
    ),
    ("rcgen", In(&["demo"])),
    ("redis", In(&["cluster"])),
    ("httpdate", In(&["webhooks"])),
    (
        "reqwest",
        In(&["ctl", "google", "http_client", "identity", "webhooks"]),
    ),
    ("rustix", In(&["cluster", "http", "telemetry"])),
    ("socket2", In(&["transport"])),
    ("tokio_rustls", In(&["demo"])),
    // `transport` is the I/O below the web server and the Socket.IO library: it accepts for the one what the other serves.
    ("axum", In(&["app", "demo", "http", "socket", "transport"])),
    ("http", In(&["config", "google", "socket", "transport"])),
    ("http_body_util", In(&["http", "socket"])),
    ("hyper", In(&["socket"])),
    ("hyper_util", In(&["socket"])),
    ("socketioxide", In(&["socket"])),
    ("tower", In(&["http", "socket"])),
    ("tower_http", In(&["http"])),
    ("utoipa", In(&["http"])),
    // The process and its command line.
    ("anyhow", From(4)),
    ("clap", In(&["cli", "ctl"])),
    ("clap_complete", In(&["cli"])),
    ("clap_mangen", In(&[])),
    ("listenfd", In(&["socket_activation"])),
    ("sd_notify", In(&["lifecycle"])),
    // `config` checks `log.level` with the parser that reads it.
    ("tracing_subscriber", In(&["config", "telemetry"])),
];

/// The libraries of the core: types alone.
const OF_THE_CORE: [&str; 2] = ["bytes", "thiserror"];

/// What acts, in the standard library.
const ACTS: [&str; 8] = [
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
    "SystemTime",
    "now",
];

/// The libraries that a file names, apart from its tests.
fn used(file: &File) -> BTreeSet<&'static str> {
    let foreign = |name: &&Name| !name.is_ours && !name.in_test && !file.declares(&name.path[0]);
    let names = file.names.iter().filter(foreign);
    names
        .filter_map(|name| {
            let known = LIBRARIES
                .iter()
                .find(|(library, _)| *library == name.path[0]);
            known.map(|(library, _)| *library)
        })
        .collect()
}

fn may_use(room: &str, library: &str) -> bool {
    let of_the_core = || room != "broadcast" || OF_THE_CORE.contains(&library);
    LIBRARIES
        .iter()
        .filter(|(name, _)| *name == library)
        .all(|(_, place)| match place {
            From(lowest) => floor(room) >= *lowest && of_the_core(),
            In(rooms) => rooms.contains(&room),
        })
}

#[test]
fn libraries_are_used_where_they_belong() {
    let mut wrong = BTreeSet::new();
    let mut found = BTreeSet::new();
    for file in files() {
        for library in used(&file) {
            let pair = (file.room().to_owned(), library);
            if !may_use(file.room(), library) {
                wrong.insert(format!("{} uses {library}", file.path.display()));
            }
            found.insert(pair);
        }
    }
    let listed = LIBRARIES.iter().flat_map(|(library, place)| match place {
        From(_) => Vec::new(),
        In(rooms) => rooms.iter().map(|room| (*room, *library)).collect(),
    });
    for (room, library) in listed {
        if !found.contains(&(room.to_owned(), library)) {
            wrong.insert(format!(
                "{room} no longer uses {library}: take it off the list"
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_dependency_has_its_place() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let manifest = fs::read_to_string(manifest).expect("the manifest");
    let (_, rest) = manifest
        .split_once("\n[dependencies]\n")
        .expect("a section");
    let (section, _) = rest.split_once("\n[").expect("another section");
    let dependencies: BTreeSet<String> = section
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name.replace('-', "_"))
        .collect();
    let listed: BTreeSet<String> = LIBRARIES
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    assert_eq!(listed, dependencies);
    assert_eq!(LIBRARIES.len(), dependencies.len(), "one is listed twice");
}

#[test]
fn core_is_pure() {
    let mut wrong = Vec::new();
    for file in files().iter().filter(|file| file.room() == "broadcast") {
        for name in file.names.iter().filter(|name| !name.in_test) {
            let path = name.path.join("::");
            let acts = |what: &&str| {
                path.starts_with(what) || name.path.iter().any(|segment| segment == what)
            };
            if ACTS.iter().any(acts) {
                wrong.push(format!("{}: {path}", file.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn library_of_an_upper_floor_is_refused_below() {
    for (room, library) in [
        ("broadcast", "tokio"),
        ("broadcast", "tracing"),
        ("broadcast", "rand"),
        ("broadcast", "serde"),
        ("config", "redis"),
        ("relay", "socketioxide"),
        ("transport", "reqwest"),
        ("google", "axum"),
    ] {
        assert!(!may_use(room, library), "{room} must not use {library}");
    }
    assert!(may_use("cluster", "redis") && may_use("broadcast", "bytes"));
}
