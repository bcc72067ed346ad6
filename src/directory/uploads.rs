//! Firestore's collection `uploads`: the files that users of the app have uploaded and not published yet, as its backend
//! keeps them.
//!
//! **Invariant**: a document is created or left as it is; one that exists is neither read nor changed.

use serde_json::{Value, json};

use super::documents::Documents;
use crate::broadcast::UserId;
use crate::google::{Failure, Lane};

/// An audio file that its user may publish as a podcast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// The document's id: letters and digits.
    pub id: String,
    /// The only user who may publish it.
    pub user: UserId,
    /// The name of its object in the app's bucket of podcasts.
    pub path: String,
    /// The length of its sound.
    pub seconds: u64,
}

impl Documents {
    /// Creates the document of an upload; one with this id stays as it is.
    pub(super) async fn create_upload(&self, upload: &Upload) -> Result<(), Failure> {
        let body = json!({
            "writes": [{
                "update": {
                    "name": format!("{}/uploads/{}", self.root(), upload.id),
                    "fields": {
                        "userId": { "stringValue": upload.user.as_str() },
                        "filetype": { "stringValue": "podcast" },
                        "filepath": { "stringValue": upload.path },
                        // The app's backend writes seconds into the field of this name.
                        "durationInMinutes": { "integerValue": upload.seconds.to_string() },
                    },
                },
                "currentDocument": { "exists": false },
            }],
        });
        match self.call::<Value>("commit", Lane::Background, &body).await {
            Ok(answer) if answer["writeResults"].is_array() => Ok(()),
            Ok(_) => Err(Failure::Garbage),
            Err(failure) if failure.code() == Some("ALREADY_EXISTS") => Ok(()),
            Err(failure) => Err(failure),
        }
    }
}
