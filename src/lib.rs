//! The Castaway media server: a podcast host's clips, at once, to every listener of the livestream.
//!
//! The house, imports point down only:
//!
//! | floor | rooms |
//! |---|---|
//! | 4 | [`app`] puts it together · [`lifecycle`] signals, readiness, watchdog · [`telemetry`] · [`cli`] · [`demo`] · [`handover`] · `housekeeping` |
//! | 3 | [`socket`] Socket.IO: handshake, streamer, listener · [`http`] health, metrics, the pages |
//! | 2 | [`relay`] the one place where the parts meet |
//! | 1 | [`transport`] our IO under Socket.IO · [`identity`] who is it · [`directory`] which livestreams exist · [`google`] the outbound client · [`limits`] upload quotas · [`cluster`] other nodes |
//! | 0 | [`broadcast`] the life of a livestream, pure · [`config`] every key · [`metrics`] every figure |
//!
//! **A clip's way**: `socket::streamer` takes `upload` as one `Bytes`, never copied → [`relay::Relay::upload`] asks the
//! quota ([`limits::UploadQuota`]) and, under the livestream's lock, stamps the sequence
//! ([`broadcast::Livestream::upload`]), makes the clip's two WebSocket frames once ([`transport::ClipFrame`]) and pushes
//! them to every listener's [`transport::Outbox`] → outside the lock tasks write each outbox's connection, one vectored
//! write for a healthy listener → the ack.
//!
//! **A join's way**: `socket::entry` upgrades the request and hands our own IO ([`transport::WebSocketIo`]) to the
//! Socket.IO library → the namespace's middleware (`socket::handshake`) checks token ([`identity::Identity`]) and
//! livestream ([`relay::Relay::is_started`], or [`directory::Directory`]) → [`relay::Relay::join`] puts the latest clip
//! into a shut outbox → CONNECT, `success`, and the outbox opens.
//!
//! **A clip's way to other nodes**, where there are any: [`relay::Relay::upload`] also queues it in the livestream's
//! [`cluster::Link`] → its task publishes it → on each node that follows the livestream, its task hands it to
//! [`relay::Relay::accept_remote_clip`], and from there it goes as if it had been uploaded there. The ack waits for the publication.

pub mod app;
pub mod broadcast;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod demo;
pub mod directory;
pub mod google;
pub mod handover;
mod housekeeping;
pub mod http;
pub mod identity;
pub mod lifecycle;
pub mod limits;
pub mod metrics;
pub mod preflight;
mod recheck;
pub mod relay;
pub mod socket;
pub mod socket_activation;
pub mod telemetry;
pub mod transport;
