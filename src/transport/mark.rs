//! The text that opens the gate of a [`super::SendQueue`].

use std::sync::Arc;

use super::clip_message::LISTENER;

/// A text that opens the gate: random, created at start, and never sent to a client.
#[derive(Clone)]
pub struct Mark {
    argument: Arc<str>,
    /// The complete text message, as the library writes it.
    pub(super) message: Arc<str>,
}

impl Mark {
    /// The event that carries the mark.
    pub const EVENT: &str = "mark";

    /// Creates a mark that nobody can guess.
    pub fn random() -> Self {
        let argument = format!("{:032x}", rand::random::<u128>());
        let message = format!("42{LISTENER},[\"{}\",\"{argument}\"]", Self::EVENT).into();
        Self {
            argument: argument.into(),
            message,
        }
    }

    /// The event's argument.
    pub fn as_str(&self) -> &str {
        &self.argument
    }
}
