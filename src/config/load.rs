//! Where values come from: defaults < TOML file < environment < systemd credentials, the later winning.
//!
//! The environment and credentials hold text only, so the *default's* type decides how a text is read: where the
//! default is a string (or nothing, as for every optional key) the text stays a string, so that a project id made of
//! digits survives; elsewhere it is read as a TOML value.
//!
//! **Invariant**: no error quotes a value, since any value may be a secret in the wrong place.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Format, Serialized, Toml};
use figment::value::{Dict, Tag, Value};

use super::Config;
use super::renamed::{RenamedToml, current};

const PREFIX: &str = "CASTAWAY_";

/// Names that existing deployments have, and the keys they stand for.
const LEGACY: [(&str, &str); 5] = [
    ("IDENTITY_SERVER_API_KEY", "google.api_key"),
    ("PROJECT_ID", "google.project_id"),
    ("CLIENT_EMAIL", "google.client_email"),
    ("PRIVATE_KEY", "google.private_key"),
    (
        "GOOGLE_APPLICATION_CREDENTIALS",
        "google.service_account_file",
    ),
];

/// Variables with our prefix that are not configuration keys.
const NOT_KEYS: [&str; 1] = ["CASTAWAY_CONFIG"];

/// What is wrong with the configuration, in words for who writes it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A credential cannot be read.
    #[error("cannot read the credential {path}: {source}")]
    Credential {
        /// The credential's file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A name that stands for no key.
    #[error("{place} names no key of the configuration; {hint}")]
    Unknown {
        /// Where the name was found.
        place: String,
        /// What would be right.
        hint: String,
    },
    /// A value that cannot be read.
    #[error("{key} (from {place}): {problem}")]
    Shape {
        /// The key.
        key: String,
        /// Where the value was found.
        place: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A value that makes no sense.
    #[error("{key} {problem}; set it in the file, as {env} in the environment, or as the credential castaway.{key}", env = env_name(key))]
    Value {
        /// The key.
        key: &'static str,
        /// What it must be.
        problem: String,
    },
}

impl ConfigError {
    /// The value of `key` makes no sense: `problem` reads on after the key's name.
    pub fn value(key: &'static str, problem: impl Into<String>) -> Self {
        Self::Value {
            key,
            problem: problem.into(),
        }
    }
}

fn env_name(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

/// The places that are searched; passed in, so that tests need no process environment.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The TOML file; it must exist when it is named.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// systemd's `$CREDENTIALS_DIRECTORY`.
    pub credentials: Option<PathBuf>,
}

impl Sources {
    /// The process's own environment and credentials directory, and `file` or `CASTAWAY_CONFIG`.
    pub fn of_process(file: Option<PathBuf>) -> Self {
        let environment: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let named = |name: &str| {
            environment
                .get(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        };
        Self {
            file: file.or_else(|| named("CASTAWAY_CONFIG")),
            credentials: named("CREDENTIALS_DIRECTORY"),
            environment,
        }
    }
}

pub(super) fn load(sources: &Sources) -> Result<Config, ConfigError> {
    let defaults = Serialized::defaults(Config::default());
    let known = Figment::from(&defaults);
    let mut figment = known.clone();
    if let Some(path) = &sources.file {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::File {
            path: path.clone(),
            source,
        })?;
        let provider = || RenamedToml(&text);
        // Merged alone first: only then does an error name the file.
        read(
            &known.clone().merge(provider()),
            &path.display().to_string(),
        )?;
        figment = figment.merge(provider());
    }
    for (name, text) in &sources.environment {
        let Some(key) = key_of_variable(name)? else {
            continue;
        };
        if text.is_empty() {
            continue;
        }
        figment = merge_text(
            figment,
            &known,
            &key,
            text,
            &format!("{name} in the environment"),
        )?;
    }
    if let Some(directory) = &sources.credentials {
        for (path, key) in credentials(directory)? {
            let text = fs::read_to_string(&path).map_err(|source| ConfigError::Credential {
                path: path.clone(),
                source,
            })?;
            let place = format!("the credential {}", path.display());
            figment = merge_text(
                figment,
                &known,
                &key,
                text.trim_end_matches(['\r', '\n']),
                &place,
            )?;
        }
    }
    read(&figment, "the configuration")
}

fn read(figment: &Figment, place: &str) -> Result<Config, ConfigError> {
    figment.extract::<Config>().map_err(|error| {
        // figment's own text quotes the value of a wrong type; say what was expected, never what was found.
        use figment::error::Kind;
        let first = error.into_iter().next();
        let (key, problem) = first.map_or_else(
            || (String::new(), "cannot be read".to_owned()),
            |error| {
                let problem = match &error.kind {
                    Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => {
                        format!("must be {expected}")
                    }
                    Kind::InvalidLength(_, expected) => format!("must have the length {expected}"),
                    Kind::UnknownField(field, known) => {
                        format!("unknown key {field:?}; known here are {}", known.join(", "))
                    }
                    Kind::UnknownVariant(_, known) => format!("must be one of {}", known.join(", ")),
                    Kind::MissingField(field) => format!("lacks the key {field:?}"),
                    Kind::Message(text) if error.path.is_empty() => {
                        format!("is not TOML: {}", text.lines().next().unwrap_or_default())
                    }
                    _ => "has a value that cannot be read: durations are written \"10s\", addresses \"0.0.0.0:3000\", \
                          networks \"10.0.0.0/8\", sizes as whole numbers"
                        .to_owned(),
                };
                (error.path.join("."), problem)
            },
        );
        let key = if key.is_empty() { "the configuration".to_owned() } else { key };
        ConfigError::Shape { key, place: place.to_owned(), problem }
    })
}

/// The key that an environment variable stands for, if it is one of ours.
fn key_of_variable(name: &str) -> Result<Option<String>, ConfigError> {
    if let Some((_, key)) = LEGACY.iter().find(|(legacy, _)| *legacy == name) {
        return Ok(Some((*key).to_owned()));
    }
    let Some(rest) = name.strip_prefix(PREFIX) else {
        return Ok(None);
    };
    if NOT_KEYS.contains(&name) {
        return Ok(None);
    }
    let key = rest.to_lowercase().replacen("__", ".", 1);
    known_key(&key, &format!("{name} in the environment")).map(Some)
}

/// The credentials in `directory` that are ours, with their keys. Others may lie beside them.
fn credentials(directory: &Path) -> Result<Vec<(PathBuf, String)>, ConfigError> {
    let unreadable = |source| ConfigError::Credential {
        path: directory.to_owned(),
        source,
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let legacy = LEGACY
            .iter()
            .find(|(legacy, _)| *legacy == name)
            .map(|(_, key)| (*key).to_owned());
        let key = match (legacy, name.strip_prefix("castaway.")) {
            // A credential holds the thing itself: under this name the JSON text, not a path to it.
            (Some(key), _) if key == "google.service_account_file" => {
                "google.service_account".to_owned()
            }
            (Some(key), _) => key,
            (None, Some(key)) => known_key(key, &format!("the credential {}", path.display()))?,
            (None, None) => continue,
        };
        found.push((path, key));
    }
    // Legacy names first: our own win.
    found.sort_by_key(|(path, _)| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("castaway."))
    });
    Ok(found)
}

