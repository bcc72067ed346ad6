//! The model of a livestream: ids, clips, epoch, history, lifecycle and ownership. Pure: no tokio, no clock (`now` is
//! passed), no log.

mod clip;
mod history;
mod livestream;
mod names;
pub mod ownership;

pub use clip::Clip;
pub use history::History;
pub use livestream::{
    Epoch, ListenerId, Livestream, LivestreamError, LivestreamLimits, Loss, RemoteState, Started,
    State,
};
pub use names::{LivestreamId, Role, UserId};
