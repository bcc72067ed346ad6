//! What a livestream is: names, clips, the lease, the backlog and the livestream's life. Pure: no tokio, no clock
//! (`now` is passed), no log.

mod names;

pub use names::{LivestreamId, Role, UserId};
