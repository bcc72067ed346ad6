//! Bans: users and livestreams that an operator keeps out.
//!
//! They are in memory, and in one file of the state directory, which is written before a ban or its end takes effect: so
//! what an operator was told holds after a crash, too.
//!
//! Each subject has one *change*: its latest ban, or the removal of it, with a *version* that is higher than all before.
//! Bans that were removed or are over are kept as well, so that a node of a cluster that was away does not bring an
//! older ban back.
//!
//! **Invariant**: the file holds what memory holds, but for bans of other nodes that are being written. A file that cannot be read is never overwritten. There are at most
//! `api.max_bans` bans that hold, and twice as many changes: the oldest of those that do not hold are forgotten first.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::{Mutex, RwLock};
use prometheus::{IntCounter, IntGaugeVec};
use serde::{Deserialize, Serialize};

use crate::broadcast::{LivestreamId, UserId};
use crate::files;
use crate::metrics::Metrics;
use crate::unix_time::millis;

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

/// The latest change of a subject's ban.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Who or what is or was banned.
    pub subject: Subject,
    /// Higher than that of every change before, of any subject.
    pub version: u64,
    /// The ban; none: it was removed.
    pub ban: Option<Ban>,
}

impl Change {
    /// Whether it is a ban that is not over.
    pub fn holds(&self, now: SystemTime) -> bool {
        self.ban.as_ref().is_some_and(|ban| !ban.is_over(now))
    }
}

/// See the module; cheap to clone.
#[derive(Clone)]
pub struct Bans(Arc<Inner>);

struct Inner {
    max: usize,
    // None: they end with the process.
    path: Option<PathBuf>,
    gauge: IntGaugeVec,
    errors: IntCounter,
    /// Held while a change is written, so that writes do not overtake each other.
    writing: Mutex<()>,
    // Read at every upload, and written rarely.
    changes: RwLock<Changes>,
}

type Changes = HashMap<Subject, Change>;

