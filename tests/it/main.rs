//! Tests from outside, one file per door they knock at.

mod admission;
mod architecture;
mod bad_input;
mod close_codes;
mod connections;
mod example_config;
mod google_access;
mod google_directory;
mod google_identity;
mod handshake;
mod health;
mod heartbeat;
mod listener;
mod players;
mod preflight;
mod recheck;
mod reference;
mod shared_transport;
mod slots;
mod slow_listener;
mod stop_and_restart;
mod stranger_memory;
mod streamer;
mod support;
mod takeover;
mod upgrade;
