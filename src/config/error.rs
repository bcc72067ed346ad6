//! The problems of a configuration, described for its author.

use std::fmt;
use std::path::PathBuf;

/// The prefix of our environment variables.
pub(super) const PREFIX: &str = "CASTAWAY_";

/// One problem.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A credential cannot be read.
    #[error("cannot read the credential {path}: {source}")]
    Credential {
        /// The credential's file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// An unknown key.
    #[error("{origin}: unknown key \"{name}\"; {hint}")]
    Unknown {
        /// The name, without its section.
        name: String,
        /// Where the name was found.
        origin: String,
        /// A suggestion.
        hint: String,
    },
    /// An unreadable value.
    #[error("{key} (from {origin}): {problem}")]
    Shape {
        /// The key.
        key: String,
        /// Where the value was found.
        origin: String,
        /// The expected value.
        problem: String,
    },
    /// An invalid value.
    #[error("{key} {problem}; {}", where_to_set(key))]
    Value {
        /// The key.
        key: &'static str,
        /// The requirement.
        problem: String,
    },
    /// A required value is absent. It may exist on another machine, as credentials do when a package is built.
    #[error("{key} {problem}; {}", where_to_set(key))]
    Absent {
        /// The key.
        key: &'static str,
        /// The missing value.
        problem: String,
    },
    /// An environment variable that is no key of ours has an invalid value.
    #[error("{name} in the environment {problem}")]
    Variable {
        /// The variable.
        name: &'static str,
        /// The requirement.
        problem: String,
    },
}

impl ConfigError {
    /// The value of `key` is invalid: `problem` continues the sentence after the key's name.
    pub fn value(key: &'static str, problem: impl Into<String>) -> Self {
        Self::Value {
            key,
            problem: problem.into(),
        }
    }

    /// A value that `key` needs is absent: `problem` continues the sentence after the key's name.
    pub fn absent(key: &'static str, problem: impl Into<String>) -> Self {
        Self::Absent {
            key,
            problem: problem.into(),
        }
    }
}

pub(super) fn env_name(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

fn where_to_set(key: &str) -> String {
    format!(
        "set it in the file, as {} in the environment, or as the credential castaway.{key}",
        env_name(key)
    )
}

/// All problems of a configuration; empty if there are none.
#[derive(Debug, Default)]
pub struct Problems(Vec<ConfigError>);

impl Problems {
    /// `Ok` if there is no problem.
    pub fn into_result(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }

    /// Whether there is no problem.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every problem is an absent value.
    pub fn is_only_absent(&self) -> bool {
        let absent = |error: &ConfigError| matches!(error, ConfigError::Absent { .. });
        self.0.iter().all(absent)
    }

    /// Each problem.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }

    /// Adds one.
    pub fn push(&mut self, error: ConfigError) {
        self.0.push(error);
    }

    /// Adds `error` if `wrong`.
    pub(super) fn push_if(&mut self, wrong: bool, key: &'static str, problem: impl Into<String>) {
        if wrong {
            self.push(ConfigError::value(key, problem));
        }
    }

    /// Passes a good result to `good`, and adds the problem of another.
    pub fn take<T>(&mut self, result: Result<T, ConfigError>, good: impl FnOnce(T)) {
        match result {
            Ok(value) => good(value),
            Err(error) => self.push(error),
        }
    }
}

impl Extend<ConfigError> for Problems {
    fn extend<T: IntoIterator<Item = ConfigError>>(&mut self, errors: T) {
        self.0.extend(errors);
    }
}

impl IntoIterator for Problems {
    type Item = ConfigError;
    type IntoIter = std::vec::IntoIter<ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl From<ConfigError> for Problems {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

/// Writes a single problem as a sentence, several as a list.
impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            [one] => one.fmt(formatter),
            many => {
                write!(formatter, "{} problems with the configuration:", many.len())?;
                many.iter()
                    .try_for_each(|error| write!(formatter, "\n  - {error}"))
            }
        }
    }
}

impl std::error::Error for Problems {}
