//! Plain HTTP: the health port with the operator's API, and the routes beside Socket.IO on the client port.
//!
//! **Invariant**: no code here knows a socket; the API, the players and the documents alone know a livestream.

pub mod api;
pub mod client;
pub mod documents;
pub mod health;
pub mod pages;
pub mod players;
