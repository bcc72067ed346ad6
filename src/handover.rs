//! State that one process leaves to the next. Across a restart: the livestreams, and their latest clips. Across a
//! crash: the same without clips, about a second old. Across both: the rights to return on an expired token.
//!
//! The livestreams are in systemd's runtime directory, which `RuntimeDirectoryPreserve=restart` preserves across a
//! restart, but not across a stop or a reboot. Their file is one line of JSON as its header, then the clips' bytes, one
//! after the other. The rights to return are a JSON file in the state directory, where there is one.
//!
//! **Invariant**: the livestreams' file is read at most once, and used only within the grace period. A malformed file
//! of either kind is ignored with a log line, and no part of it is used.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Buf as _, Bytes};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::app::Directories;
use crate::broadcast::{ClipId, LivestreamId, Role, UserId};
use crate::identity::{HandedOver, Identity, Return, TokenHash};
use crate::relay::{Relay, Snapshot};

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
    clips: Vec<usize>,
    /// Of the latest clips, with their sequences. A file of an older version has none.
    #[serde(default)]
    clip_ids: Vec<(String, u64)>,
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
    /// The livestreams.
    pub livestreams: Option<PathBuf>,
    /// The rights to return.
    pub returns: Option<PathBuf>,
}

impl Handover {
    /// The files in these directories. Livestreams do not outlive a reboot; rights to return are in the more lasting
    /// directory.
    pub fn in_directories(directories: &Directories) -> Self {
        let Directories { state, runtime } = directories;
        let lasting = state.as_deref().or(runtime.as_deref());
        Self {
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
        let livestreams = |path: &PathBuf| leave(path, &relay.snapshot(), now);
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
    write(path, &serde_json::to_vec(&file).unwrap_or_default())
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

/// Writes `snapshots` to `path`, readable by this user only.
pub fn leave(path: &Path, snapshots: &[Snapshot], now: SystemTime) -> Result<(), HandoverError> {
    write(path, &encode(snapshots, now))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), HandoverError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn millis(now: SystemTime) -> u64 {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
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

fn encode(snapshots: &[Snapshot], now: SystemTime) -> Vec<u8> {
    let left = |snapshot: &Snapshot| Left {
        livestream: snapshot.livestream.to_string(),
        streamer: snapshot.streamer.to_string(),
        next_sequence: snapshot.next_sequence,
        clips: snapshot.clips.iter().map(Bytes::len).collect(),
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
    let mut bytes = serde_json::to_vec(&header).unwrap_or_default();
    bytes.push(b'\n');
    for clip in snapshots.iter().flat_map(|snapshot| &snapshot.clips) {
        bytes.extend_from_slice(clip);
    }
    bytes
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
        for length in left.clips {
            if length > bytes.len() {
                return Err(malformed("a truncated clip"));
            }
            clips.push(bytes.split_to(length));
        }
        let streamer = UserId::new(&left.streamer);
        let id = |(id, sequence): (String, u64)| Some((ClipId::new(&id)?, sequence));
        let clip_ids: Option<Vec<_>> = left.clip_ids.into_iter().map(id).collect();
        let clip_ids = clip_ids.ok_or(malformed("an invalid id of a clip"))?;
        snapshots.push(Snapshot {
            livestream,
            streamer,
            next_sequence: left.next_sequence,
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn snapshots() -> impl Strategy<Value = Vec<Snapshot>> {
        let clips = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..3);
        let ids = prop::collection::vec(("\\PC{1,64}", any::<u64>()), 0..3);
        let one = ("[a-z]{1,8}", "\\PC{1,8}", 1..1000_u64, clips, ids).prop_map(
            |(id, user, next, clips, ids)| {
                let id_of = |(id, sequence): (String, u64)| (ClipId::new(&id).unwrap(), sequence);
                Snapshot {
                    livestream: LivestreamId::new(&id).unwrap(),
                    streamer: UserId::new(&user),
                    next_sequence: next,
                    clips: clips.into_iter().map(Bytes::from).collect(),
                    clip_ids: ids.into_iter().map(id_of).collect(),
                }
            },
        );
        prop::collection::vec(one, 0..4)
    }

    fn text_of(snapshots: &[Snapshot]) -> String {
        format!("{snapshots:?}")
    }

    proptest! {
        #[test]
        fn snapshots_are_taken_as_they_were_left(snapshots in snapshots()) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("handover");
            let now = SystemTime::now();
            leave(&path, &snapshots, now).unwrap();
            let taken = take(&path, Duration::from_secs(30), now).unwrap();
            prop_assert_eq!(text_of(&taken), text_of(&snapshots));
            prop_assert!(take(&path, Duration::from_secs(30), now).unwrap().is_empty(), "once");
        }

        #[test]
        fn decode_of_junk_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            decode(bytes.into()).ok();
        }

        #[test]
        fn truncated_file_is_refused(snapshots in snapshots(), cut in 0.0..1.0_f64) {
            let whole = encode(&snapshots, SystemTime::now());
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "an offset in a small file")]
            let cut = (whole.len() as f64 * cut) as usize;
            prop_assert!(decode(Bytes::from(whole).slice(..cut)).is_err());
        }
    }

    #[test]
    fn returns_are_taken_as_they_were_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = returns_in(directory.path());
        let now = SystemTime::now();
        assert_eq!(take_returns(&path, now).unwrap().0, []);
        let of = |role| HandedOver {
            right: Return {
                user: UserId::new("ada \"é\""),
                role,
                livestream: LivestreamId::new("x").unwrap(),
                token: TokenHash::of("token"),
            },
            sockets: 2,
            left: Duration::from_millis(1234),
        };
        let left = [of(Role::Streamer), of(Role::Listener)];
        leave_returns(&path, &left, now).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("\"token\":\"token"), "{text}");
        let (taken, ago) = take_returns(&path, now + Duration::from_secs(3)).unwrap();
        assert_eq!(taken, left);
        assert!(ago.abs_diff(Duration::from_secs(3)) < Duration::from_millis(2));
        fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert!(take_returns(&path, now).is_err());
    }

    #[test]
    fn snapshots_older_than_the_grace_period_are_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("handover");
        let snapshot = Snapshot {
            livestream: LivestreamId::new("x").unwrap(),
            streamer: UserId::new("streamer"),
            next_sequence: 2,
            clips: vec![Bytes::from_static(b"clip")],
            clip_ids: Vec::new(),
        };
        let now = SystemTime::now();
        leave(&path, &[snapshot], now).unwrap();
        let taken = take(&path, Duration::from_secs(30), now + Duration::from_mins(1)).unwrap();
        assert!(taken.is_empty());
        assert!(!path.exists());
    }

    #[test]
    fn handover_of_an_older_version_has_no_ids() {
        let header = r#"{"left_at":0,"livestreams":[{"livestream":"x","streamer":"ada","next_sequence":2,"clips":[4]}]}"#;
        let file = format!("{header}\nclip");
        let (_, snapshots) = decode(file.into()).unwrap();
        assert_eq!(snapshots[0].clip_ids, []);
        assert_eq!(snapshots[0].clips, [Bytes::from_static(b"clip")]);
    }
}
