//! What clients are told of a livestream.

use super::{ActiveLivestream, Relay, lock};
use crate::broadcast::{LivestreamId, State};

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Its state.
    pub state: State,
    /// Listeners on all nodes.
    pub listeners: usize,
    /// Whether its clips are recorded.
    pub is_recorded: bool,
}

impl Standing {
    /// Of a livestream that is over, or that this node does not know.
    pub const ENDED: Self = Self {
        state: State::Ended,
        listeners: 0,
        is_recorded: false,
    };
}

impl Relay {
    /// What clients are told of a livestream now.
    pub fn standing(&self, id: &LivestreamId) -> Standing {
        let found = self.find(id);
        found.map_or(Standing::ENDED, |active| lock(&active).standing())
    }
}

impl ActiveLivestream {
    pub(super) fn standing(&self) -> Standing {
        let state = self.livestream.state();
        Standing {
            state,
            listeners: self.count(),
            is_recorded: state.is_started() && self.recording.state.is_on(),
        }
    }
}
