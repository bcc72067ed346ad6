//! The API's page and description: what they say is true.

use serde_json::Value;

use super::{ask, start};
use crate::support::client::{Client, Way, clip};

#[tokio::test]
async fn every_path_of_the_description_is_served() {
    let app = start().await;
    let (status, description) = ask(&app, "GET", "/openapi.json", None).await;
    assert_eq!(status, 200);
    let paths = description["paths"].as_object().expect("paths");
    assert!(paths.len() >= 6, "{paths:?}");
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api.md"));
    let page = page.expect("the page");
    for (path, methods) in paths {
        for method in methods.as_object().expect("methods").keys() {
            let row = format!(
                "| `{} {}`",
                method.to_uppercase(),
                path.trim_start_matches("/api/v1")
            );
            assert!(page.contains(&row), "docs/api.md has no row {row}");
            let path = path.trim_start_matches("/api/v1").replace("{kind}", "user");
            let method = method.to_uppercase();
            let (status, answer) = ask(&app, &method, &path.replace("{id}", "x"), Some("{}")).await;
            let unrouted = answer["detail"]
                .as_str()
                .is_some_and(|it| it.contains("openapi.json"));
            assert!(!unrouted, "{method} {path}: {status}");
        }
    }
}

/// An example of a page.
struct Example {
    method: String,
    path: String,
    body: Option<String>,
    status: u16,
    /// With `"…"` for what varies.
    answer: Option<Value>,
}

fn examples(page: &str) -> Vec<Example> {
    let blocks = page.split("```http\n").skip(1);
    let example = |block: &str| {
        let block = block.split("```").next().expect("its end");
        let (request, answer) = block.split_once("\n\n").expect("an empty line");
        let (first, body) = request.split_once('\n').unwrap_or((request, ""));
        let (method, path) = first.split_once(' ').expect("a method");
        let (status, answer) = answer.split_once('\n').expect("a status");
        let body = (!body.is_empty()).then(|| body.to_owned());
        let answer =
            (!answer.trim().is_empty()).then(|| serde_json::from_str(answer).expect("JSON"));
        let path = path.trim_start_matches("/api/v1");
        Example {
            method: method.into(),
            path: path.into(),
            body,
            status: status.parse().expect("a status"),
            answer,
        }
    };
    blocks.map(example).collect()
}

/// Whether the answer is as the page shows it.
fn is_like(answer: &Value, shown: &Value) -> bool {
    match (answer, shown) {
        (_, Value::String(text)) if text == "…" => true,
        (Value::Object(answer), Value::Object(shown)) => {
            let same = |(key, value): (&String, &Value)| {
                answer.get(key).is_some_and(|found| is_like(found, value))
            };
            answer.len() == shown.len() && shown.iter().all(same)
        }
        (Value::Array(answer), Value::Array(shown)) => {
            let mut pairs = answer.iter().zip(shown);
            answer.len() == shown.len() && pairs.all(|(answer, shown)| is_like(answer, shown))
        }
        _ => answer == shown,
    }
}

#[tokio::test]
async fn examples_of_the_page_are_true() {
    let app = start().await;
    let mut streamer = Client::streamer(&app, Way::WebSocket, "show").await;
    let mut listener = Client::listener(&app, Way::WebSocket, "bob", "show").await;
    streamer.upload(&clip(1, 3_000)).await;
    listener.hears(&clip(1, 3_000)).await;
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api.md"));
    let examples = examples(&page.expect("the page"));
    assert!(examples.len() > 5, "the page is written in another way");
    for example in examples {
        let Example {
            method,
            path,
            body,
            status,
            answer: shown,
        } = example;
        let (found, answer) = ask(&app, &method, &path, body.as_deref()).await;
        assert_eq!(found, status, "{method} {path}: {answer}");
        if let Some(shown) = shown {
            assert!(is_like(&answer, &shown), "{method} {path}: {answer:#}");
        }
    }
}
