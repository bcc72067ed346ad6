//! The sources of values: defaults < TOML file < environment < systemd credentials; later sources win.
//!
//! The environment and credentials contain only text, so the type of the *default* decides how a text is read: if the
//! default is a string (or none, as for every optional key), the text stays a string, so that a project id made of
//! digits survives. Otherwise the text is read as a TOML value.
//!
//! **Invariant**: no error quotes a value, since any value may be a misplaced secret. An invalid setting does not
//! prevent the checks of the others.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::error::Kind;
use figment::providers::{Format, Serialized, Toml};
use figment::value::{Dict, Tag, Value};
use humantime_serde::re::humantime;

use super::Config;
use super::error::{ConfigError, PREFIX, Problems, env_name};
use super::renamed::current;

/// The variables of existing deployments, and their keys.
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

/// The sources. The caller passes them in, so that tests need no process environment.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The TOML file; if named, it must exist.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// Environment variables whose values are not UTF-8.
    pub unreadable: Vec<String>,
    /// systemd's `$CREDENTIALS_DIRECTORY`.
    pub credentials: Option<PathBuf>,
}

impl Sources {
    /// The process's own environment and credentials directory, and `file` or `CASTAWAY_CONFIG`.
    pub fn of_process(file: Option<PathBuf>) -> Self {
        let mut environment = BTreeMap::new();
        let mut unreadable = Vec::new();
        for (name, value) in std::env::vars_os() {
            // A name that is not UTF-8 is none of our keys.
            let Ok(name) = name.into_string() else {
                continue;
            };
            match value.into_string() {
                Ok(value) => drop(environment.insert(name, value)),
                Err(_) => unreadable.push(name),
            }
        }
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
            unreadable,
        }
    }
}

/// A value for a key, and its source.
struct Setting {
    key: String,
    value: Value,
    origin: String,
}

/// The configuration from all readable settings, and the problems of the others.
pub(super) fn load(sources: &Sources) -> (Config, Problems) {
    let defaults = Figment::from(Serialized::defaults(Config::default()));
    let mut problems = Problems::default();
    let mut settings = Vec::new();
    if let Some(path) = &sources.file {
        problems.take(of_file(path), |found| settings.extend(found));
    }
    for (name, text) in &sources.environment {
        if text.is_empty() {
            continue;
        }
        let origin = format!("{name} in the environment");
        problems.take(key_of_variable(name), |key| {
            settings.extend(key.map(|key| Setting {
                value: of_text(&defaults, &key, text),
                key,
                origin,
            }));
        });
    }
    for name in &sources.unreadable {
        let unreadable = |key: Option<String>| {
            key.map_or(Ok(()), |key| {
                Err(ConfigError::Shape {
                    key,
                    origin: format!("{name} in the environment"),
                    problem: "must be UTF-8".to_owned(),
                })
            })
        };
        problems.take(key_of_variable(name).and_then(unreadable), drop);
    }
    if let Some(directory) = &sources.credentials {
        for found in credentials(directory) {
            let read = found.and_then(|(path, key)| of_credential(&defaults, &path, key));
            problems.take(read, |setting| settings.push(setting));
        }
    }
    let mut merged = defaults.clone();
    for setting in settings {
        // Each setting is checked by itself first, so that an error names its source and hides no other error.
        let checked = setting.check(&defaults);
        problems.take(checked, |()| merged = setting.merged_into(&merged));
    }
    (merged.extract().unwrap_or_default(), problems)
}

/// The settings of a TOML file; [`Setting::check`] reports unknown keys.
fn of_file(path: &Path) -> Result<Vec<Setting>, ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::File {
        path: path.to_owned(),
        source,
    })?;
    let origin = path.display().to_string();
    let sections: Dict = Toml::from_str(&text).map_err(|error| ConfigError::Shape {
        key: "the configuration".to_owned(),
        origin: origin.clone(),
        // Further lines of the error quote the file.
        problem: format!(
            "is not TOML: {}",
            error.to_string().lines().next().unwrap_or_default()
        ),
    })?;
    let mut settings = Vec::new();
    for (section, value) in sections {
        let entries = match value {
            // An empty section has no entry that could be found wrong.
            Value::Dict(_, entries) if !entries.is_empty() || is_section(&section) => entries,
            value => {
                settings.push(Setting {
                    key: section,
                    value,
                    origin: origin.clone(),
                });
                continue;
            }
        };
        settings.extend(entries.into_iter().map(|(entry, value)| Setting {
            key: current(&format!("{section}.{entry}")).to_owned(),
            value,
            origin: origin.clone(),
        }));
    }
    Ok(settings)
}

fn of_credential(defaults: &Figment, path: &Path, key: String) -> Result<Setting, ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Credential {
        path: path.to_owned(),
        source,
    })?;
    Ok(Setting {
        value: of_text(defaults, &key, text.trim_end_matches(['\r', '\n'])),
        key,
        origin: format!("the credential {}", path.display()),
    })
}

