//! The model of a livestream: ids, clips, epoch, history, lifecycle, ownership, and the order of other nodes' clips.
//! Pure: no tokio, no clock (`now` is passed), no log.

mod clip;
mod clip_ids;
mod flag;
mod follower;
mod history;
mod livestream;
mod names;
pub mod ownership;
mod position;
mod record;
mod recording;
mod state;

pub use clip::{Clip, NewClip};
pub use clip_ids::ClipIds;
pub use flag::{FlagOwner, streamer_connected};
pub use follower::{Follower, Verdict};
pub use history::{History, is_local, local_epoch};
pub use livestream::{
    Epoch, ListenerId, Livestream, LivestreamError, LivestreamLimits, Loss, Started,
};
pub use names::{ClipId, LivestreamId, Role, UserId};
pub use position::Position;
pub use record::Record;
pub use recording::{LeftOutSpan, RecordingState};
pub use state::State;
