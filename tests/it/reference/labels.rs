//! The values of labels: those that exist from the start are those that the code counts.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use syn::visit::Visit;

use super::metrics::scraped;

/// A label whose values an enum names.
struct Label {
    metric: &'static str,
    name: &'static str,
    /// The file, the type and the function that names its variants.
    named_by: (&'static str, &'static str, &'static str),
    /// Values that are not of the enum.
    also: &'static [&'static str],
    /// Variants that are never counted.
    never: &'static [&'static str],
}

const LABELS: [Label; 10] = [
    Label {
        metric: "castaway_connections_closed_total",
        name: "reason",
        named_by: ("transport/timeouts.rs", "Overdue", "as_str"),
        also: &["kernel_timeout", "large_headers", "unreachable"],
        never: &[],
    },
    Label {
        metric: "castaway_connections_refused_total",
        name: "reason",
        named_by: ("transport/shared.rs", "TooMany", "as_str"),
        also: &[],
        // One connection holds many sessions.
        never: &["connection"],
    },
    Label {
        metric: "castaway_sessions_refused_total",
        name: "reason",
        named_by: ("transport/shared.rs", "TooMany", "as_str"),
        also: &[],
        never: &[],
    },
    Label {
        metric: "castaway_admissions_total",
        name: "role",
        named_by: ("broadcast/names.rs", "Role", "as_str"),
        also: &[],
        never: &[],
    },
    Label {
        metric: "castaway_refusals_total",
        name: "reason",
        named_by: ("socket/wire.rs", "Refusal", "reason"),
        also: &[],
        never: &[],
    },
    Label {
        metric: "castaway_player_requests_refused_total",
        name: "reason",
        named_by: ("http/players/refusal.rs", "Refusal", "status_and_label"),
        also: &[],
        never: &[],
    },
    Label {
        metric: "castaway_player_clips_total",
        name: "outcome",
        named_by: ("media/mod.rs", "Unplayable", "as_str"),
        also: &["dropped", "remuxed"],
        never: &[],
    },
    Label {
        metric: "castaway_livestreams",
        name: "state",
        named_by: ("broadcast/state.rs", "State", "as_str"),
        also: &[],
        // The relay forgets it.
        never: &["ended"],
    },
    Label {
        metric: "castaway_google_requests_total",
        name: "dependency",
        named_by: ("google/client.rs", "Dependency", "as_str"),
        also: &[],
        never: &[],
    },
    Label {
        metric: "castaway_google_requests_total",
        name: "outcome",
        named_by: ("google/failure.rs", "Failure", "outcome"),
        also: &["ok"],
        never: &[],
    },
];

/// The texts in one function of a type.
struct Texts<'a> {
    type_name: &'a str,
    function: &'a str,
    found: BTreeSet<String>,
}

impl Visit<'_> for Texts<'_> {
    fn visit_item_impl(&mut self, item: &syn::ItemImpl) {
        let is_it = match &*item.self_ty {
            syn::Type::Path(path) => path.path.is_ident(self.type_name),
            _ => false,
        };
        for inner in &item.items {
            if let syn::ImplItem::Fn(function) = inner
                && is_it
                && function.sig.ident == self.function
            {
                self.visit_block(&function.block);
            }
        }
    }

    fn visit_lit_str(&mut self, text: &syn::LitStr) {
        self.found.insert(text.value());
    }
}

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn named_by((file, type_name, function): (&str, &str, &str)) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join(file)).expect(file);
    let mut texts = Texts {
        type_name,
        function,
        found: BTreeSet::new(),
    };
    let parsed = syn::parse_file(&text).expect("Rust");
    for item in parsed.items {
        if let syn::Item::Impl(item) = item {
            texts.visit_item_impl(&item);
        }
    }
    assert!(
        !texts.found.is_empty(),
        "{file} has no {type_name}::{function}"
    );
    texts.found
}

#[tokio::test]
async fn labels_have_exactly_the_values_of_their_enums() {
    let scraped = scraped().await;
    for label in LABELS {
        let mut expected = named_by(label.named_by);
        expected.extend(label.also.iter().map(|&value| value.to_owned()));
        expected.retain(|value| !label.never.contains(&value.as_str()));
        let values = scraped[label.metric].labels.get(label.name);
        assert_eq!(values, Some(&expected), "{}", label.metric);
    }
}

#[test]
fn every_preset_label_value_is_counted_somewhere() {
    fn read(directory: &Path, code: &mut String) {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                read(&path, code);
            } else if path.extension().is_some_and(|ending| ending == "rs")
                && !path.ends_with("metrics/presets.rs")
            {
                code.push_str(&fs::read_to_string(path).expect("text"));
            }
        }
    }
    let mut code = String::new();
    read(&root(), &mut code);
    let presets = fs::read_to_string(root().join("metrics/presets.rs")).expect("the presets");
    let values: Vec<&str> = presets.split('"').skip(1).step_by(2).collect();
    assert!(values.len() > 40, "the presets look other than they did");
    let idle: Vec<&&str> = values
        .iter()
        .filter(|value| !code.contains(&format!("\"{value}\"")))
        .collect();
    assert!(idle.is_empty(), "never counted: {idle:?}");
}
