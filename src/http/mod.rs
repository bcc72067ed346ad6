//! Plain HTTP: the health port, and the routes beside Socket.IO on the client port.
//!
//! **Invariant**: no code here knows a socket.

pub mod client;
pub mod health;
pub mod pages;
pub mod players;