/// Reads a text as the type of the key's default.
fn of_text(defaults: &Figment, key: &str, text: &str) -> Value {
    match defaults.find_value(key) {
        Ok(Value::Num(..) | Value::Bool(..) | Value::Array(..)) => parse(text),
        _ => Value::from(text),
    }
}

impl Setting {
    fn merged_into(&self, figment: &Figment) -> Figment {
        let (section, entry) = self.key.split_once('.').unwrap_or((&self.key, ""));
        let nested: Dict = [(entry.to_owned(), self.value.clone())].into();
        let sections: BTreeMap<_, _> = [(section.to_owned(), nested)].into();
        figment
            .clone()
            .merge(Serialized::from(sections, figment::Profile::Default))
    }

    fn check(&self, defaults: &Figment) -> Result<(), ConfigError> {
        known_key(&self.key, &format!("{} in {}", self.key, self.origin))?;
        self.merged_into(defaults)
            .extract::<Config>()
            .map(drop)
            .map_err(|error| ConfigError::Shape {
                key: self.key.clone(),
                origin: self.origin.clone(),
                problem: wanted(&error, defaults.find_value(&self.key).ok()),
            })
    }
}

/// Describes the expected value, in TOML's spelling. figment's text quotes the value and names Rust's types.
fn wanted(error: &figment::Error, default: Option<Value>) -> String {
    if let Kind::UnknownVariant(_, known) = &error.kind {
        return format!("must be one of {}", known.join(", "));
    }
    let wrong_type = matches!(error.kind, Kind::InvalidType(..));
    match default.unwrap_or(Value::from("")) {
        Value::Num(_, number) => {
            let example = number.to_u128().unwrap_or_default();
            let range = if wrong_type {
                ""
            } else {
                ", neither negative nor that large"
            };
            format!("must be a whole number, such as {example}{range}")
        }
        Value::Bool(..) => "must be true or false".to_owned(),
        Value::Array(_, items) if items.is_empty() => {
            "must be a list of networks, such as [\"10.0.0.0/8\"]".to_owned()
        }
        Value::Array(..) => "must be a list of texts, such as [\"*\"]".to_owned(),
        Value::String(_, text) if humantime::parse_duration(&text).is_ok() => {
            format!("must be a duration, such as \"{text}\"")
        }
        Value::String(_, text) if text.parse::<SocketAddr>().is_ok() => {
            format!("must be an address with a port, such as \"{text}\"")
        }
        Value::String(_, text) if !text.is_empty() => {
            format!("must be a text, such as \"{text}\"")
        }
        _ => "must be a text in quotes".to_owned(),
    }
}

/// The key of an environment variable, if it is one of ours.
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

/// Our credentials in `directory`, with their keys. Other credentials may be there too.
fn credentials(directory: &Path) -> Vec<Result<(PathBuf, String), ConfigError>> {
    let unreadable = |source| ConfigError::Credential {
        path: directory.to_owned(),
        source,
    };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => return vec![Err(unreadable(error))],
    };
    let mut found: Vec<_> = entries
        .filter_map(|entry| match entry {
            Ok(entry) => key_of_credential(entry.path()),
            Err(error) => Some(Err(unreadable(error))),
        })
        .collect();
    // Legacy names first: our own names win.
    found.sort_by_key(|found| {
        let path = found.as_ref().ok().and_then(|(path, _)| path.file_name());
        path.is_some_and(|name| name.to_string_lossy().starts_with("castaway."))
    });
    found
}

fn key_of_credential(path: PathBuf) -> Option<Result<(PathBuf, String), ConfigError>> {
    let name = path.file_name()?.to_str()?;
    let legacy = LEGACY.iter().find(|(legacy, _)| *legacy == name);
    let key = match (legacy, name.strip_prefix("castaway.")) {
        // A credential contains the value itself: under this name the JSON text, not a path to it.
        (Some((_, "google.service_account_file")), _) => Ok("google.service_account".to_owned()),
        (Some((_, key)), _) => Ok((*key).to_owned()),
        (None, Some(key)) => known_key(key, &format!("the credential {}", path.display())),
        (None, None) => return None,
    };
    Some(key.map(|key| (path, key)))
}

/// Every key, as spelt in the file.
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

/// The value of `key` as text; none for a secret.
pub(super) fn shown(config: &Config, key: &str) -> Option<String> {
    let value = Figment::from(Serialized::defaults(config))
        .find_value(key)
        .ok()?;
    Some(format!("{:?}", value.to_actual()))
}

/// Keys that are never serialised.
const SECRETS: [&str; 7] = [
    "api.token",
    "cluster.url",
    "google.api_key",
    "google.private_key",
    "google.service_account",
    "passes.key",
    "webhooks.secrets",
];

fn is_section(name: &str) -> bool {
    let of_key = |key: &String| key.split('.').next() == Some(name);
    keys().iter().any(of_key)
}

fn known_key(key: &str, origin: &str) -> Result<String, ConfigError> {
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
    let name = key.split_once('.').map_or(key, |(_, name)| name);
    Err(ConfigError::Unknown {
        name: name.to_owned(),
        origin: origin.to_owned(),
        hint,
    })
}

/// Reads a text as the TOML value that it resembles; a bare word or list of words as strings.
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
