//! Tests from outside, one file per door they knock at.

mod architecture;
mod bad_input;
mod connections;
mod example_config;
mod google_access;
mod google_directory;
mod google_identity;
mod handshake;
mod health;
mod listener;
mod reference;
mod slow_listener;
mod stop_and_restart;
mod streamer;
mod support;
mod takeover;
