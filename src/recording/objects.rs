//! The objects of a recording that are JSON: its opening and its manifest.
//!
//! **Invariant**: one that cannot be read is an error everywhere, and is not replaced: another version may have written it, and
//! the clips may be deleted.

use bytes::Bytes;

use super::assembly::{Manifest, Opening};
use super::bucket::{Bucket, BucketError};

pub(super) const MANIFEST: &str = "manifest.json";

/// The opening at this path; none if there is none.
pub(super) async fn find_opening(
    bucket: &Bucket,
    path: &str,
) -> Result<Option<Opening>, BucketError> {
    let Some(text) = bucket.get(path).await? else {
        return Ok(None);
    };
    let opening = serde_json::from_slice(&text);
    let opening = opening.map_err(|_| BucketError::Malformed(path.to_owned()))?;
    Ok(Some(opening))
}

/// The opening that has to be at this path.
pub(super) async fn read_opening(bucket: &Bucket, path: &str) -> Result<Opening, BucketError> {
    let opening = find_opening(bucket, path).await?;
    opening.ok_or_else(|| BucketError::Malformed(path.to_owned()))
}

/// The manifest in this directory, with its text; none if there is none.
pub(super) async fn find_manifest(
    bucket: &Bucket,
    directory: &str,
) -> Result<Option<(Manifest, Bytes)>, BucketError> {
    let path = format!("{directory}/{MANIFEST}");
    let Some(text) = bucket.get(&path).await? else {
        return Ok(None);
    };
    let manifest = serde_json::from_slice(&text).map_err(|_| BucketError::Foreign(path))?;
    Ok(Some((manifest, text)))
}
