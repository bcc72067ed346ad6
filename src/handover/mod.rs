//! State that one process leaves to the next. Across a restart: the livestreams, and their latest clips. Across a
//! crash: the same without clips, about a second old. Across both: the rights to return on an expired token.
//!
//! The livestreams are in systemd's runtime directory, which `RuntimeDirectoryPreserve=restart` preserves across a
//! restart, but not across a stop or a reboot. Their file is one line of JSON as its header, then the clips' bytes, one
//! after the other. The rights to return are a JSON file in the state directory, where there is one.
//!
//! **Invariant**: the livestreams' file is read at most once, and used only within the grace period. A malformed file
//! of either kind is ignored with a log line, and no part of it is used.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fs, iter};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Buf as _, Bytes};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::app::Directories;
use crate::broadcast::{ClipId, LivestreamId, NewClip, Position, RecordingState, Role, UserId};
use crate::files;
use crate::identity::{HandedOver, Identity, Return, TokenHash};
use crate::media::Place;
use crate::relay::{Relay, Snapshot};
use crate::unix_time::millis;

#[derive(Serialize, Deserialize)]
struct Header {
    /// Milliseconds since the Unix epoch.
    left_at: u64,
    livestreams: Vec<Left>,
}

#[derive(Serialize, Deserialize)]
struct Left {
    livestream: String,
    streamer: String,
    next_sequence: u64,
    /// The epoch of clips that the node alone numbers. A file of an older version has none.
    #[serde(default)]
    epoch: u64,
    /// The place of its latest clip on the timeline of players.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    place: Option<String>,
    /// Whether its clips are recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recording: Option<String>,
    /// The lengths of its latest clips in bytes.
    clips: Vec<usize>,
    /// Of each of these clips, what is not in its bytes. A file of an older version has none.
    #[serde(default)]
    about: Vec<LeftClip>,
    /// Of the latest clips, with their sequences. A file of an older version has none.
    #[serde(default)]
    clip_ids: Vec<(String, u64)>,
}

#[derive(Serialize, Deserialize)]
struct LeftClip {
    epoch: u64,
    sequence: u64,
    /// Milliseconds since the Unix epoch.
    sent_at: u64,
    id: Option<String>,
    /// Its place on the timeline of players.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    place: Option<String>,
}

fn encode_place(place: Place) -> String {
    BASE64.encode(place.encode())
}

/// None if it is of another version: players do not hear its clip again.
fn decode_place(place: &str) -> Option<Place> {
    Place::decode(&BASE64.decode(place).ok()?)
}

impl LeftClip {
    fn of(clip: &NewClip) -> Option<Self> {
        let Position { epoch, sequence } = clip.position?;
        Some(Self {
            epoch,
            sequence,
            sent_at: clip.sent_at,
            id: clip.id.as_ref().map(ToString::to_string),
            place: clip.place.map(encode_place),
        })
    }

