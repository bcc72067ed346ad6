//! The livestreams of a Firestore: documents to read, and a writer of their flags.

use std::path::Path;

use super::documents::Documents;
use super::remembered::{Remembered, StateError};
use super::writer::Writer;
use super::{About, Entry, Freshness, Unavailable, Upload};
use crate::broadcast::LivestreamId;
use crate::config;
use crate::google::{Access, Failure, Lane};
use crate::metrics::Metrics;

/// Firestore's livestreams; cheap to clone.
#[derive(Clone)]
pub struct Firestore {
    documents: Documents,
    writer: Writer,
}

impl Firestore {
    pub(super) fn new(
        access: Access,
        config: &config::Google,
        state_directory: Option<&Path>,
        metrics: &Metrics,
    ) -> Result<Self, StateError> {
        let failures = metrics.state_file_errors.clone();
        let remembered = Remembered::open(state_directory, &access.project, failures)?;
        let documents = Documents::new(access, config);
        let writer = Writer::new(documents.clone(), remembered, config.request_timeout);
        Ok(Self { documents, writer })
    }

    pub(super) fn writer(&self) -> &Writer {
        &self.writer
    }

    pub(super) async fn find(
        &self,
        id: &LivestreamId,
        freshness: Freshness,
    ) -> Result<Option<Entry>, Unavailable> {
        self.documents.find(id, freshness).await
    }

    /// Reads the document now, behind the checks of clients.
    pub(super) async fn read(&self, id: &LivestreamId) -> Result<Option<Entry>, Unavailable> {
        let read = self.documents.read(id, Lane::Background).await;
        read.map_err(|_| Unavailable)
    }

    pub(super) async fn about(&self, id: &LivestreamId) -> Result<Option<About>, Unavailable> {
        self.documents.about(id).await.map_err(|_| Unavailable)
    }

    pub(super) async fn create_upload(&self, upload: &Upload) -> Result<(), Failure> {
        self.documents.create_upload(upload).await
    }

    pub(super) fn is_cached(&self, id: &LivestreamId) -> bool {
        self.documents.is_cached(id)
    }

    pub(super) async fn missing(
        &self,
        ids: &[LivestreamId],
    ) -> Result<Vec<LivestreamId>, Unavailable> {
        self.documents.missing(ids).await.map_err(|_| Unavailable)
    }
}
