//! Our own TCP and WebSocket IO under the Socket.IO library: the one place that knows a client's connection.
//!
//! The library serves each WebSocket with tasks and copies of its own: fine for words, dear for clips. So a clip's two
//! frames are made once ([`ClipFrame`]) and written by whoever fans it out, straight to each connection's socket, in
//! between the library's own frames ([`SendQueue`]); the library never sees it.
//!
//! ```text
//! ClientListener ─▶ Connection ◀─ HttpIo ◀─ axum          a request, a poll
//!                     ▲    ▲  ◀─ WebSocketIo ◀─ library   words: success, error, ping …
//!                     │    └──── Outbox ◀─ relay          clips
//!                  Session: the same listener across polling and WebSocket
//! ```

mod address;
mod backpressure;
mod connection;
mod connections;
mod frame;
mod io;
mod listener;
mod outbox;
mod patience;
mod queue;
mod session;

pub use address::client_address;
pub use backpressure::{Backpressure, READ_AT_ONCE, answers_in};
pub use connection::Connection;
pub use connections::{ConnectionLimits, Connections, TooMany};
pub use frame::ClipFrame;
pub use io::{HttpIo, Upgrade, WebSocketIo};
pub use listener::{ClientListener, SocketOptions, Via, bind};
pub use outbox::{Emission, Emit, Outbox};
pub use patience::{Overdue, Patience};
pub use queue::{Mark, QueueBounds, SLICES, SendQueue, Sent};
pub use session::{Occupancy, Session, Sessions, Tether};
