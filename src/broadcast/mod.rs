//! What a livestream is: names, clips, the lease, the backlog and the livestream's life. Pure: no tokio, no clock
//! (`now` is passed), no log.

mod backlog;
mod clip;
mod livestream;
mod names;
pub mod ownership;

pub use backlog::Backlog;
pub use clip::Clip;
pub use livestream::{Bounds, Lease, Livestream, Loss, Place, Refused, Started, State, Word};
pub use names::{LivestreamId, Role, UserId};
