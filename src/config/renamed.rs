//! Keys that had other names before: deployments that still use those keep working.

use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Map};
use figment::{Error, Metadata, Profile, Provider};

/// Old and new names.
const RENAMED: [(&str, &str); 3] = [
    ("cluster.pulse", "cluster.heartbeat"),
    ("cluster.replay_clips", "cluster.history_clips"),
    ("cluster.replay_bytes", "cluster.history_bytes"),
];

/// The name that `key` has now.
pub(super) fn current(key: &str) -> &str {
    let renamed = RENAMED.iter().find(|(old, _)| *old == key);
    renamed.map_or(key, |(_, new)| new)
}

/// A TOML file, with the names of now. Where both names are set, the new one wins.
pub(super) struct RenamedToml<'a>(pub(super) &'a str);

impl Provider for RenamedToml<'_> {
    fn metadata(&self) -> Metadata {
        Toml::string(self.0).metadata()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        let mut data = Toml::string(self.0).data()?;
        for sections in data.values_mut() {
            for (old, new) in RENAMED {
                rename(sections, old, new);
            }
        }
        Ok(data)
    }
}

fn rename(sections: &mut Dict, old: &str, new: &str) {
    let (Some((section, old)), Some((_, new))) = (old.split_once('.'), new.split_once('.')) else {
        return;
    };
    if let Some(figment::value::Value::Dict(_, entries)) = sections.get_mut(section)
        && let Some(value) = entries.remove(old)
    {
        entries.entry(new.to_owned()).or_insert(value);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Sources};
    use std::io::Write as _;

    #[test]
    fn old_names_of_keys_still_count() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "[cluster]\npulse = \"2s\"\nreplay_clips = 3").unwrap();
        let environment = [("CASTAWAY_CLUSTER__REPLAY_BYTES".to_owned(), "77".to_owned())];
        let sources = Sources {
            file: Some(file.path().to_owned()),
            environment: environment.into(),
            credentials: None,
        };
        let cluster = Config::load(&sources).unwrap().cluster;
        assert_eq!(cluster.heartbeat.as_secs(), 2);
        assert_eq!((cluster.history_clips, cluster.history_bytes), (3, 77));
    }
}