/// Every key, in the file's spelling.
pub(super) fn keys() -> Vec<String> {
    let mut keys: Vec<String> = SECRETS.iter().map(|key| (*key).to_owned()).collect();
    if let Ok(Value::Dict(_, sections)) = Value::serialize(Config::default()) {
        for (section, value) in sections {
            if let Value::Dict(_, entries) = value {
                keys.extend(
                    entries
                        .into_keys()
                        .map(|entry| format!("{section}.{entry}")),
                );
            }
        }
    }
    keys.sort();
    keys
}

/// What `key` is set to, as text; nothing for a secret.
pub(super) fn shown(config: &Config, key: &str) -> Option<String> {
    let value = Figment::from(Serialized::defaults(config))
        .find_value(key)
        .ok()?;
    Some(format!("{:?}", value.to_actual()))
}

/// Keys that are never serialised.
const SECRETS: [&str; 4] = [
    "cluster.url",
    "google.api_key",
    "google.private_key",
    "google.service_account",
];

fn known_key(key: &str, place: &str) -> Result<String, ConfigError> {
    let (key, keys) = (current(key), keys());
    if keys.iter().any(|known| known == key) {
        return Ok(key.to_owned());
    }
    let section = key.split('.').next().unwrap_or_default();
    let siblings: Vec<&str> = keys
        .iter()
        .filter(|known| known.split('.').next() == Some(section))
        .map(String::as_str)
        .collect();
    let hint = if siblings.is_empty() {
        format!(
            "the pattern is {PREFIX}SECTION__KEY or castaway.section.key, as in {}",
            env_name("server.listen")
        )
    } else {
        format!("known in this section are {}", siblings.join(", "))
    };
    Err(ConfigError::Unknown {
        place: place.to_owned(),
        hint,
    })
}

/// Merges one text as the value of `key`, and reads the whole at once so that an error names the place.
fn merge_text(
    figment: Figment,
    defaults: &Figment,
    key: &str,
    text: &str,
    place: &str,
) -> Result<Figment, ConfigError> {
    let value = match defaults.find_value(key) {
        Ok(Value::Num(..) | Value::Bool(..) | Value::Array(..)) => parse(text),
        _ => Value::from(text),
    };
    let (section, entry) = key.split_once('.').unwrap_or((key, ""));
    let nested: Dict = [(entry.to_owned(), value)].into_iter().collect();
    let merged = figment.merge(Serialized::from(
        [(section.to_owned(), nested)]
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
        figment::Profile::Default,
    ));
    read(&merged, place)?;
    Ok(merged)
}

/// Reads a text as the TOML value it looks like; a bare word or list of words as strings.
fn parse(text: &str) -> Value {
    let text = text.trim();
    if let Ok(number) = text.parse::<u64>() {
        return Value::from(number);
    }
    match text {
        "true" => return Value::from(true),
        "false" => return Value::from(false),
        _ => {}
    }
    if text.starts_with('[') {
        let listed = Figment::from(Toml::string(&format!("list = {text}")));
        if let Ok(value) = listed.find_value("list") {
            return value;
        }
    }
    let words = text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty());
    Value::Array(Tag::Default, words.map(Value::from).collect())
}

#[cfg(test)]
mod tests;