    fn of_bytes(self, bytes: Bytes) -> NewClip {
        NewClip {
            bytes,
            id: self.id.as_deref().and_then(ClipId::new),
            sent_at: self.sent_at,
            position: Some(Position::new(self.epoch, self.sequence)),
            place: self.place.as_deref().and_then(decode_place),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Returns {
    /// Milliseconds since the Unix epoch.
    left_at: u64,
    returns: Vec<LeftReturn>,
}

#[derive(Serialize, Deserialize)]
struct LeftReturn {
    user: String,
    streamer: bool,
    livestream: String,
    /// The hash of the token.
    token: String,
    sockets: u32,
    /// Milliseconds.
    left: u64,
}

/// Reasons why a file cannot be written or used.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// It cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is not a file of this daemon.
    #[error("it is not a file of this daemon: {0}")]
    Malformed(&'static str),
}

/// The paths of the files; a file without a directory is not written.
#[derive(Debug, Clone, Default)]
pub struct Handover {
    /// The most bytes of clips in the livestreams' file.
    pub clip_bytes: usize,
    /// The livestreams.
    pub livestreams: Option<PathBuf>,
    /// The rights to return.
    pub returns: Option<PathBuf>,
}

impl Handover {
    /// The files in these directories. Livestreams do not outlive a reboot; rights to return are in the more lasting
    /// directory.
    pub fn in_directories(directories: &Directories, clip_bytes: usize) -> Self {
        let Directories { state, runtime } = directories;
        let lasting = state.as_deref().or(runtime.as_deref());
        Self {
            clip_bytes,
            livestreams: runtime.as_deref().map(path_in),
            returns: lasting.map(returns_in),
        }
    }

    /// Restores the state of the previous process.
    pub fn take_over(&self, relay: &Relay, identity: &Identity, grace: Duration) {
        let now = SystemTime::now();
        if let Some(path) = &self.returns {
            match take_returns(path, now) {
                Ok((returns, ago)) => identity.take_over(&returns, ago),
                Err(error) => tracing::warn!(%error, "the rights to return are lost"),
            }
        }
        if let Some(path) = &self.livestreams {
            match take(path, grace, now) {
                Ok(snapshots) => relay.restore(snapshots, Instant::now().into_std()),
                Err(error) => {
                    tracing::warn!(%error, "the livestreams of the previous process are lost");
                }
            }
        }
    }

    /// Writes the state for the next process.
    pub fn leave(&self, relay: &Relay, identity: &Identity) {
        let now = SystemTime::now();
        let returns = |path: &PathBuf| leave_returns(path, &identity.hand_over(), now);
        let livestreams = |path: &PathBuf| {
            let mut snapshots = relay.snapshot();
            let removed = shorten(&mut snapshots, self.clip_bytes);
            if removed > 0 {
                let limit = self.clip_bytes;
                tracing::info!(
                    removed,
                    limit,
                    "older clips are not written for the next process"
                );
            }
            leave(path, &snapshots, now).or_else(|error| {
                // A full disk: what a livestream continues with is small.
                tracing::warn!(%error, "the latest clips are not written for the next process");
                shorten(&mut snapshots, 0);
                leave(path, &snapshots, now)
            })
        };
        let left = [
            self.returns.as_ref().map(returns),
            self.livestreams.as_ref().map(livestreams),
        ];
        for error in left.into_iter().flatten().filter_map(Result::err) {
            tracing::warn!(%error, "some state is not written for the next process");
        }
    }
}

/// The path of the livestreams' file in a directory.
pub fn path_in(directory: &Path) -> PathBuf {
    directory.join("handover")
}

/// The path of the file with the rights to return.
pub fn returns_in(directory: &Path) -> PathBuf {
    directory.join("returns")
}

/// Writes the rights to return to `path`, readable by this user only.
pub fn leave_returns(
    path: &Path,
    returns: &[HandedOver],
    now: SystemTime,
) -> Result<(), HandoverError> {
    let left = |it: &HandedOver| LeftReturn {
        user: it.right.user.to_string(),
        streamer: it.right.role == Role::Streamer,
        livestream: it.right.livestream.to_string(),
        token: BASE64.encode(it.right.token.as_bytes()),
        sockets: it.sockets,
        left: u64::try_from(it.left.as_millis()).unwrap_or(u64::MAX),
    };
    let file = Returns {
        left_at: millis(now),
        returns: returns.iter().map(left).collect(),
    };
    // Strings and numbers: this cannot fail, and an empty file would be malformed.
    let bytes = serde_json::to_vec(&file).unwrap_or_default();
    Ok(files::replace(path, &bytes)?)
}

/// Reads the rights to return, and their age. The file stays, for a restart after a crash.
pub fn take_returns(
    path: &Path,
    now: SystemTime,
) -> Result<(Vec<HandedOver>, Duration), HandoverError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
        Err(error) => return Err(error.into()),
    };
    let malformed = HandoverError::Malformed;
    let Returns { left_at, returns } =
        serde_json::from_slice(&bytes).map_err(|_| malformed("unexpected JSON"))?;
    let left_at = UNIX_EPOCH.checked_add(Duration::from_millis(left_at));
    let left_at = left_at.ok_or(malformed("a time out of range"))?;
    let one = |left: LeftReturn| {
        let hash = BASE64.decode(&left.token).ok()?;
        let role = if left.streamer {
            Role::Streamer
        } else {
            Role::Listener
        };
        Some(HandedOver {
            right: Return {
                user: UserId::new(&left.user),
                role,
                livestream: LivestreamId::new(&left.livestream)?,
                token: TokenHash::from_bytes(hash.try_into().ok()?),
            },
            sockets: left.sockets,
            left: Duration::from_millis(left.left),
        })
    };
    let returns: Option<Vec<HandedOver>> = returns.into_iter().map(one).collect();
    let returns = returns.ok_or(malformed("an invalid id or hash"))?;
    Ok((returns, now.duration_since(left_at).unwrap_or_default()))
}

/// Keeps each livestream's latest clips that fit into its share of so many bytes. Returns how many it removed.
fn shorten(snapshots: &mut [Snapshot], clip_bytes: usize) -> usize {
    let share = clip_bytes / snapshots.len().max(1);
    let mut removed = 0;
    for Snapshot { clips, .. } in snapshots {
        let mut bytes = 0;
        let kept = clips.iter().rev().take_while(|clip| {
            bytes += clip.bytes.len();
            bytes <= share
        });
        let older = clips.len() - kept.count();
        clips.drain(..older);
        removed += older;
    }
    removed
}

/// Writes `snapshots` to `path`, readable by this user only.
pub fn leave(path: &Path, snapshots: &[Snapshot], now: SystemTime) -> Result<(), HandoverError> {
    let parts = encode(snapshots, now);
    Ok(files::replace_by_parts(
        path,
        parts.iter().map(|part| &part[..]),
    )?)
}

/// Writes the livestreams without their clips, for the next process after a crash; without a livestream, removes the
/// file.
pub fn note(
    path: &Path,
    mut snapshots: Vec<Snapshot>,
    now: SystemTime,
) -> Result<(), HandoverError> {
    if snapshots.is_empty() {
        return match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        };
    }
    for snapshot in &mut snapshots {
        snapshot.clips.clear();
    }
    leave(path, &snapshots, now)
}

