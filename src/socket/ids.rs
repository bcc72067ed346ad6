//! A socket's id: the Socket.IO library's text, and the relay's number with the same 16 bytes.

use socketioxide::socket::Sid;

use crate::relay::SocketId;

impl From<Sid> for SocketId {
    fn from(sid: Sid) -> Self {
        Self::from_text(sid.as_str()).expect("an id has 16 bytes")
    }
}

/// The library's id; none if the relay's was not made from one.
pub(super) fn sid(socket: SocketId) -> Option<Sid> {
    let text = socket.0.to_be_bytes();
    str::from_utf8(&text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_id_keeps_the_librarys_text() {
        let of_library = Sid::new();
        assert_eq!(sid(of_library.into()), Some(of_library));
        assert_eq!(SocketId::from(of_library).to_string(), of_library.as_str());
        assert_ne!(SocketId::from(of_library), SocketId::from(Sid::new()));
        assert_eq!(sid(SocketId(1)), None);
    }
}
