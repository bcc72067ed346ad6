//! The Prometheus rules, the Grafana dashboard and Google Cloud's policies, held to the daemon's metrics, to each other and
//! to `docs/operations.md`. Whether the rules fire is tested with promtool: `nixos/monitoring/check`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::metrics::{Family, scraped};

const RULES: &str = "nixos/monitoring/rules.yml";
const DASHBOARD: &str = "nixos/monitoring/dashboard.json";
const POLICIES: &str = "nixos/gce/alerts";
const RUNBOOK: &str = "file:///usr/share/doc/castaway-media-server/operations.md#";

/// An uptime check of Google's, and no query.
const WITHOUT_RULE: &str = "CastawayUnreachable";

/// What no rule needs to name, and why. Every other metric is in a rule: a new one is decided here.
const UNALERTED: [(&str, &[&str]); 5] = [
    (
        "a size: its limit is counted where it refuses",
        &[
            "castaway_bans",
            "castaway_build_info",
            "castaway_cluster_livestreams",
            "castaway_cluster_remote_listeners",
            "castaway_connections",
            "castaway_listeners",
            "castaway_livestreams",
            "castaway_player_listeners",
            "castaway_player_requests_waiting",
            "castaway_recording_waiting",
            "castaway_returns",
            "castaway_sessions",
            "castaway_users",
            "castaway_webhooks_waiting",
            "castaway_webhooks_waiting_bytes",
        ],
    ),
    (
        "normal work",
        &[
            "castaway_admissions_total",
            "castaway_clip_received_bytes_total",
            "castaway_clip_sent_bytes_total",
            "castaway_clips_received_total",
            "castaway_cluster_clips_published_total",
            "castaway_cluster_clips_received_total",
            "castaway_deadline_checks_total",
            "castaway_livestream_events_total",
            "castaway_livestreams_silent",
            "castaway_page_documents_total",
            "castaway_passes_total",
            "castaway_recording_clips_total",
            "castaway_recording_podcasts_total",
            "castaway_recordings_finished_total",
            "castaway_recordings_paused",
            "castaway_player_requests_total",
            "castaway_sockets_sent_away_total",
            "castaway_webhooks_sent_total",
        ],
    ),
    (
        "mended by the daemon itself, without a loss",
        &[
            "castaway_cluster_clips_fetched_total",
            "castaway_cluster_clips_republished_total",
        ],
    ),
    (
        "a client's own fault or network",
        &[
            "castaway_bad_input_total",
            "castaway_connections_closed_total",
            "castaway_gaps_total",
            "castaway_player_clips_missed_total",
            "castaway_player_requests_refused_total",
            "castaway_resumes_total",
            "castaway_uploads_refused_total",
            "castaway_uploads_repeated_total",
        ],
    ),
    (
        "explains another alert: of Google, of Redis, of a bucket, of the webhooks' receiver, of the machine",
        &[
            "castaway_cluster_peer_requests_total",
            "castaway_google_request_duration_seconds",
            "castaway_recording_request_duration_seconds",
            "castaway_recording_requests_total",
            "castaway_redis_command_seconds",
            "castaway_webhooks_failed_total",
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_start_time_seconds",
            "process_threads",
            "process_virtual_memory_bytes",
        ],
    ),
];

fn read(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"))
}

struct Rule {
    alert: String,
    expr: String,
    /// In seconds.
    wait: u64,
    severity: String,
    runbook: String,
}

/// The value behind `key: ` in a line of YAML.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let line = line.trim_start().trim_start_matches("- ");
    line.strip_prefix(key)?.strip_prefix(": ")
}

