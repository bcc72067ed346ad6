//! The section `[http]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Config, Problems};

/// `[http]`: web pages on the client port.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Serve the studio at `/studio` and the listening page at `/listen`. The page `/listen/ID` shows title, description,
    /// artist and cover of that livestream's document to everybody who asks.
    pub pages: bool,
    /// How long the listening page and players' titles show a livestream's document as it was read. Also the time in
    /// which a document is read once.
    #[serde(with = "humantime_serde")]
    pub document_ttl: Duration,
    /// How long the listening page, or a stream with a title, waits for a document; then it goes without.
    #[serde(with = "humantime_serde")]
    pub document_timeout: Duration,
    /// The most documents that are remembered for pages and titles.
    pub max_documents: u64,
    /// The most documents that are read for pages and titles in a minute; beyond, they go without.
    pub documents_per_minute: u32,
    /// The most of those that one address causes (an IPv6 /64 network is one); through a trusted proxy, one client.
    pub documents_per_minute_per_address: u32,
    /// Origins of the web pages that may frame the listening page, for example `["https://site.example"]`; `["*"]` is any.
    /// Nobody may frame the studio.
    pub frame_ancestors: Vec<String>,
    /// The Firebase project's public web config, as JSON: people sign in on the pages with e-mail and password. Of it,
    /// `apiKey` is used, and `projectId` is compared with `google.project_id`. Unset: the pages know no accounts.
    /// Example: `'{"apiKey": "AIza…", "projectId": "my-project"}'`.
    pub firebase: Option<String>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            pages: false,
            document_ttl: Duration::from_mins(1),
            document_timeout: Duration::from_secs(1),
            max_documents: 10_000,
            documents_per_minute: 600,
            documents_per_minute_per_address: 60,
            frame_ancestors: Vec::new(),
            firebase: None,
        }
    }
}

impl Config {
    pub(super) fn check_http(&self, problems: &mut Problems) {
        let mut origins = self.http.frame_ancestors.iter();
        problems.push_if(
            !origins.all(|origin| origin != "null" && is_origin(origin)),
            "http.frame_ancestors",
            "must be [\"*\"], or a list of web pages' origins, such as [\"https://site.example\"]: a scheme, a host in \
             small letters, a port unless it is the scheme's own, and no path",
        );
    }
}

/// Whether a browser may send this as `Origin`, or it matches any. Apps have their own schemes
/// (`capacitor://localhost`).
pub(super) fn is_origin(text: &str) -> bool {
    if ["*", "null"].contains(&text) {
        return true;
    }
    let Some((scheme, authority)) = text.split_once("://") else {
        return false;
    };
    let small = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let Ok(parsed) = authority.parse::<::http::uri::Authority>() else {
        return false;
    };
    let own = match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    let host = parsed.host();
    scheme.starts_with(|letter: char| letter.is_ascii_lowercase())
        && scheme.chars().all(|it| small(it) || "+-.".contains(it))
        && !host.is_empty()
        && host.chars().all(|it| small(it) || "-._[:]".contains(it))
        && !authority.contains('@')
        && match authority.strip_prefix(host) {
            Some("") => true,
            Some(_) => parsed.port_u16().is_some_and(|port| Some(port) != own),
            None => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_ancestors_are_origins() {
        let problems = |origin: &str| {
            let mut config = Config::default();
            config.http.frame_ancestors = vec![origin.to_owned()];
            let mut problems = Problems::default();
            config.check_http(&mut problems);
            problems.to_string()
        };
        for good in ["*", "https://site.example", "http://localhost:5173"] {
            assert!(!problems(good).contains("http."), "{good}");
        }
        for bad in [
            "",
            "null",
            "'self'",
            "site.example",
            "https://site.example/",
            "https://a.example; script-src *",
            "https://a.example https://b.example",
        ] {
            assert!(problems(bad).contains("http.frame_ancestors"), "{bad}");
        }
    }
}
