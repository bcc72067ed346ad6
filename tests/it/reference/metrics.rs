//! `docs/metrics.md`, from what a daemon in a cluster answers at `/metrics` before its first client.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use syn::visit::Visit;

use super::{cell, compare};
use crate::support::app::TestApp;
use castaway_media_server::config::PlayerAccess;

const PAGE: &str = "\
# Metrics

<!-- Generated from the registry; write it again with UPDATE_DOCS=1 cargo test --test it reference -->

`GET /metrics` on the health port (8080) answers in Prometheus's text format. No label value comes from a client, so the
number of series is fixed. Every counter below exists from the start, with every label value listed, so that
`increase()` sees the first event. A histogram `x` has the series `x_bucket`, `x_sum` and `x_count`.

[Operations](operations.md) says which of them to alert on, and what to do then.
";

/// The page's parts, by how a metric's name begins; the longest that fits.
const PARTS: [(&str, &str); 7] = [
    ("castaway_", "Relay"),
    ("castaway_player_", "Players"),
    ("castaway_cluster_", "Cluster"),
    ("castaway_redis_", "Redis"),
    ("castaway_google_", "Google"),
    ("castaway_webhooks_", "Webhooks"),
    ("process_", "Process"),
];

/// Labels whose value changes with every release.
const FREE: [&str; 1] = ["version"];

#[derive(Default)]
pub(super) struct Family {
    help: String,
    kind: String,
    pub(super) labels: BTreeMap<String, BTreeSet<String>>,
}

impl Family {
    /// The values of a label, if the family has it.
    pub(super) fn values(&self, label: &str) -> Option<&BTreeSet<String>> {
        self.labels.get(label)
    }
}

/// The families of a text in Prometheus's format.
fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut latest = String::new();
    for line in text.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "HELP", name, help] => {
                help.clone_into(&mut families.entry(name.to_owned()).or_default().help);
            }
            ["#", "TYPE", name, kind] => {
                kind.clone_into(&mut families.entry(name.to_owned()).or_default().kind);
                name.clone_into(&mut latest);
            }
            _ => {
                let family = families.get_mut(&latest).expect("TYPE comes first");
                let labels = line
                    .split_once('{')
                    .and_then(|(_, rest)| rest.split_once('}'));
                for pair in labels.map_or("", |(labels, _)| labels).split(',') {
                    if let Some((label, value)) = pair.split_once('=')
                        && label != "le"
                    {
                        let values = family.labels.entry(label.to_owned()).or_default();
                        values.insert(value.trim_matches('"').to_owned());
                    }
                }
            }
        }
    }
    families
}

fn page(families: &BTreeMap<String, Family>) -> String {
    let mut parts: BTreeMap<&str, String> = BTreeMap::new();
    for (name, family) in families {
        let fits = |(prefix, _): &&(&str, &str)| name.starts_with(prefix);
        let part = PARTS
            .iter()
            .filter(fits)
            .max_by_key(|(prefix, _)| prefix.len());
        let (prefix, _) = part.unwrap_or_else(|| panic!("in which part is {name}?"));
        let mut labels = Vec::new();
        for (label, values) in &family.labels {
            let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
            labels.push(if FREE.contains(&label.as_str()) {
                format!("`{label}`")
            } else {
                format!("`{label}`: {}", values.join(", "))
            });
        }
        let (kind, labels, help) = (&family.kind, labels.join("<br>"), cell(&family.help));
        let rows = parts.entry(prefix).or_default();
        writeln!(rows, "| `{name}` | {kind} | {labels} | {help} |").expect("memory");
    }
    let mut page = PAGE.to_owned();
    for (prefix, title) in PARTS {
        if let Some(rows) = parts.get(prefix) {
            let head = "| metric | type | labels | meaning |\n|---|---|---|---|";
            write!(page, "\n## {title}\n\n{head}\n{rows}").expect("memory");
        }
    }
    page
}

/// Calls that declare a metric: a name and, next to it, a help text that ends with a full stop.
#[derive(Default)]
struct Declared(BTreeSet<String>);

impl Visit<'_> for Declared {
    fn visit_expr_call(&mut self, call: &syn::ExprCall) {
        let texts: Vec<String> = call
            .args
            .iter()
            .filter_map(|argument| match argument {
                syn::Expr::Lit(literal) => match &literal.lit {
                    syn::Lit::Str(text) => Some(text.value()),
                    _ => None,
                },
                _ => None,
            })
            .collect();
        if let [name, help, ..] = &texts[..]
            && help.ends_with('.')
            && name
                .chars()
                .all(|letter| letter == '_' || letter.is_ascii_lowercase())
        {
            let name = name.strip_prefix("castaway_").unwrap_or(name);
            self.0.insert(format!("castaway_{name}"));
        }
        syn::visit::visit_expr_call(self, call);
    }
}

/// Every metric that a file below `directory` declares.
fn declared(directory: &Path, found: &mut Declared) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            declared(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("text");
            if text.contains("prometheus") {
                found.visit_file(&syn::parse_file(&text).expect("Rust"));
            }
        }
    }
}

/// What a daemon of a cluster answers that players may listen to; its Redis is not there.
pub(super) async fn scraped() -> BTreeMap<String, Family> {
    let app = TestApp::with_config(|config| {
        config.cluster.url = Some("redis://127.0.0.1:1".to_owned().into());
        config.http.pages = true;
        config.players.access = PlayerAccess::Public;
    })
    .await;
    families(&app.metrics())
}

#[tokio::test]
async fn metrics_md_is_what_the_registry_says() {
    compare("docs/metrics.md", &page(&scraped().await));
}

#[tokio::test]
async fn every_metric_has_series_from_the_start() {
    let mut found = Declared::default();
    declared(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut found,
    );
    assert!(found.0.len() > 30, "metrics are declared in another way");
    let scraped = scraped().await;
    let missing: Vec<&String> = found
        .0
        .iter()
        .filter(|name| !scraped.contains_key(*name))
        .collect();
    assert!(
        missing.is_empty(),
        "{missing:?}: list the values of their labels where they are registered (metrics::preset)"
    );
}
