//! Sign-in on the studio and the listening page by Firebase's REST API, where `http.firebase` is set.
//!
//! **Invariant**: where it is not set, the pages have no form, and connect to this server alone.

use serde::Deserialize;

use super::template::{escaped, with};
use crate::config::{Config, ConfigError};

/// What is used of a Firebase project's web config.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebApp {
    /// The key that names the project to Google's services; no secret.
    api_key: String,
    /// The project's id.
    project_id: Option<String>,
}

impl WebApp {
    /// Reads `http.firebase`, if it is set.
    pub fn find(config: &Config) -> Result<Option<Self>, ConfigError> {
        let Some(text) = &config.http.firebase else {
            return Ok(None);
        };
        let is_key = |key: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            !key.is_empty() && key.bytes().all(fits)
        };
        let app = serde_json::from_str(text).ok();
        let app = app.filter(|app: &Self| is_key(&app.api_key)).ok_or_else(|| {
            ConfigError::value(
                "http.firebase",
                "must be the project's web config as JSON, with names in quotes and its apiKey: \
                 {\"apiKey\": \"AIza…\", \"projectId\": \"my-project\"}",
            )
        })?;
        let (named, ours) = (&app.project_id, &config.google.project_id);
        if named.is_some() && ours.is_some() && named != ours {
            let problem =
                "is another project's than google.project_id: its ID tokens would be refused";
            return Err(ConfigError::value("http.firebase", problem));
        }
        Ok(Some(app))
    }
}

/// The form, and the line of an account that is signed in. Words in capitals are replaced.
const FORM: &str = include_str!("signin.html");
/// Firebase's services, by the names that its emulator takes for folders.
const ACCOUNTS: &str = "identitytoolkit.googleapis.com";
const TOKENS: &str = "securetoken.googleapis.com";

/// What the pages need for accounts.
#[derive(Debug, Clone)]
pub(super) struct SignIn {
    form: String,
    /// The origins to which pages connect for it.
    pub(super) origins: Vec<String>,
}

impl SignIn {
    /// For the accounts of `app`, at Firebase or at the Auth emulator at `emulator`.
    pub(super) fn new(app: &WebApp, emulator: Option<&str>) -> Self {
        let (bases, origins) = match emulator {
            Some(host) => (
                [ACCOUNTS, TOKENS].map(|service| format!("http://{host}/{service}/v1")),
                vec![format!("http://{host}")],
            ),
            None => (
                [ACCOUNTS, TOKENS].map(|service| format!("https://{service}/v1")),
                [ACCOUNTS, TOKENS]
                    .map(|service| format!("https://{service}"))
                    .to_vec(),
            ),
        };
        let [accounts, tokens] = bases;
        let form = FORM
            .trim_end()
            .replace("\"ACCOUNTS\"", &format!("\"{}\"", escaped(&accounts)))
            .replace("\"TOKENS\"", &format!("\"{}\"", escaped(&tokens)))
            .replace("\"KEY\"", &format!("\"{}\"", escaped(&app.api_key)));
        Self { form, origins }
    }

    /// The page with the form.
    pub(super) fn offered_on(&self, page: &str) -> String {
        with(page, "sign-in", &self.form)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn web_config_is_checked() {
        let problem = |text: &str, project: Option<&str>| {
            let mut config = Config::default();
            config.http.firebase = Some(text.to_owned());
            config.google.project_id = project.map(str::to_owned);
            WebApp::find(&config)
                .err()
                .map_or_else(String::new, |it| it.to_string())
        };
        let whole = r#"{"apiKey": "AIza-x_1", "authDomain": "a.example", "projectId": "mine", "appId": "1:2"}"#;
        for (good, project) in [
            (whole, Some("mine")),
            (whole, None),
            (r#"{"apiKey": "k"}"#, Some("mine")),
        ] {
            assert_eq!(problem(good, project), "", "{good}");
        }
        for bad in [
            "{apiKey: 'AIza'}",
            "AIza",
            "{}",
            r#"{"apiKey": ""}"#,
            r#"{"apiKey": "a b"}"#,
        ] {
            assert!(problem(bad, None).contains("as JSON"), "{bad}");
        }
        assert!(problem(whole, Some("other")).contains("another project"));
    }

    fn sign_in(emulator: Option<&str>) -> SignIn {
        let app = WebApp {
            api_key: "AIza-key_1".to_owned(),
            project_id: None,
        };
        SignIn::new(&app, emulator)
    }

    #[test]
    fn sign_in_names_firebase_or_its_emulator() {
        let real = sign_in(None);
        for part in [
            "data-key=\"AIza-key_1\"",
            "data-accounts=\"https://identitytoolkit.googleapis.com/v1\"",
            "data-tokens=\"https://securetoken.googleapis.com/v1\"",
        ] {
            assert!(real.form.contains(part), "{part}: {}", real.form);
        }
        let emulated = sign_in(Some("127.0.0.1:9099"));
        let base = "http://127.0.0.1:9099/securetoken.googleapis.com/v1";
        assert!(emulated.form.contains(base), "{}", emulated.form);
        assert_eq!(emulated.origins, ["http://127.0.0.1:9099"]);
    }

    #[test]
    fn sign_in_form_has_its_place_once() {
        for page in [include_str!("studio.html"), include_str!("listen.html")] {
            let offered = sign_in(None).offered_on(page);
            assert_eq!(offered.matches("<form").count(), 1);
            assert!(!page.contains("<form"));
        }
    }
}
