//! Finishes recordings: joins the clips of those that are over, tells that they are ready, registers them as podcasts,
//! deletes their clips later.
//!
//! Any node may do so, at any time: what is to be done is read from the bucket, the same clips make the same bytes, and
//! the manifest is written last.
//!
//! **Invariant**: a clip is deleted only if a manifest names it, and the file with it is in the bucket. A crash at any
//! point leaves a recording that is finished by the next round.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{Context, SHA256};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::assembly::{Assembly, Manifest, RecordedClip, RecordedFile, SENT_AGAIN};
use super::bucket::{Bucket, BucketError, Listed};
use super::contents::{Contents, Finished, Step, Timing, next_step};
use super::metrics::RecordingMetrics;
use super::names::{self, RecordingId, hexadecimal, sha256};
use super::objects::{MANIFEST, find_manifest, find_opening, read_opening};
use super::podcast::{self, Podcasts, REGISTERED};
use crate::config;
use crate::media::{self, JoinedFile};
use crate::unix_time;

/// Clips that are read at a time.
const READS: usize = 8;
/// How long one that is finished, and keeps its clips, is not looked at again, in milliseconds: each look lists all of them.
const LOOK_AGAIN: u64 = 600_000;

/// Whether the livestream with this id is on air on this node.
pub type OnAir = Box<dyn Fn(&str) -> bool + Send + Sync>;
/// Told of each recording that is ready, at least once.
pub type Ready = Box<dyn Fn(&RecordingId, &Manifest) + Send + Sync>;

/// See the module documentation.
pub(super) struct Finisher {
    pub(super) bucket: Bucket,
    pub(super) config: config::Recording,
    pub(super) metrics: RecordingMetrics,
    /// A livestream's end is in the bucket.
    pub(super) ended: Arc<Notify>,
    pub(super) is_on_air: OnAir,
    pub(super) ready: Ready,
    /// None if recordings are not registered.
    pub(super) podcasts: Option<Podcasts>,
    // Locked for one look-up. By name, those that are finished, and when each is looked at again. Only pending ones.
    pub(super) later: Mutex<BTreeMap<String, u64>>,
}

/// A recording as a listing shows it.
struct Found {
    contents: Contents,
    manifest: Option<Manifest>,
    /// The object that says that this manifest was announced.
    announced: String,
    /// The ids of the uploads that it is registered as.
    registered: BTreeSet<String>,
    finished: Option<Finished>,
}

impl Finisher {
    /// Takes the step that is due, and returns it. One that registers is left if `registers` is false.
    pub(super) async fn take_step(
        &self,
        id: &RecordingId,
        now: u64,
        registers: bool,
    ) -> Result<Step, BucketError> {
        let Some(opening) = find_opening(&self.bucket, &id.opening()).await? else {
            // The bucket's own lifecycle has deleted it.
            self.bucket.delete(&pending(id)).await?;
            return Ok(Step::Leave);
        };
        let timing = Timing {
            now,
            is_on_air: (self.is_on_air)(&opening.livestream),
            finish_after: self.config.finish_after,
            wait_for_clips: self.config.wait_for_clips,
            keep_clips: self.config.keep_clips,
        };
        let mut found = self.find(id, now).await?;
        found.contents.first = opening.first;
        let step = next_step(&found.contents, found.finished.as_ref(), timing);
        match step {
            Step::Wait => {
                let here = found.contents.names();
                let finished = found.finished.as_ref();
                // With new clips it is joined as soon as it is over.
                if finished.is_some_and(|it| it.clips.is_superset(&here)) {
                    self.later.lock().insert(id.to_string(), now + LOOK_AGAIN);
                }
            }
            Step::Finish => self.finish_and_announce(id, now).await?,
            Step::Announce => self.announce(id, &found).await?,
            Step::Register => {
                if registers && !self.register(id, &found).await {
                    self.put_off(id, &found, now).await?;
                }
            }
            Step::Sweep => self.sweep(id, &found).await?,
            Step::Leave => {
                tracing::warn!(
                    recording = %id,
                    "clips came after the recording's clips were deleted: they stay objects of their own"
                );
                self.bucket.delete(&pending(id)).await?;
            }
        }
        Ok(step)
    }

    /// A podcast that waits keeps its recording pending, and no clip longer than its time.
    async fn put_off(&self, id: &RecordingId, found: &Found, now: u64) -> Result<(), BucketError> {
        self.later.lock().insert(id.to_string(), now + LOOK_AGAIN);
        let finished = found.finished.as_ref();
        if finished.is_some_and(|it| it.age >= self.config.keep_clips) {
            self.delete_clips(id, found).await?;
        }
        Ok(())
    }

