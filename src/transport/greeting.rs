//! A namespace that every session joins first, and that no client knows.
//!
//! The Socket.IO library waits for a session's first namespace. Until then, or until its whole connect timeout is over,
//! it keeps the session's state, even if the session has ended meanwhile: an anonymous client could make it keep
//! thousands. So the server puts a CONNECT of its own before all that a client sends, which ends that wait, and
//! swallows the answers. [`super::Session`] decides how long a session may last without a namespace.

use std::sync::Arc;

/// See the module documentation. Created at start, and cloned for each session.
#[derive(Debug, Clone)]
pub struct Greeting {
    /// The namespace and the comma after it.
    name: Arc<str>,
    /// Missing answers: CONNECT, and DISCONNECT.
    left: u8,
}

impl Greeting {
    /// The longest answer, in bytes.
    pub(super) const LONGEST: usize = 125;

    /// Creates a namespace that nobody can guess.
    pub fn random() -> Self {
        Self {
            name: format!("/{:032x},", rand::random::<u128>()).into(),
            left: 2,
        }
    }

    /// The namespace. A socket that joins it must be disconnected at once.
    pub fn namespace(&self) -> &str {
        self.name.trim_end_matches(',')
    }

    /// The packet that joins it.
    pub fn connect(&self) -> String {
        format!("40{}", self.name)
    }

    /// [`Self::connect`] as a client's frame, with a mask of zeros.
    pub(super) fn connect_frame(&self) -> Vec<u8> {
        client_text(&self.connect())
    }

    /// Whether a packet of the library is an answer.
    pub fn is_answered(&mut self, packet: &[u8]) -> bool {
        let name = packet.strip_prefix(b"40").or(packet.strip_prefix(b"41"));
        let answers = name.is_some_and(|rest| rest.starts_with(self.name.as_bytes()));
        self.left = self.left.saturating_sub(u8::from(answers));
        answers
    }

    /// Whether all answers have come.
    pub fn is_over(&self) -> bool {
        self.left == 0
    }
}

/// A short text as a client's frame, with a mask of zeros.
pub(super) fn client_text(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap_or(125).min(125);
    let mut frame = vec![0x81, 0x80 | length, 0, 0, 0, 0];
    frame.extend_from_slice(&text.as_bytes()[..usize::from(length)]);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greeting_is_over_after_connect_and_disconnect() {
        let mut greeting = Greeting::random();
        let name = greeting.namespace().to_owned();
        assert!(!greeting.is_answered(b"40/listener,{}"));
        assert!(greeting.is_answered(format!(r#"40{name},{{"sid":"x"}}"#).as_bytes()));
        assert!(!greeting.is_over());
        assert!(greeting.is_answered(format!("41{name},").as_bytes()));
        assert!(greeting.is_over());
        assert!(!Greeting::random().is_answered(format!("40{name},").as_bytes()));
    }
}
