//! The subset of Engine.IO's and Socket.IO's text packets that a Castaway server sends.

use serde_json::Value;

/// A text packet of the server.
#[derive(Debug, PartialEq)]
pub(crate) enum Packet {
    /// Engine.IO is open: a namespace may be joined.
    Open,
    /// A ping, which requires [`PONG`].
    Ping,
    /// The namespace was joined; `success` or `error` follows.
    Connected,
    /// The server refused the namespace or left it, with its reason.
    Gone(String),
    /// `success`, with its text.
    Success(String),
    /// `error`, with its text.
    Error(String),
    /// `audio` or `clip`: the next binary message is a clip.
    Clip,
    /// The answer to upload number `.0`: whether it was accepted.
    Ack(u64, bool),
    /// Anything else.
    Other,
}

/// The answer to a ping.
pub(crate) const PONG: &str = "3";

impl Packet {
    /// Parses one text.
    pub(crate) fn read(text: &str) -> Self {
        match (text.as_bytes(), text.get(2..).map(after_namespace)) {
            ([b'0', ..], _) => Self::Open,
            (b"2", _) => Self::Ping,
            ([b'4', b'0', ..], Some(_)) => Self::Connected,
            ([b'4', b'1', ..], Some(_)) => Self::Gone("the server ended it".into()),
            ([b'4', b'2', ..], Some(body)) => Self::event(body),
            ([b'4', b'3', ..], Some(body)) => Self::ack(body),
            ([b'4', b'4', ..], Some(body)) => Self::Gone(format!("CONNECT_ERROR {body}")),
            ([b'4', b'5', ..], Some(body))
                if body.starts_with("[\"audio\"") || body.starts_with("[\"clip\"") =>
            {
                Self::Clip
            }
            _ => Self::Other,
        }
    }

    fn event(body: &str) -> Self {
        let text = |value: &Value| {
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        };
        match serde_json::from_str::<Vec<Value>>(body).as_deref() {
            Ok([Value::String(name), value]) if name == "success" => Self::Success(text(value)),
            Ok([Value::String(name), value]) if name == "error" => Self::Error(text(value)),
            _ => Self::Other,
        }
    }

    fn ack(body: &str) -> Self {
        let digits = body.bytes().take_while(u8::is_ascii_digit).count();
        let (id, answer) = body.split_at(digits);
        match (id.parse(), serde_json::from_str::<Value>(answer)) {
            (Ok(id), Ok(answer)) => Self::Ack(id, answer[0]["ok"] == Value::Bool(true)),
            _ => Self::Other,
        }
    }
}

/// The text after `/namespace,`.
fn after_namespace(body: &str) -> &str {
    match body.find('/') {
        Some(start)
            if body[..start]
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'-') =>
        {
            body[start..].split_once(',').map_or("", |(_, rest)| rest)
        }
        _ => body,
    }
}

/// The text that announces upload number `sequence`, whose clip follows, and requests an ack.
pub(crate) fn upload(sequence: u64) -> String {
    format!(r#"451-/streamer,{sequence}["upload",{{"_placeholder":true,"num":0}}]"#)
}

/// The text that joins `namespace`, with the data that a browser would send.
pub(crate) fn connect(namespace: &str) -> String {
    format!("40/{namespace},")
}

/// The text that leaves `namespace`.
pub(crate) fn disconnect(namespace: &str) -> String {
    format!("41/{namespace},")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_a_server_are_parsed() {
        let texts = [
            (r#"0{"sid":"x","upgrades":[]}"#, Packet::Open),
            ("2", Packet::Ping),
            (r#"40/listener,{"sid":"x"}"#, Packet::Connected),
            (
                r#"42/listener,["success","User u, connected"]"#,
                Packet::Success("User u, connected".into()),
            ),
            (
                r#"42/streamer,["error","No."]"#,
                Packet::Error("No.".into()),
            ),
            (
                r#"451-/listener,["audio",{"_placeholder":true,"num":0}]"#,
                Packet::Clip,
            ),
            (
                r#"451-/listener,["clip",{"epoch":1,"sequence":2,"sentAt":3,"bytes":{"_placeholder":true,"num":0}}]"#,
                Packet::Clip,
            ),
            (
                r#"43/streamer,17[{"ok":true,"sequence":3,"listeners":1}]"#,
                Packet::Ack(17, true),
            ),
            (
                r#"43/streamer,18[{"ok":false,"error":"No."}]"#,
                Packet::Ack(18, false),
            ),
            ("41/listener,", Packet::Gone("the server ended it".into())),
            (
                r#"44/listener,{"message":"No."}"#,
                Packet::Gone(r#"CONNECT_ERROR {"message":"No."}"#.into()),
            ),
            (r#"42/listener,["state",{"state":"live"}]"#, Packet::Other),
        ];
        for (text, packet) in texts {
            assert_eq!(Packet::read(text), packet, "{text}");
        }
    }

    #[test]
    fn unknown_texts_are_other_packets() {
        for text in ["", "4", "9", "42", "42/", "43/streamer,x", "45", "é", "4é"] {
            assert_eq!(Packet::read(text), Packet::Other, "{text}");
        }
    }
}