    pub(super) async fn finish_and_announce(
        &self,
        id: &RecordingId,
        now: u64,
    ) -> Result<(), BucketError> {
        self.finish(id).await?;
        let found = self.find(id, now).await?;
        if found
            .finished
            .as_ref()
            .is_some_and(|finished| finished.is_announced)
        {
            return Ok(());
        }
        self.announce(id, &found).await
    }

    /// Returns whether that went well.
    async fn register(&self, id: &RecordingId, found: &Found) -> bool {
        let Some((podcasts, manifest)) = self.podcasts.as_ref().zip(found.manifest.as_ref()) else {
            return true;
        };
        let marked = &found.registered;
        podcasts
            .try_to_register(&self.bucket, id, manifest, marked, &self.metrics)
            .await
    }

    async fn find(&self, id: &RecordingId, now: u64) -> Result<Found, BucketError> {
        let directory = id.directory();
        let objects = self.bucket.list(&directory).await?;
        let contents = Contents::of(objects.iter().map(|it| it.name.as_str()));
        let mut found = Found {
            contents,
            manifest: None,
            announced: String::new(),
            registered: BTreeSet::new(),
            finished: None,
        };
        let listed = |name: &str| objects.iter().find(|it| it.name == name);
        let Some(Listed { written, .. }) = listed(MANIFEST) else {
            return Ok(found);
        };
        let Some((manifest, text)) = find_manifest(&self.bucket, &directory).await? else {
            return Ok(found);
        };
        // Two nodes that joined other clips at the same time may have left the file of one and the manifest of the other.
        let is_whole = |file: &RecordedFile| {
            listed(&file.name).is_some_and(|object| object.bytes == file.bytes)
        };
        if !manifest.files.iter().all(is_whole) && found.contents.has_all(manifest.names()) {
            return Ok(found);
        }
        found.announced = format!("announced/{}", &sha256(&text)[..16]);
        let marks = objects
            .iter()
            .filter_map(|it| it.name.strip_prefix(REGISTERED)?.strip_prefix('/'));
        found.registered = marks.map(str::to_owned).collect();
        let is_unregistered =
            self.podcasts.is_some() && podcast::is_unregistered(id, &manifest, &found.registered);
        found.finished = Some(Finished {
            clips: manifest.names().cloned().collect(),
            age: Duration::from_millis(now.saturating_sub(*written)),
            is_announced: listed(&found.announced).is_some(),
            is_unregistered,
        });
        found.manifest = Some(manifest);
        Ok(found)
    }

    /// Joins the clips that are there now, and writes the manifest.
    pub(super) async fn finish(&self, id: &RecordingId) -> Result<(), BucketError> {
        let opening = read_opening(&self.bucket, &id.opening()).await?;
        let directory = id.directory();
        let objects = self.bucket.list(&directory).await?;
        let mut contents = Contents::of(objects.iter().map(|it| it.name.as_str()));
        contents.first = opening.first;
        let is_swept = match find_manifest(&self.bucket, &directory).await? {
            Some((before, _)) => !contents.has_all(before.names()),
            None => contents.clips.is_empty() && objects.iter().any(is_file),
        };
        if is_swept {
            // Its clips are being deleted: it stays as it is.
            return Err(BucketError::Changed(directory));
        }
        let order = contents.in_order().into_iter().cloned().collect::<Vec<_>>();
        let mut assembly = Assembly::new(contents);
        let reads = stream::iter(order).map(|name| {
            let clip = self.clip(&directory, &name.to_string());
            async move { Ok::<_, BucketError>((name, clip.await?)) }
        });
        let mut reads = std::pin::pin!(reads.buffered(READS));
        while let Some((name, clip)) = reads.try_next().await? {
            assembly.add(&name, &clip);
        }
        let mut files = Vec::new();
        for file in 0..assembly.files.len() {
            files.push(self.join(&directory, &assembly, file).await?);
        }
        let manifest = assembly.manifest(&opening, files);
        self.write_manifest(&directory, &manifest).await?;
        let names: BTreeSet<&String> = manifest.files.iter().map(|file| &file.name).collect();
        let is_stale = |it: &&Listed| is_file(it) && !names.contains(&it.name);
        for stale in objects.iter().filter(is_stale) {
            self.bucket
                .delete(&format!("{directory}/{}", stale.name))
                .await?;
        }
        self.metrics.finished.inc();
        tracing::info!(
            recording = %id,
            livestream.id = manifest.livestream,
            seconds = manifest.seconds,
            clips = manifest.clips.len(),
            left_out = manifest.left_out.len(),
            missing = manifest.missing.len(),
            gaps = manifest.gaps.len(),
            "recording finished"
        );
        Ok(())
    }

    /// A clip's bytes.
    fn clip(
        &self,
        directory: &str,
        name: &str,
    ) -> impl Future<Output = Result<Bytes, BucketError>> + Send + use<> {
        let (bucket, path) = (self.bucket.clone(), format!("{directory}/clips/{name}"));
        async move {
            let clip = bucket.get(&path).await?;
            clip.ok_or(BucketError::Changed(path))
        }
    }

