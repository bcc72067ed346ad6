use std::time::Duration;

use secrecy::ExposeSecret;

use super::*;

fn environment(pairs: &[(&str, &str)]) -> Sources {
    Sources {
        environment: pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        ..Sources::default()
    }
}

fn file(text: &str) -> (tempfile::TempDir, Sources) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.toml");
    fs::write(&path, text).unwrap();
    (
        directory,
        Sources {
            file: Some(path),
            ..Sources::default()
        },
    )
}

fn error(sources: &Sources) -> String {
    Config::load(sources).unwrap_err().to_string()
}

#[test]
fn empty_sources_give_the_defaults() {
    let config = Config::load(&Sources::default()).unwrap();
    assert_eq!(config.server.listen.to_string(), "0.0.0.0:3000");
    assert_eq!(config.server.ping_interval, Duration::from_secs(25));
    assert_eq!(config.upload.max_clip_bytes, 2_097_152);
}

#[test]
fn later_source_overrides_an_earlier_one() {
    let (directory, mut sources) = file(
        "[google]\nproject_id = \"file\"\nclient_email = \"file\"\n[livestream]\ngrace = \"1s\"",
    );
    sources.environment = environment(&[
        ("CASTAWAY_GOOGLE__PROJECT_ID", "env"),
        ("CLIENT_EMAIL", "env"),
    ])
    .environment;
    fs::write(
        directory.path().join("castaway.google.project_id"),
        "credential\n",
    )
    .unwrap();
    fs::write(directory.path().join("unrelated"), "x").unwrap();
    sources.credentials = Some(directory.path().to_owned());
    let config = Config::load(&sources).unwrap();
    assert_eq!(config.google.project_id.as_deref(), Some("credential"));
    assert_eq!(config.google.client_email.as_deref(), Some("env"));
    assert_eq!(config.livestream.grace, Duration::from_secs(1));
}

#[test]
fn project_id_of_digits_stays_a_string() {
    for id in ["0123", "1e5", "true", "42", "[x]"] {
        let config = Config::load(&environment(&[("PROJECT_ID", id)])).unwrap();
        assert_eq!(config.google.project_id.as_deref(), Some(id));
    }
}

#[test]
fn environment_sets_values_of_every_type() {
    let config = Config::load(&environment(&[
        ("CASTAWAY_UPLOAD__MAX_CLIP_BYTES", "1000"),
        ("CASTAWAY_HTTP__PAGES", "true"),
        (
            "CASTAWAY_SERVER__TRUSTED_PROXIES",
            "10.0.0.0/8, 127.0.0.1/32",
        ),
        ("CASTAWAY_SERVER__CORS_ORIGINS", "[\"https://a.example\"]"),
        ("CASTAWAY_SERVER__PING_INTERVAL", "1s"),
        ("CASTAWAY_SERVER__LISTEN", "127.0.0.1:0"),
        ("CASTAWAY_IDENTITY__LOOKUP", "everyone"),
    ]))
    .unwrap();
    assert_eq!(config.upload.max_clip_bytes, 1000);
    assert!(config.http.pages);
    assert_eq!(config.server.trusted_proxies.len(), 2);
    assert_eq!(config.server.cors_origins, ["https://a.example"]);
    assert_eq!(config.server.ping_interval, Duration::from_secs(1));
}

#[test]
fn empty_variable_counts_as_unset() {
    assert!(
        Config::load(&environment(&[
            ("CASTAWAY_SERVER__LISTEN", ""),
            ("PRIVATE_KEY", "")
        ]))
        .is_ok()
    );
}

#[test]
fn legacy_names_are_read_from_environment_and_credentials() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("PRIVATE_KEY"), "MIIE\\nabc\n").unwrap();
    fs::write(
        directory.path().join("GOOGLE_APPLICATION_CREDENTIALS"),
        "{}",
    )
    .unwrap();
    let mut sources = environment(&[("IDENTITY_SERVER_API_KEY", "key"), ("PRIVATE_KEY", "other")]);
    sources.credentials = Some(directory.path().to_owned());
    let google = Config::load(&sources).unwrap().google;
    assert_eq!(google.api_key.unwrap().expose_secret(), "key");
    assert_eq!(google.private_key.unwrap().expose_secret(), "MIIE\\nabc");
    assert_eq!(google.service_account.unwrap().expose_secret(), "{}");
}

#[test]
fn empty_section_is_refused_unless_it_is_known() {
    let (_directory, sources) = file("[nonsense]\n");
    assert!(error(&sources).contains("nonsense"), "{}", error(&sources));
    let (_directory, sources) = file("[server]\n");
    assert!(Config::load(&sources).is_ok());
}

