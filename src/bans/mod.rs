//! Bans: users and livestreams that an operator keeps out.
//!
//! They are in memory, and in one file of the state directory, which is written before a ban or its end takes effect: so
//! what an operator was told holds after a crash, too.
//!
//! **Invariant**: the file holds what memory holds. A file that cannot be read is never overwritten.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, RwLock};
use prometheus::IntGaugeVec;
use serde::{Deserialize, Serialize};

use crate::broadcast::{LivestreamId, UserId};
use crate::metrics::Metrics;

/// The longest reason, in bytes.
pub const MAX_REASON: usize = 1_000;

/// Who or what is banned.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A user, in both roles, in every livestream.
    User(String),
    /// A livestream, for everybody.
    Livestream(String),
}

impl Subject {
    /// The kind, as in the API and in the metric.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::User(_) => USER,
            Self::Livestream(_) => LIVESTREAM,
        }
    }

    /// The id.
    pub fn id(&self) -> &str {
        match self {
            Self::User(id) | Self::Livestream(id) => id,
        }
    }
}

const USER: &str = "user";
const LIVESTREAM: &str = "livestream";

/// A ban.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// Its end, in milliseconds since the Unix epoch; none: until it is removed.
    pub until: Option<u64>,
    /// For operators; clients do not see it.
    pub reason: String,
}

impl Ban {
    fn is_over(&self, now: SystemTime) -> bool {
        self.until.is_some_and(|until| until <= millis(now))
    }
}

/// Reasons why a ban, or its end, does not take effect.
#[derive(Debug, thiserror::Error)]
pub enum BanError {
    /// The number of bans is at its limit.
    #[error("there are {0} bans already, the limit api.max_bans: remove some, or raise it")]
    Full(usize),
    /// It cannot be written.
    #[error("the bans cannot be written, so nothing is changed: {0}; see to the state directory")]
    Io(#[from] io::Error),
}

#[derive(Serialize, Deserialize)]
struct Entry {
    subject: Subject,
    #[serde(flatten)]
    ban: Ban,
}

/// See the module; cheap to clone.
#[derive(Clone)]
pub struct Bans(Arc<Inner>);

struct Inner {
    max: usize,
    // None: they end with the process.
    path: Option<PathBuf>,
    gauge: IntGaugeVec,
    /// Held while a change is written, so that writes do not overtake each other.
    writing: Mutex<()>,
    // Read at every upload, and written rarely.
    bans: RwLock<HashMap<Subject, Ban>>,
}

impl Bans {
    /// The bans in the file of this directory. Without a directory they end with the process.
    pub fn open(directory: Option<&Path>, max: usize, metrics: &Metrics) -> Self {
        let mut path = directory.map(|directory| directory.join("bans"));
        let read = path.as_deref().map_or(Ok(HashMap::new()), read);
        let bans = read.unwrap_or_else(|error| {
            metrics.state_file_errors.inc();
            let named = path.take().unwrap_or_default();
            tracing::error!(
                "no ban holds, and bans are not kept: {} cannot be read: {error}; mend or remove it, and restart",
                named.display()
            );
            HashMap::new()
        });
        let opened = Self(Arc::new(Inner {
            max,
            path,
            gauge: metrics.bans.clone(),
            writing: Mutex::default(),
            bans: RwLock::new(bans),
        }));
        opened.sweep(SystemTime::now());
        opened
    }

    /// The banned one of a user, where there is one, and a livestream.
    pub fn find(
        &self,
        user: Option<&UserId>,
        livestream: &LivestreamId,
        now: SystemTime,
    ) -> Option<Subject> {
        let bans = self.0.bans.read();
        if bans.is_empty() {
            return None;
        }
        let user = user.map(|user| Subject::User(user.as_str().to_owned()));
        let livestream = Subject::Livestream(livestream.as_str().to_owned());
        let holds = |subject: &Subject| bans.get(subject).is_some_and(|ban| !ban.is_over(now));
        user.into_iter().chain([livestream]).find(holds)
    }

    /// The ban of a subject.
    pub fn get(&self, subject: &Subject, now: SystemTime) -> Option<Ban> {
        let bans = self.0.bans.read();
        bans.get(subject).filter(|ban| !ban.is_over(now)).cloned()
    }

    /// All bans, by kind and id.
    pub fn all(&self, now: SystemTime) -> Vec<(Subject, Ban)> {
        let bans = self.0.bans.read();
        let holding = bans.iter().filter(|(_, ban)| !ban.is_over(now));
        let mut all: Vec<_> = holding
            .map(|(subject, ban)| (subject.clone(), ban.clone()))
            .collect();
        all.sort_by(|(left, _), (right, _)| left.cmp(right));
        all
    }

    /// Bans a subject, or changes its ban. Blocks until it is written. False if it was banned before.
    pub fn put(&self, subject: Subject, ban: Ban, now: SystemTime) -> Result<bool, BanError> {
        let max = self.0.max;
        self.change(now, |bans| {
            if bans.len() >= max && !bans.contains_key(&subject) {
                return Err(BanError::Full(max));
            }
            Ok(bans.insert(subject, ban).is_none())
        })
    }

    /// Removes a ban. Blocks until that is written. False if there was none.
    pub fn remove(&self, subject: &Subject, now: SystemTime) -> Result<bool, BanError> {
        self.change(now, |bans| Ok(bans.remove(subject).is_some()))
    }

    /// Forgets bans that are over.
    pub fn sweep(&self, now: SystemTime) {
        self.0.bans.write().retain(|_, ban| !ban.is_over(now));
        self.count();
    }

    fn change(
        &self,
        now: SystemTime,
        change: impl FnOnce(&mut HashMap<Subject, Ban>) -> Result<bool, BanError>,
    ) -> Result<bool, BanError> {
        let _writing = self.0.writing.lock();
        let mut changed = self.0.bans.read().clone();
        changed.retain(|_, ban| !ban.is_over(now));
        let outcome = change(&mut changed)?;
        if let Some(path) = &self.0.path {
            write(path, &changed)?;
        }
        *self.0.bans.write() = changed;
        self.count();
        Ok(outcome)
    }

    fn count(&self) {
        let bans = self.0.bans.read();
        for kind in [USER, LIVESTREAM] {
            let count = bans.keys().filter(|subject| subject.kind() == kind).count();
            let gauge = self.0.gauge.with_label_values(&[kind]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

fn read(path: &Path) -> io::Result<HashMap<Subject, Ban>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(error) => return Err(error),
    };
    let entries: Vec<Entry> = serde_json::from_slice(&bytes)?;
    let pairs = entries.into_iter().map(|entry| (entry.subject, entry.ban));
    Ok(pairs.collect())
}

fn write(path: &Path, bans: &HashMap<Subject, Ban>) -> io::Result<()> {
    let entries = bans.iter().map(|(subject, ban)| Entry {
        subject: subject.clone(),
        ban: ban.clone(),
    });
    let entries: Vec<Entry> = entries.collect();
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(&serde_json::to_vec(&entries)?)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    // The name, too, is on the disk before the operator is answered.
    fs::File::open(directory)?.sync_all()
}

/// Milliseconds since the Unix epoch.
pub fn millis(time: SystemTime) -> u64 {
    let since: Duration = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
