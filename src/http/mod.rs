//! What is answered over plain HTTP.
//!
//! **Invariant**: nothing here knows of Socket.IO.

pub mod pages;