/// Reads the snapshots at `path`, none if they are older than `within`, and removes the file.
pub fn take(
    path: &Path,
    within: Duration,
    now: SystemTime,
) -> Result<Vec<Snapshot>, HandoverError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    fs::remove_file(path)?;
    let (left_at, snapshots) = decode(bytes.into())?;
    let age = now.duration_since(left_at).unwrap_or_default();
    Ok(if age <= within { snapshots } else { Vec::new() })
}

/// The parts of the file: its header, then each clip, which is not copied.
fn encode(snapshots: &[Snapshot], now: SystemTime) -> Vec<Bytes> {
    let left = |snapshot: &Snapshot| Left {
        livestream: snapshot.livestream.to_string(),
        streamer: snapshot.streamer.to_string(),
        next_sequence: snapshot.next_sequence,
        epoch: snapshot.epoch,
        place: snapshot.place.map(encode_place),
        recording: snapshot.recording.map(|it| it.to_string()),
        clips: snapshot.clips.iter().map(|clip| clip.bytes.len()).collect(),
        about: snapshot.clips.iter().filter_map(LeftClip::of).collect(),
        clip_ids: snapshot
            .clip_ids
            .iter()
            .map(|(id, sequence)| (id.as_str().to_owned(), *sequence))
            .collect(),
    };
    let header = Header {
        left_at: millis(now),
        livestreams: snapshots.iter().map(left).collect(),
    };
    // Strings and numbers: this cannot fail, and an empty file would be malformed.
    let mut header = serde_json::to_vec(&header).unwrap_or_default();
    header.push(b'\n');
    let clips = snapshots.iter().flat_map(|snapshot| &snapshot.clips);
    let clips = clips.map(|clip| clip.bytes.clone());
    iter::once(header.into()).chain(clips).collect()
}

/// Decodes a file of [`leave`]: its time and its snapshots.
pub fn decode(mut bytes: Bytes) -> Result<(SystemTime, Vec<Snapshot>), HandoverError> {
    let malformed = HandoverError::Malformed;
    let end = bytes
        .iter()
        .position(|byte| *byte == b'\n')
        .ok_or(malformed("no header"))?;
    let header: Header = serde_json::from_slice(&bytes[..end])
        .map_err(|_| malformed("unexpected JSON in the header"))?;
    bytes.advance(end + 1);
    let mut snapshots = Vec::new();
    for left in header.livestreams {
        let livestream = LivestreamId::new(&left.livestream).ok_or(malformed("an invalid id"))?;
        let mut clips = Vec::new();
        let mut about = left.about.into_iter();
        for length in left.clips {
            if length > bytes.len() {
                return Err(malformed("a truncated clip"));
            }
            let clip = bytes.split_to(length);
            clips.push(match about.next() {
                Some(about) => about.of_bytes(clip),
                None => clip.into(),
            });
        }
        let streamer = UserId::new(&left.streamer);
        let id = |(id, sequence): (String, u64)| Some((ClipId::new(&id)?, sequence));
        let clip_ids: Option<Vec<_>> = left.clip_ids.into_iter().map(id).collect();
        let clip_ids = clip_ids.ok_or(malformed("an invalid id of a clip"))?;
        snapshots.push(Snapshot {
            livestream,
            streamer,
            next_sequence: left.next_sequence,
            epoch: left.epoch,
            place: left.place.as_deref().and_then(decode_place),
            recording: left.recording.as_deref().and_then(RecordingState::parse),
            clips,
            clip_ids,
        });
    }
    if !bytes.is_empty() {
        return Err(malformed("bytes after the last clip"));
    }
    let left_at = UNIX_EPOCH.checked_add(Duration::from_millis(header.left_at));
    Ok((left_at.ok_or(malformed("a time out of range"))?, snapshots))
}

#[cfg(test)]
mod tests;