#[test]
fn unknown_name_is_refused_in_every_source() {
    let (_directory, sources) = file("[server]\nlisten_on = \"x\"");
    assert!(error(&sources).contains("listen_on"), "{}", error(&sources));
    let said = error(&environment(&[("CASTAWAY_SERVER__LISTNE", "x")]));
    assert!(
        said.contains("CASTAWAY_SERVER__LISTNE") && said.contains("server.listen"),
        "{said}"
    );
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("castaway.google.nonsense"), "x").unwrap();
    let sources = Sources {
        credentials: Some(directory.path().to_owned()),
        ..Sources::default()
    };
    assert!(error(&sources).contains("castaway.google.nonsense"));
}

#[test]
fn error_names_key_and_source_but_no_value() {
    for (name, value, key) in [
        ("CASTAWAY_SERVER__LISTEN", "hunter2", "server.listen"),
        (
            "CASTAWAY_UPLOAD__MAX_CLIP_BYTES",
            "hunter2",
            "upload.max_clip_bytes",
        ),
        ("CASTAWAY_LIVESTREAM__GRACE", "hunter2", "livestream.grace"),
        ("CASTAWAY_IDENTITY__LOOKUP", "hunter2", "identity.lookup"),
    ] {
        let said = error(&environment(&[(name, value)]));
        assert!(said.contains(key) && said.contains(name), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    let (_directory, sources) = file("[google]\nprivate_key = 12345678\n");
    assert!(!error(&sources).contains("12345678"), "{}", error(&sources));
    let (_directory, sources) = file("[google]\nprivate_key = hunter2");
    assert!(!error(&sources).contains("hunter2"), "{}", error(&sources));
}

#[test]
fn missing_file_and_bad_value_suggest_a_fix() {
    let sources = Sources {
        file: Some("/does/not/exist.toml".into()),
        ..Sources::default()
    };
    assert!(error(&sources).contains("/does/not/exist.toml"));
    let said = error(&environment(&[("CASTAWAY_UPLOAD__CLIPS_BURST", "0")]));
    assert!(
        said.contains("upload.clips_burst") && said.contains("greater than zero"),
        "{said}"
    );
}

#[test]
fn unusable_cluster_is_refused_without_its_password() {
    for (name, value, key) in [
        (
            "CASTAWAY_CLUSTER__URL",
            "redis://user:hunter2@",
            "cluster.url",
        ),
        ("CASTAWAY_CLUSTER__URL", "hunter2:6379", "cluster.url"),
        (
            "CASTAWAY_CLUSTER__URL",
            "http://:hunter2@redis.example",
            "cluster.url",
        ),
        ("CASTAWAY_CLUSTER__URL", "redis://0.0.0.0", "cluster.url"),
        ("CASTAWAY_CLUSTER__URL", "redis://h/hunter2", "cluster.url"),
        ("CASTAWAY_CLUSTER__PREFIX", "a{b}", "cluster.prefix"),
        ("CASTAWAY_CLUSTER__LEASE", "2s", "cluster.lease"),
        ("CASTAWAY_CLUSTER__TIMEOUT", "3s", "cluster.timeout"),
        (
            "CASTAWAY_CLUSTER__QUEUE_BYTES",
            "1000",
            "cluster.queue_bytes",
        ),
    ] {
        let said = error(&environment(&[(name, value)]));
        assert!(said.contains(key), "{value}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    for url in [
        "redis://h",
        "rediss://u:p%40ss@h:6380/1",
        "redis://:p@[::1]:6379",
    ] {
        let config = Config::load(&environment(&[("CASTAWAY_CLUSTER__URL", url)])).expect(url);
        assert!(!format!("{config:?}").contains(url), "{config:?}");
    }
}

#[test]
fn invalid_log_level_is_refused() {
    for level in ["warning", "inf", "banana", "info,foo=baz", ""] {
        let sources = environment(&[("CASTAWAY_LOG__LEVEL", level)]);
        assert_eq!(
            Config::load(&sources).is_ok(),
            level.is_empty(),
            "{level:?}"
        );
    }
    for level in ["off", "WARN", "info,castaway_media_server::relay=debug"] {
        assert!(
            Config::load(&environment(&[("CASTAWAY_LOG__LEVEL", level)])).is_ok(),
            "{level:?}"
        );
    }
}

#[test]
fn reload_names_the_keys_that_need_a_restart() {
    let running = Config::default();
    let mut changed = running.clone();
    changed.upload.clips_burst = 7;
    changed.upload.max_clip_bytes = 1000;
    changed.log.level = "debug".into();
    changed.livestream.grace = Duration::from_secs(1);
    changed.cluster.url = Some("redis://h".into());
    let keys = changed.changes_that_need_a_restart(&running);
    assert_eq!(
        keys,
        ["cluster.url", "livestream.grace", "upload.max_clip_bytes"]
    );
}

#[test]
fn debug_output_contains_no_secret() {
    let config = Config::load(&environment(&[("PRIVATE_KEY", "hunter2")]));
    assert!(!format!("{:?}", config.unwrap()).contains("hunter2"));
}

#[test]
fn every_unserialised_secret_is_a_known_key() {
    for key in SECRETS {
        let name = env_name(key);
        assert!(
            Config::load(&environment(&[(&name, "redis://x")])).is_ok(),
            "{name}"
        );
    }
}
