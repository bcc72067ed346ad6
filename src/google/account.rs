//! The service account: from its JSON, or from the variables of existing deployments.
//!
//! **Invariant**: a [`ServiceAccount`] that exists has signed once, so a mangled key is reported at start and not at
//! the first write. No error quotes any part of the key.

use std::io::ErrorKind;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, EncodingKey};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::config::{self, ConfigError};

/// The account that requests access tokens.
pub(super) struct ServiceAccount {
    pub(super) email: String,
    pub(super) key: EncodingKey,
    pub(super) key_id: Option<String>,
    pub(super) project_id: Option<String>,
}

#[derive(Deserialize)]
struct Json {
    client_email: String,
    private_key: SecretString,
    private_key_id: Option<String>,
    project_id: Option<String>,
}

impl ServiceAccount {
    /// The configured account, if there is one. The JSON's text wins over a file, a file over single keys.
    pub(super) fn find(config: &config::Google) -> Result<Option<Self>, ConfigError> {
        if let Some(text) = &config.service_account {
            return Self::from_json("google.service_account", text.expose_secret()).map(Some);
        }
        if let Some(path) = &config.service_account_file {
            let text = std::fs::read_to_string(path).map_err(|error| {
                let key = "google.service_account_file";
                let problem = format!(
                    "names the key file {}, which cannot be read: {error}",
                    path.display()
                );
                match error.kind() {
                    // It may exist on another machine or for another user.
                    ErrorKind::NotFound | ErrorKind::PermissionDenied => {
                        ConfigError::absent(key, problem)
                    }
                    _ => ConfigError::value(key, problem),
                }
            })?;
            let text = SecretString::from(text);
            return Self::from_json("google.service_account_file", text.expose_secret()).map(Some);
        }
        let missing = |key: &'static str, other: &str| {
            let problem = format!("is not set, but {other} is; a service account needs both");
            ConfigError::absent(key, problem)
        };
        match (&config.client_email, &config.private_key) {
            (None, None) => Ok(None),
            (Some(_), None) => Err(missing("google.private_key", "google.client_email")),
            (None, Some(_)) => Err(missing("google.client_email", "google.private_key")),
            (Some(email), Some(key)) => Ok(Some(Self {
                email: email.trim().to_owned(),
                key: private_key("google.private_key", key.expose_secret())?,
                key_id: None,
                project_id: None,
            })),
        }
    }

    fn from_json(key: &'static str, text: &str) -> Result<Self, ConfigError> {
        let json: Json = serde_json::from_str(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let problem = format!(
                "is not the JSON of a service account's key, at line {line}, column {column}; download it again"
            );
            ConfigError::value(key, problem)
        })?;
        Ok(Self {
            email: json.client_email,
            key: private_key(key, json.private_key.expose_secret())?,
            key_id: json.private_key_id,
            project_id: json.project_id,
        })
    }
}

/// Reads a private key: a PEM, or its body alone, with line ends or literal `\n`, quoted or not.
fn private_key(key: &'static str, text: &str) -> Result<EncodingKey, ConfigError> {
    let mangled = |problem: &str| {
        let problem = format!(
            "holds no sound RSA private key: {problem}. It must be a PEM, or the lines between BEGIN and END, with \
             line ends or with \\n; note that systemd's EnvironmentFile= turns an unquoted \\n into n"
        );
        ConfigError::value(key, problem)
    };
    let text = text.trim().trim_matches(['"', '\'']);
    let text = text.replace("\\n", "\n").replace("\\r", "");
    let pkcs1 = text.contains("BEGIN RSA PRIVATE KEY");
    let body: String = text
        .lines()
        .filter(|line| !line.contains("-----"))
        .flat_map(str::chars)
        .filter(|letter| !letter.is_whitespace())
        .collect();
    if body.is_empty() {
        return Err(mangled("it is empty"));
    }
    let der = STANDARD
        .decode(&body)
        .map_err(|_| mangled("it is not base64"))?;
    let labels: &[&str] = if pkcs1 {
        &["RSA PRIVATE KEY"]
    } else {
        &["PRIVATE KEY", "RSA PRIVATE KEY"]
    };
    labels
        .iter()
        .find_map(|label| {
            let body = STANDARD.encode(&der);
            let pem = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
            let key = EncodingKey::from_rsa_pem(pem.as_bytes()).ok()?;
            jsonwebtoken::crypto::sign(b"a first signature", &key, Algorithm::RS256).ok()?;
            Some(key)
        })
        .ok_or_else(|| mangled("it cannot sign"))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    use aws_lc_rs::rsa::{KeyPair, KeySize};

    use super::*;

    /// The body of a PEM key: base64 in lines of 64.
    fn body() -> String {
        let pair = KeyPair::generate(KeySize::Rsa2048).expect("a key");
        let der: Pkcs8V1Der<'_> = pair.as_der().expect("its DER");
        let text = STANDARD.encode(der.as_ref());
        let lines: Vec<&str> = text
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).expect("ASCII"))
            .collect();
        lines.join("\n")
    }

    #[test]
    fn key_is_read_in_every_deployed_format() {
        let body = body();
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
        for text in [
            pem.clone(),
            pem.replace('\n', "\\n"),
            format!("\"{}\"", pem.replace('\n', "\\n")),
            pem.replace('\n', "\r\n"),
            body.clone(),
            body.replace('\n', "\\n"),
            format!("\\n{}\\n", body.replace('\n', "\\n")),
            body.replace('\n', ""),
        ] {
            assert!(
                private_key("google.private_key", &text).is_ok(),
                "{}",
                text.len()
            );
        }
    }

    #[test]
    fn mangled_key_is_named_but_not_printed() {
        let body = body();
        for text in [
            body.replace('\n', "n"),
            body[..body.len() / 2].to_owned(),
            String::new(),
            "not a key".to_owned(),
        ] {
            let Err(error) = private_key("google.private_key", &text) else {
                panic!("taken for a key: {} letters", text.len());
            };
            let shown = error.to_string();
            assert!(shown.contains("google.private_key"), "{shown}");
            assert!(!shown.contains(&body[..20]), "{shown}");
        }
    }

    #[test]
    fn half_an_account_names_the_missing_key() {
        let config = config::Google {
            client_email: Some("a@example.iam.gserviceaccount.com".into()),
            ..config::Google::default()
        };
        let Err(error) = ServiceAccount::find(&config) else {
            panic!("half an account was taken");
        };
        assert!(
            error
                .to_string()
                .starts_with("google.private_key is not set")
        );
    }

    #[test]
    fn invalid_json_is_not_quoted() {
        let config = config::Google {
            service_account: Some("{\"private_key\": TOPSECRET".into()),
            ..config::Google::default()
        };
        let Err(error) = ServiceAccount::find(&config) else {
            panic!("junk was taken");
        };
        assert!(!error.to_string().contains("TOPSECRET"), "{error}");
    }
}
