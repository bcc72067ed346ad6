//! The section `[webhooks]`.

use std::net::IpAddr;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::{Config, Problems};

/// `[webhooks]`: messages about livestreams to a server of the operator's.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Webhooks {
    /// Where they are sent: `https`, or `http` to a loopback address. Unset: nothing is sent.
    /// Example: `"https://hooks.example/castaway"`.
    pub url: Option<String>,
    /// The secrets that sign them: one or, during a rotation, two, on a line each: `whsec_` and the Base64 of 24 to 64 random
    /// bytes. Needed with `url`.
    /// Example: `"whsec_MfKQ…"`.
    #[serde(skip_serializing)]
    pub secrets: Option<SecretString>,
    /// How long the receiver may take to answer.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// The most concurrent requests; the messages of one livestream are sent one after the other.
    pub max_requests: usize,
    /// The most messages that wait; beyond, new ones are dropped.
    pub queue_messages: usize,
    /// The most bytes of those.
    pub queue_bytes: usize,
    /// How long a message is tried; then it is dropped.
    #[serde(with = "humantime_serde")]
    pub retry_time: Duration,
    /// Messages about refused streamers in a minute; further refusals are only counted.
    pub refusals_per_minute: u32,
}

impl Default for Webhooks {
    fn default() -> Self {
        Self {
            url: None,
            secrets: None,
            timeout: Duration::from_secs(15),
            max_requests: 4,
            queue_messages: 10_000,
            queue_bytes: 8 << 20,
            retry_time: Duration::from_hours(72),
            refusals_per_minute: 60,
        }
    }
}

impl Config {
    pub(super) fn check_webhooks(&self, problems: &mut Problems) {
        let url = self.webhooks.url.as_deref();
        problems.push_if(
            url.is_some_and(|url| !is_receiver(url)),
            "webhooks.url",
            "must be an https URL without a user, a password and a fragment, such as \"https://hooks.example/castaway\"; \
             http is for loopback addresses alone",
        );
    }
}

fn is_receiver(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else {
        return false;
    };
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => return false,
    };
    let is_bare = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    is_bare && (url.scheme() == "https" || url.scheme() == "http" && is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receiver_is_https_or_on_the_loopback() {
        for good in [
            "https://hooks.example/castaway?a=b",
            "https://10.0.0.7:8443/",
            "http://localhost:8000/hook",
            "http://127.0.0.2/",
            "http://[::1]:80/hook",
        ] {
            assert!(is_receiver(good), "{good}");
        }
        for bad in [
            "",
            "hooks.example",
            "http://hooks.example/",
            "http://169.254.169.254/computeMetadata/v1/",
            "http://localhost.example/",
            "ftp://localhost/",
            "https://user@hooks.example/",
            "https://:word@hooks.example/",
            "https://hooks.example/#part",
        ] {
            assert!(!is_receiver(bad), "{bad}");
        }
    }
}
