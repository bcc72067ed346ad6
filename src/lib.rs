//! The Castaway media server: relays a streamer's clips, at once, to every listener of the livestream.
//!
//! The modules by floor; imports point down only:
//!
//! - 4: [`app`] builds the daemon · [`lifecycle`] signals, readiness, watchdog · [`telemetry`] · [`cli`] · [`ctl`] · [`demo`] ·
//!   [`handover`] · `housekeeping`
//! - 3: [`socket`] Socket.IO: handshake, streamer, listener · [`http`] health, metrics, the operator's API, the pages
//! - 2: [`relay`] the one module that connects all others; it emits events, and follows other nodes
//! - 1: [`transport`] our IO under Socket.IO · [`identity`] token checks · [`directory`] livestreams in Firestore ·
//!   [`google`] the outbound client · [`limits`] upload quotas · [`bans`] who is kept out · [`cluster`] Redis ·
//!   [`recording`] one recording of each livestream, in a bucket
//! - 0: [`broadcast`] the life of a livestream, pure · [`config`] every key · [`metrics`] every metric
//!
//! **The path of a clip**: `socket::streamer` receives `upload` as one `Bytes`, never copied → [`relay::Relay::upload`]
//! checks the quota ([`limits::UploadQuota`]) and, under the livestream's lock, assigns the sequence
//! ([`broadcast::Livestream::upload`]), encodes the clip's two WebSocket frames once ([`transport::ClipFrame`]) and
//! pushes them to every listener's [`transport::Outbox`] → outside the lock tasks write each outbox's connection, one
//! vectored write for a healthy listener → the ack.
//!
//! **The path of a join**: `socket::entry` upgrades the request and gives our own IO ([`transport::WebSocketIo`]) to
//! the Socket.IO library → the namespace's middleware (`socket::handshake`) checks the token ([`identity::Identity`])
//! and the livestream ([`relay::Relay::find_started`], or [`directory::Directory`]) → [`relay::Relay::join`] puts the
//! latest clip into a shut outbox → CONNECT, `success`, and the outbox opens.
//!
//! **The path of a clip to other nodes** of a cluster: [`relay::Relay::upload`] also queues it in the livestream's
//! link → the link's task publishes it → on each node that follows the livestream, the link's task relays it
//! (`relay::remote`), and from there it continues like a local upload. The ack waits for the publication.
//!
//! **The path of a change** (a takeover, a new state, an end): the relay emits a [`relay::Event`] under the
//! livestream's lock, which counts and logs it → one task of `socket::events` takes the events in their order and
//! notifies the clients; another one, of [`webhooks`], makes messages of them.

pub mod app;
pub mod bans;
pub mod broadcast;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod ctl;
pub mod demo;
pub mod directory;
pub mod files;
pub mod google;
pub mod handover;
mod housekeeping;
pub mod http;
pub mod http_client;
pub mod identity;
pub mod lifecycle;
pub mod limits;
pub mod media;
pub mod metrics;
pub mod preflight;
mod recheck;
pub mod recording;
pub mod relay;
pub mod socket;
pub mod socket_activation;
pub mod telemetry;
pub mod transport;
pub mod unix_time;
pub mod webhooks;
