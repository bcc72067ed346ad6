//! The recordings of a daemon that serves.

use std::path::Path;

use tokio::sync::mpsc;

use super::Parts;
use crate::broadcast::{LivestreamId, UserId};
use crate::config::Config;
use crate::directory;
use crate::metrics::Metrics;
use crate::recording::{Daemon, Recorder, Recording, Recordings, Upload};
use crate::relay::{Event, Relay};

/// The recorder of the relay's livestreams, with the clips that wait in the state directory, and the recordings for operators;
/// none if nothing is recorded.
pub(super) fn open(
    config: &Config,
    state: Option<&Path>,
    relay: &Relay,
    metrics: &Metrics,
) -> anyhow::Result<(Option<Recording>, Option<Recordings>)> {
    let Some((recorder, recording)) = Recorder::open(config, state, metrics)? else {
        return Ok((None, None));
    };
    relay.record_to(recorder);
    let recordings = recording.recordings();
    Ok((Some(recording), Some(recordings)))
}

impl Parts {
    /// Records from now on, and finishes what an earlier process or a lost node has left.
    pub(super) fn record(&self, failed: &mpsc::Sender<String>, recording: Option<Recording>) {
        let Some(recording) = recording else { return };
        let (directory, relay) = (self.directory.clone(), self.relay.clone());
        let (teller, podcasts) = (self.relay.clone(), self.relay.clone());
        let (spool, uploads) = (self.relay.clone(), self.directory.clone());
        let bucket = self.config.recording.url.clone().unwrap_or_default();
        let daemon = Daemon {
            titles: Box::new(move |id| {
                let directory = directory.clone();
                Box::pin(async move {
                    let about = directory.about(&id).await.ok().flatten()?;
                    Some(about.title().to_owned())
                })
            }),
            is_on_air: Box::new(move |id| {
                LivestreamId::new(id).is_some_and(|id| relay.is_started(&id))
            }),
            ready: Box::new(move |id, manifest| {
                teller.tell(Event::RecordingReady {
                    id: id.clone(),
                    manifest: Box::new(manifest.clone()),
                    url: format!("{}/{}", bucket.trim_end_matches('/'), id.directory()),
                });
            }),
            register: Box::new(move |upload| {
                let directory = uploads.clone();
                Box::pin(async move {
                    let created = directory.create_upload(&document(upload)).await;
                    created.map_err(|failure| failure.to_string())
                })
            }),
            registered: Box::new(move |id, manifest, upload| {
                podcasts.tell(Event::RecordingRegistered {
                    id: id.clone(),
                    manifest: Box::new(manifest.clone()),
                    upload: upload.clone(),
                });
            }),
            filled: Box::new(move |fill| spool.tell(Event::RecordingSpool { fill })),
        };
        self.spawn(failed, "recording", recording.run(daemon));
    }
}

fn document(upload: Upload) -> directory::Upload {
    directory::Upload {
        id: upload.id,
        user: UserId::new(&upload.user),
        path: upload.path,
        seconds: upload.seconds,
    }
}
