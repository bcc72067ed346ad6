//! The server's own TCP and WebSocket IO under the Socket.IO library: the only module that knows a client's connection.
//!
//! The library serves each WebSocket with tasks and copies of its own, which is cheap for small packets and expensive
//! for clips. So a clip's two frames are encoded once ([`ClipFrame`]). The fan-out writes them directly to each
//! connection's socket, between the library's own frames ([`SendQueue`]). The library never sees them.
//!
//! ```text
//! TcpAcceptor ─▶ Connection ◀─ HttpIo ◀─ axum          a request, a poll
//!                     ▲    ▲  ◀─ WebSocketIo ◀─ library   packets: success, error, ping …
//!                     │    └──── Outbox ◀─ relay          clips
//!                  Session: heartbeat, and the same client across polling and WebSocket
//! ```

mod activity;
mod address;
mod backpressure;
mod clip_message;
mod closing;
mod connection;
mod connections;
mod deadlines;
mod frame;
mod greeting;
mod heartbeat;
mod inbound;
mod io;
mod mark;
#[cfg(test)]
mod models;
mod open;
mod outbox;
mod probe;
mod queue;
mod registry;
mod seldom;
mod sent;
mod session;
mod sessions;
mod shared;
mod socket_options;
#[cfg(test)]
mod sweeps;
mod sync;
mod tcp_acceptor;
mod timeouts;

pub use activity::Activity;
pub use address::{client_address, counted_address};
pub use backpressure::{Backpressure, READ_AT_ONCE, answers_in};
pub use clip_message::{About, ClipEvent, Gap, LISTENER};
pub use connection::Connection;
pub use connections::Connections;
pub use frame::{ClipFrame, event_frame};
pub use greeting::Greeting;
pub use heartbeat::HeartbeatTimes;
pub use io::{HttpIo, WebSocketIo};
pub use mark::Mark;
pub use open::{NEVER, corrected as corrected_open};
pub use outbox::{Emission, Emit, Outbox};
pub use probe::prove;
pub use queue::{QueueBounds, SLICES, SendQueue};
pub use registry::{Evict, SessionLimits};
pub use sent::Sent;
pub use session::{Member, Occupancy, Posting, Session, Turn, Unread};
pub use sessions::{Client, Sessions};
pub use shared::{ConnectionLimits, Shared, TooMany};
pub use socket_options::{SocketOptions, bind};
pub use tcp_acceptor::{RequestConnection, TcpAcceptor};
pub use timeouts::{Overdue, Timeouts};
