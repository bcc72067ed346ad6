//! Plain HTTP: the health port, and what is served beside Socket.IO on the client port.
//!
//! **Invariant**: nothing here knows a livestream or a socket.

pub mod client;
pub mod health;
pub mod pages;
