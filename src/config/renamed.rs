//! Renamed keys: existing deployments may use the old names.

/// Old and new names.
const RENAMED: [(&str, &str); 5] = [
    ("livestream.backlog_clips", "livestream.history_clips"),
    ("livestream.backlog_bytes", "livestream.history_bytes"),
    ("cluster.pulse", "cluster.heartbeat"),
    ("cluster.replay_clips", "cluster.history_clips"),
    ("cluster.replay_bytes", "cluster.history_bytes"),
];

/// The current name of `key`.
pub(super) fn current(key: &str) -> &str {
    let renamed = RENAMED.iter().find(|(old, _)| *old == key);
    renamed.map_or(key, |(_, new)| new)
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Sources};
    use std::io::Write as _;

    #[test]
    fn old_names_of_keys_are_accepted() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "[cluster]\npulse = \"2s\"\nreplay_clips = 3").unwrap();
        let environment = [("CASTAWAY_CLUSTER__REPLAY_BYTES".to_owned(), "77".to_owned())];
        let sources = Sources {
            file: Some(file.path().to_owned()),
            environment: environment.into(),
            credentials: None,
            ..Sources::default()
        };
        let cluster = Config::load(&sources).unwrap().cluster;
        assert_eq!(cluster.heartbeat.as_secs(), 2);
        assert_eq!((cluster.history_clips, cluster.history_bytes), (3, 77));
    }
}
