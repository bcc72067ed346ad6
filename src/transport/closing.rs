//! The reason for which the server closes a WebSocket, as its Close frame gives it (RFC 6455, 7.4).

use bytes::{BufMut as _, Bytes, BytesMut};

/// A Close frame's code and reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// The client asked to close.
    Normal,
    /// The server stops.
    GoingAway,
    /// A frame that the WebSocket protocol forbids.
    Protocol(&'static str),
    /// Text that is not UTF-8.
    NotUtf8,
    /// A violation of the server's policy.
    Policy(&'static str),
    /// A message above the limit.
    TooLarge,
}

impl Closing {
    /// The Socket.IO library ended the session by itself, as it does for a packet that it cannot read.
    pub(super) const MALFORMED: Self = Self::Policy("malformed Socket.IO packet");

    pub(super) fn code(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::GoingAway => 1001,
            Self::Protocol(_) => 1002,
            Self::NotUtf8 => 1007,
            Self::Policy(_) => 1008,
            Self::TooLarge => 1009,
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Normal => "closed by the client",
            Self::GoingAway => "the server is stopping, connect again",
            Self::Protocol(reason) | Self::Policy(reason) => reason,
            Self::NotUtf8 => "text is not UTF-8",
            Self::TooLarge => "message too large",
        }
    }

    /// The label in `castaway_bad_input_total`; none if the client is not at fault.
    pub(super) fn bad_input(self) -> Option<&'static str> {
        match self {
            Self::Protocol(_) => Some("protocol_error"),
            Self::NotUtf8 => Some("not_utf8"),
            Self::TooLarge => Some("message_too_large"),
            Self::Normal | Self::GoingAway | Self::Policy(_) => None,
        }
    }

    /// The complete Close frame.
    pub(super) fn frame(self) -> Bytes {
        const CLOSE: u8 = 0x88;
        let reason = self.reason();
        let mut frame = BytesMut::with_capacity(4 + reason.len());
        frame.put_u8(CLOSE);
        // A control frame's payload has at most 125 bytes; the reasons above are shorter.
        frame.put_u8(u8::try_from(2 + reason.len()).unwrap_or(2));
        frame.put_u16(self.code());
        frame.put_slice(reason.as_bytes());
        frame.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_has_code_and_reason() {
        let frame = Closing::TooLarge.frame();
        assert_eq!(&frame[..4], [0x88, 19, 0x03, 0xf1]);
        assert_eq!(&frame[4..], b"message too large");
    }
}