    /// Writes a file, clip by clip.
    async fn join(
        &self,
        directory: &str,
        assembly: &Assembly,
        file: usize,
    ) -> Result<RecordedFile, BucketError> {
        let path = format!("{directory}/{}", assembly.name(file));
        let mut writer = self.bucket.write(&path, None).await?;
        let mut checksum = Context::new(&SHA256);
        let mut bytes = 0;
        let write = async {
            let head = Bytes::from(assembly.files[file].head());
            let of = |clip: &RecordedClip| (clip.name.clone(), clip.sha256.clone());
            let clips: Vec<_> = assembly.clips_of(file).map(of).collect();
            // Made one after the other: a read that has not begun is larger than a name.
            let clips = stream::iter(clips).map(|(name, sum)| {
                let read = self.clip(directory, &name);
                async move { sound_of(&read.await?, &sum).ok_or(BucketError::Changed(name)) }
            });
            let parts = stream::iter([Ok(head)]).chain(clips.buffered(READS));
            let mut parts = std::pin::pin!(parts);
            while let Some(part) = parts.try_next().await? {
                checksum.update(&part);
                bytes += part.len() as u64;
                writer.add(part).await?;
            }
            writer.finish().await
        };
        if let Err(error) = write.await {
            if let Err(error) = writer.abort().await {
                tracing::debug!(%error, "the parts of a file stay in the bucket until its own lifecycle removes them");
            }
            return Err(error);
        }
        Ok(assembly.describe(file, bytes, hexadecimal(checksum.finish().as_ref())))
    }

    /// The first time only where there is none. Another node that was faster has written the same bytes, or joined other
    /// clips: the next round compares.
    async fn write_manifest(
        &self,
        directory: &str,
        manifest: &Manifest,
    ) -> Result<(), BucketError> {
        let path = format!("{directory}/{MANIFEST}");
        let text = manifest.encode();
        if self.bucket.create(&path, text.clone()).await? {
            return Ok(());
        }
        // Of the same clips, it stays as old as it is: its clips are deleted in time.
        if self.bucket.get(&path).await?.as_ref() == Some(&text) {
            return Ok(());
        }
        self.bucket.put(&path, text).await
    }

    async fn announce(&self, id: &RecordingId, found: &Found) -> Result<(), BucketError> {
        if let Some(manifest) = &found.manifest {
            (self.ready)(id, manifest);
            let path = format!("{}/{}", id.directory(), found.announced);
            self.bucket.put(&path, Bytes::new()).await?;
        }
        Ok(())
    }

    async fn sweep(&self, id: &RecordingId, found: &Found) -> Result<(), BucketError> {
        self.delete_clips(id, found).await?;
        if found.finished.as_ref().is_some_and(|it| it.is_unregistered) {
            tracing::error!(
                recording = %id,
                "a recording is never registered as a podcast: it was tried for a week; upload its file in the app instead"
            );
        }
        self.bucket.delete(&pending(id)).await
    }

    async fn delete_clips(&self, id: &RecordingId, found: &Found) -> Result<(), BucketError> {
        if let Some(manifest) = &found.manifest {
            let joined = manifest.clips.iter().map(|clip| &clip.name);
            let again = manifest
                .left_out
                .iter()
                .filter(|clip| clip.reason == SENT_AGAIN);
            let here = found.contents.names();
            let gone = joined.chain(again.map(|clip| &clip.name));
            let gone: Vec<String> = gone
                .filter(|name| here.contains(*name))
                .map(|name| format!("{}/clips/{name}", id.directory()))
                .collect();
            let deletes = stream::iter(gone).map(|path| {
                let bucket = self.bucket.clone();
                async move { bucket.delete(&path).await }
            });
            deletes.buffer_unordered(READS).try_collect::<()>().await?;
        }
        Ok(())
    }
}

/// Whether an object is a file of joined clips.
fn is_file(object: &Listed) -> bool {
    object.name.starts_with("recording")
}

/// The frames of a clip with this checksum, one after the other.
fn sound_of(clip: &Bytes, sum: &str) -> Option<Bytes> {
    let audio = media::read(clip).ok().filter(|_| sha256(clip) == sum)?;
    let mut sound = BytesMut::with_capacity(clip.len());
    for frame in JoinedFile::frames(audio) {
        sound.extend_from_slice(&frame);
    }
    Some(sound.freeze())
}

/// Milliseconds since the Unix epoch.
pub(super) fn now() -> u64 {
    unix_time::millis(SystemTime::now())
}

fn pending(id: &RecordingId) -> String {
    format!("{}/{id}", names::PENDING)
}