impl Bans {
    /// The bans in the file of this directory. Without a directory they end with the process.
    pub fn open(directory: Option<&Path>, max: usize, metrics: &Metrics) -> Self {
        let mut path = directory.map(|directory| directory.join("bans"));
        let read = path.as_deref().map_or(Ok(HashMap::new()), read);
        let changes = read.unwrap_or_else(|error| {
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
            errors: metrics.state_file_errors.clone(),
            writing: Mutex::default(),
            changes: RwLock::new(changes),
        }));
        opened.count(SystemTime::now());
        opened
    }

    /// The banned one of a user, where there is one, and a livestream.
    pub fn find(
        &self,
        user: Option<&UserId>,
        livestream: &LivestreamId,
        now: SystemTime,
    ) -> Option<Subject> {
        let changes = self.0.changes.read();
        if changes.is_empty() {
            return None;
        }
        let user = user.map(|user| Subject::User(user.as_str().to_owned()));
        let livestream = Subject::Livestream(livestream.as_str().to_owned());
        let holds = |subject: &Subject| changes.get(subject).is_some_and(|it| it.holds(now));
        user.into_iter().chain([livestream]).find(holds)
    }

    /// The ban of a subject.
    pub fn get(&self, subject: &Subject, now: SystemTime) -> Option<Ban> {
        let changes = self.0.changes.read();
        let change = changes.get(subject).filter(|it| it.holds(now))?;
        change.ban.clone()
    }

    /// All bans, by kind and id.
    pub fn all(&self, now: SystemTime) -> Vec<(Subject, Ban)> {
        let changes = self.0.changes.read();
        let holding = changes.values().filter(|change| change.holds(now));
        let pair = |change: &Change| Some((change.subject.clone(), change.ban.clone()?));
        let mut all: Vec<_> = holding.filter_map(pair).collect();
        all.sort_by(|(left, _), (right, _)| left.cmp(right));
        all
    }

    /// The highest version.
    pub fn latest_version(&self) -> u64 {
        latest(&self.0.changes.read())
    }

    /// All changes, also those that do not hold.
    pub fn changes(&self) -> Vec<Change> {
        self.0.changes.read().values().cloned().collect()
    }

    /// Changes the ban of a subject, or with none removes it. The change has this version, or a higher one that is above
    /// all others. Blocks until it is written. Returns the change; none if there was no ban to remove.
    pub fn set(
        &self,
        subject: Subject,
        ban: Option<Ban>,
        version: u64,
        now: SystemTime,
    ) -> Result<Option<(Change, bool)>, BanError> {
        let max = self.0.max;
        let _writing = self.0.writing.lock();
        let mut changed = self.0.changes.read().clone();
        let was_banned = changed.get(&subject).is_some_and(|it| it.holds(now));
        if ban.is_none() && !was_banned {
            return Ok(None);
        }
        let holding = changed.values().filter(|change| change.holds(now)).count();
        if ban.is_some() && !was_banned && holding >= max {
            return Err(BanError::Full(max));
        }
        let change = Change {
            subject: subject.clone(),
            version: version.max(latest(&changed) + 1),
            ban,
        };
        changed.insert(subject, change.clone());
        trim(&mut changed, max, now);
        if let Some(path) = &self.0.path {
            write(path, &changed)?;
        }
        *self.0.changes.write() = changed;
        self.count(now);
        Ok(Some((change, was_banned)))
    }

    /// Takes over changes of other nodes, as the ones that count. They hold at once, and are written then; if that fails,
    /// they hold until a restart.
    pub fn adopt(&self, newer: Vec<Change>, now: SystemTime) {
        let _writing = self.0.writing.lock();
        let mut changed = self.0.changes.read().clone();
        for change in newer {
            changed.insert(change.subject.clone(), change);
        }
        if trim(&mut changed, self.0.max, now) {
            tracing::error!(
                "the other nodes have more bans than fit here, and the oldest do not hold on this node: give all nodes \
                 the same api.max_bans"
            );
        }
        self.0.changes.write().clone_from(&changed);
        self.count(now);
        if let Some(path) = &self.0.path
            && let Err(error) = write(path, &changed)
        {
            self.0.errors.inc();
            tracing::error!(
                "bans of other nodes cannot be written, they hold until a restart: {error}; see to the state directory"
            );
        }
    }

    /// Sets the metric.
    pub fn count(&self, now: SystemTime) {
        let changes = self.0.changes.read();
        for kind in [USER, LIVESTREAM] {
            let holding = changes.values().filter(|change| change.holds(now));
            let count = holding.filter(|change| change.subject.kind() == kind);
            let gauge = self.0.gauge.with_label_values(&[kind]);
            gauge.set(i64::try_from(count.count()).unwrap_or(i64::MAX));
        }
    }
}

fn latest(changes: &Changes) -> u64 {
    let versions = changes.values().map(|change| change.version);
    versions.max().unwrap_or(0)
}

/// Forgets the changes beyond the bound. Returns whether one of them held.
fn trim(changes: &mut Changes, max: usize, now: SystemTime) -> bool {
    let Some(beyond) = changes.len().checked_sub(max.saturating_mul(2)) else {
        return false;
    };
    let mut order: Vec<_> = changes
        .values()
        .map(|change| (change.holds(now), change.version, change.subject.clone()))
        .collect();
    order.sort();
    let mut held = false;
    for (holds, _, subject) in order.into_iter().take(beyond) {
        changes.remove(&subject);
        held |= holds;
    }
    held
}

fn read(path: &Path) -> io::Result<Changes> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(error) => return Err(error),
    };
    let changes: Vec<Change> = serde_json::from_slice(&bytes)?;
    let pairs = changes
        .into_iter()
        .map(|change| (change.subject.clone(), change));
    Ok(pairs.collect())
}

fn write(path: &Path, changes: &Changes) -> io::Result<()> {
    let changes: Vec<&Change> = changes.values().collect();
    files::replace(path, &serde_json::to_vec(&changes)?)
}

#[cfg(test)]
mod tests;