fn rules() -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for line in read(RULES).lines() {
        if let Some(alert) = value(line, "alert") {
            rules.push(Rule {
                alert: alert.to_owned(),
                expr: String::new(),
                wait: 0,
                severity: String::new(),
                runbook: String::new(),
            });
        }
        let Some(rule) = rules.last_mut() else {
            continue;
        };
        if let Some(expr) = value(line, "expr") {
            expr.clone_into(&mut rule.expr);
        } else if let Some(minutes) = value(line, "for").and_then(|it| it.strip_suffix('m')) {
            rule.wait = 60 * minutes.parse::<u64>().expect("minutes");
        } else if let Some(labels) = value(line, "labels") {
            let severity = labels.trim_matches(['{', '}', ' ']).split_once(": ");
            severity
                .expect("a severity")
                .1
                .clone_into(&mut rule.severity);
        } else if let Some(url) = value(line, "runbook_url") {
            url.clone_into(&mut rule.runbook);
        }
    }
    assert!(rules.len() > 20, "{RULES} is written in another way");
    rules
}

/// Each query of the dashboard, with the title of its panel.
fn dashboard() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).expect("JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let panels = dashboard["panels"].as_array().expect("panels");
    let queries = panels.iter().flat_map(|panel| {
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(|target| (text(&panel["title"]), text(&target["expr"])))
    });
    queries.collect()
}

/// Google Cloud's policies with a query: the name, the query, and the seconds for which it holds.
fn policies() -> Vec<(String, Option<(String, u64)>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(POLICIES);
    let entries = fs::read_dir(directory).expect("the policies");
    let files = entries.map(|entry| entry.expect("an entry").path());
    let policy = |file: PathBuf| {
        let text = fs::read_to_string(&file).expect("text");
        let policy: Value = serde_json::from_str(&text).expect("JSON");
        let query = &policy["conditions"][0]["conditionPrometheusQueryLanguage"];
        let name = file.file_stem().expect("a name").to_string_lossy();
        let query = query["query"].as_str().map(|expr| {
            let wait = query["duration"]
                .as_str()
                .and_then(|it| it.strip_suffix('s'));
            let wait = wait.and_then(|it| it.parse().ok()).expect("seconds");
            (expr.to_owned(), wait)
        });
        (name.into_owned(), query)
    };
    files.map(policy).collect()
}

/// A label, and the values that it may have.
type Matcher = (String, Vec<String>);

/// The daemon's metrics in a query, each with its matchers.
fn named(expr: &str) -> Vec<(String, Vec<Matcher>)> {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut found = Vec::new();
    let mut rest = expr;
    while let Some(start) = rest.find(|letter: char| is_name(letter)) {
        let word = rest[start..].split(|letter| !is_name(letter)).next();
        let word = word.expect("a word");
        rest = &rest[start + word.len()..];
        let mut matchers = Vec::new();
        if let Some(inner) = rest.strip_prefix('{') {
            let (inner, after) = inner.split_once('}').expect("}");
            rest = after;
            for matcher in inner.split("\",") {
                let (label, values) = matcher.split_once('"').expect("a value");
                let label = label.trim_end_matches(['=', '!', '~']).to_owned();
                let values = values.trim_end_matches('"').split('|');
                matchers.push((label, values.map(str::to_owned).collect()));
            }
        } else if let Some(inner) = rest.strip_prefix('[') {
            rest = inner.split_once(']').expect("]").1;
        }
        if word.starts_with("castaway_") || word.starts_with("process_") {
            found.push((word.to_owned(), matchers));
        }
    }
    found
}

/// Fails unless the metrics of the query exist, and their labels' values too.
fn check(place: &str, expr: &str, families: &BTreeMap<String, Family>) -> BTreeSet<String> {
    /// Labels that Prometheus adds.
    const ADDED: [&str; 2] = ["job", "instance"];
    let mut names = BTreeSet::new();
    for (name, matchers) in named(expr) {
        let family = families.get(&name).or_else(|| {
            let name = name.strip_suffix("_bucket")?;
            families.get(name)
        });
        let family = family.unwrap_or_else(|| panic!("{place}: there is no {name}"));
        for (label, values) in matchers {
            if ADDED.contains(&label.as_str()) {
                continue;
            }
            let known = family.values(&label);
            let known = known.unwrap_or_else(|| panic!("{place}: {name} has no label {label}"));
            for value in values {
                assert!(
                    known.contains(&value),
                    "{place}: {name} is never {label}={value:?}"
                );
            }
        }
        names.insert(name.strip_suffix("_bucket").unwrap_or(&name).to_owned());
    }
    names
}

