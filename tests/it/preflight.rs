//! What `check-config` and `serve` refuse alike, before any network is asked.

use std::collections::BTreeMap;

use castaway_media_server::config::{Problems, Sources};
use castaway_media_server::google::{Emulators, GoogleError};
use castaway_media_server::preflight::Preflight;

use crate::support::google::tokens;

fn preflight(said: &[(&str, &str)]) -> Result<Preflight, GoogleError> {
    let environment: BTreeMap<String, String> = said
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let emulators = Emulators::from_environment(&environment);
    let sources = Sources {
        environment,
        ..Sources::default()
    };
    Preflight::load(&sources, emulators)
}

fn problems(said: &[(&str, &str)]) -> Problems {
    match preflight(said) {
        Err(GoogleError::Config(problems)) => problems,
        Err(error) => panic!("{said:?}: {error}"),
        Ok(_) => panic!("{said:?} is taken"),
    }
}

const EMAIL: (&str, &str) = ("CLIENT_EMAIL", "a@b.example");

#[test]
fn wrong_value_is_refused() {
    let pem = &tokens::pairs()[0].pem;
    let cut = &pem[..pem.len() / 2];
    for (said, part) in [
        (&[EMAIL, ("PRIVATE_KEY", cut)][..], "google.private_key"),
        (
            &[EMAIL, ("PRIVATE_KEY", "MIIEvQIBADAN")],
            "google.private_key",
        ),
        (
            &[("CASTAWAY_GOOGLE__SERVICE_ACCOUNT", "{}")],
            "google.service_account",
        ),
        (
            &[("GOOGLE_APPLICATION_CREDENTIALS", "/")],
            "google.service_account_file",
        ),
        (&[("PROJECT_ID", "my project")], "google.project_id"),
        (
            &[("IDENTITY_SERVER_API_KEY", "a key\nof two lines")],
            "google.api_key",
        ),
        (
            &[("CASTAWAY_SERVER__CORS_ORIGINS", "example.com")],
            "server.cors_origins",
        ),
        (
            &[("FIRESTORE_EMULATOR_HOST", "no host")],
            "FIRESTORE_EMULATOR_HOST",
        ),
        (
            &[("CASTAWAY_GOOGLE__CACHE_TTL", "2000y")],
            "google.cache_ttl",
        ),
        (
            &[("CASTAWAY_LIVESTREAM__GRACE", "500000000000y")],
            "livestream.grace",
        ),
        (
            &[("CASTAWAY_SERVER__TCP_USER_TIMEOUT", "10h")],
            "server.tcp_user_timeout",
        ),
        (
            &[("CASTAWAY_UPLOAD__CLIPS_BURST", "129")],
            "listener.queue_clips",
        ),
        (
            &[("CASTAWAY_IDENTITY__RETURN_WINDOW", "29s")],
            "identity.return_window",
        ),
    ] {
        let problems = problems(said);
        assert!(problems.to_string().contains(part), "{part}: {problems}");
        assert!(!problems.is_only_absent(), "{problems}");
    }
}

#[test]
fn absent_value_is_named_apart() {
    for (said, part) in [
        (&[EMAIL][..], "google.private_key is not set"),
        (
            &[("PRIVATE_KEY", &*tokens::pairs()[0].pem)],
            "google.client_email is not set",
        ),
        (
            &[("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")],
            "/nowhere/key.json",
        ),
        (
            &[("CASTAWAY_IDENTITY__LOOKUP", "everyone")],
            "google.api_key is not set",
        ),
    ] {
        let problems = problems(said);
        assert!(problems.to_string().contains(part), "{part}: {problems}");
        assert!(problems.is_only_absent(), "{problems}");
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let said = problems(&[
        EMAIL,
        ("CASTAWAY_LIVESTREAM__GRACE", "soon"),
        ("CASTAWAY_LISTENER__QUEUE_CLIPS", "-3"),
        ("CASTAWAY_SERVER__LISTNE", "x"),
        ("CASTAWAY_SERVER__TCP_USER_TIMEOUT", "60d"),
        ("CASTAWAY_GOOGLE__REQUEST_TIMEOUT", "5s"),
    ])
    .to_string();
    for part in [
        "6 problems",
        "google.private_key is not set",
        "livestream.grace (from CASTAWAY_LIVESTREAM__GRACE in the environment): must be a duration, such as \"30s\"",
        "listener.queue_clips (from CASTAWAY_LISTENER__QUEUE_CLIPS in the environment): must be a whole number",
        "CASTAWAY_SERVER__LISTNE",
        "server.tcp_user_timeout may be at most \"9h\"",
        "google.request_timeout may be at most \"4s 500ms\"",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
}

#[test]
fn value_that_a_machine_may_know_is_noted() {
    let notes = preflight(&[]).expect("a configuration for a VM").notes();
    let notes = notes.join("\n");
    for part in [
        "google.project_id is not set",
        "service account's key",
        "google.api_key",
    ] {
        assert!(notes.contains(part), "{part} in {notes}");
    }
    let pem = &tokens::pairs()[0].pem;
    let all = [
        EMAIL,
        ("PRIVATE_KEY", pem),
        ("PROJECT_ID", "p"),
        ("IDENTITY_SERVER_API_KEY", "AIza-key"),
    ];
    let notes = preflight(&all).expect("a configuration").notes();
    assert!(
        notes.iter().all(|note| note.contains("certificate")),
        "{notes:?}"
    );
}