#[tokio::test]
async fn metrics_of_rules_and_dashboard_exist() {
    let families = scraped().await;
    for Rule { alert, expr, .. } in rules() {
        check(&alert, &expr, &families);
    }
    let mut count = 0;
    for (title, expr) in dashboard() {
        count += check(&title, &expr, &families).len();
    }
    assert!(count > 30, "{DASHBOARD} is written in another way");
}

#[tokio::test]
async fn every_metric_has_a_rule_or_needs_none() {
    let families = scraped().await;
    let mut alerted = BTreeSet::new();
    for Rule { alert, expr, .. } in rules() {
        alerted.extend(check(&alert, &expr, &families));
    }
    let unalerted = UNALERTED.iter().flat_map(|(_, names)| *names);
    let unalerted: BTreeSet<String> = unalerted.map(|name| (*name).to_owned()).collect();
    let both: Vec<_> = alerted.intersection(&unalerted).collect();
    assert!(both.is_empty(), "have a rule all the same: {both:?}");
    for name in &unalerted {
        assert!(families.contains_key(name), "there is no {name}");
    }
    for name in families.keys() {
        assert!(
            alerted.contains(name) || unalerted.contains(name),
            "{name} has no rule in {RULES}: add one, or say in {} why it needs none",
            file!()
        );
    }
}

#[test]
fn every_alert_has_a_heading_in_the_runbook() {
    let page = read("docs/operations.md");
    let headings = page.lines().filter_map(|line| line.strip_prefix("### "));
    let headings: BTreeSet<&str> = headings
        .filter(|heading| heading.starts_with("Castaway"))
        .collect();
    let rules = rules();
    for rule in &rules {
        let alert = &rule.alert;
        assert!(headings.contains(alert.as_str()), "{alert} has no heading");
        assert_eq!(rule.runbook, format!("{RUNBOOK}{}", alert.to_lowercase()));
        assert!(
            ["critical", "warning"].contains(&rule.severity.as_str()),
            "{alert} has the severity {:?}",
            rule.severity
        );
    }
    for heading in headings {
        let known = heading == WITHOUT_RULE || rules.iter().any(|rule| rule.alert == heading);
        assert!(known, "docs/operations.md: there is no alert {heading}");
    }
}

#[test]
fn every_alert_has_a_test() {
    let tests = read("nixos/monitoring/rules.test.yml");
    for Rule { alert, .. } in rules() {
        let fires = format!("{{alertname=\"{alert}\"");
        assert!(tests.contains(&fires), "{alert} fires in no test");
    }
}

#[test]
fn policies_of_google_cloud_are_the_rules() {
    let rules = rules();
    let mut count = 0;
    for (name, query) in policies() {
        let rule = rules.iter().find(|rule| rule.alert == name);
        let rule = rule.map(|rule| (rule.expr.clone(), rule.wait));
        assert_eq!(query, rule, "{POLICIES}/{name}.json differs from {RULES}");
        assert!(query.is_some() || name == WITHOUT_RULE);
        count += 1;
    }
    assert!(count > 5, "the policies are not where they were");
}

#[test]
fn queries_are_read_with_their_matchers() {
    let expr = r#"sum by (a) (rate(castaway_x_total{r=~"b|c",job="d"}[5m])) / process_y > scalar(up{e="f"})"#;
    let matcher = |label: &str, values: &[&str]| {
        let values = values.iter().map(|&value| value.to_owned()).collect();
        (label.to_owned(), values)
    };
    let expected = vec![
        (
            "castaway_x_total".to_owned(),
            vec![matcher("r", &["b", "c"]), matcher("job", &["d"])],
        ),
        ("process_y".to_owned(), vec![]),
    ];
    assert_eq!(named(expr), expected);
}
