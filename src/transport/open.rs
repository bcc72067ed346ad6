//! Engine.IO's OPEN packet. The heartbeat is the server's own, so the library is configured never to ping, and its OPEN
//! is corrected here to give the real ping times.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::heartbeat::HeartbeatTimes;

/// Interval of the Socket.IO library's own heartbeat: longer than any session.
pub const NEVER: Duration = Duration::from_hours(365 * 24);

/// Fields of OPEN.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Open {
    sid: String,
    upgrades: Vec<String>,
    ping_interval: u64,
    ping_timeout: u64,
    max_payload: u64,
}

/// The session's id, and the OPEN packet for the client; none if `packet` is not OPEN.
pub fn corrected(packet: &[u8], times: &HeartbeatTimes) -> Option<(String, String)> {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let mut open: Open = serde_json::from_slice(packet.strip_prefix(b"0")?).ok()?;
    open.ping_interval = millis(times.interval);
    open.ping_timeout = millis(times.timeout);
    let packet = serde_json::to_string(&open).ok()?;
    Some((open.sid, format!("0{packet}")))
}

/// [`corrected`] for the library's first WebSocket frame.
pub(super) fn corrected_frame(frame: &[u8], times: &HeartbeatTimes) -> Option<(String, Vec<u8>)> {
    let packet = match frame {
        [0x81, 126, a, b, packet @ ..]
            if packet.len() == usize::from(u16::from_be_bytes([*a, *b])) =>
        {
            packet
        }
        [0x81, length @ 0..126, packet @ ..] if packet.len() == usize::from(*length) => packet,
        _ => return None,
    };
    let (id, packet) = corrected(packet, times)?;
    let mut frame = vec![0x81];
    match u8::try_from(packet.len()) {
        Ok(short) if short < 126 => frame.push(short),
        _ => {
            frame.push(126);
            frame.extend(u16::try_from(packet.len()).ok()?.to_be_bytes());
        }
    }
    frame.extend_from_slice(packet.as_bytes());
    Some((id, frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: HeartbeatTimes = HeartbeatTimes {
        interval: Duration::from_secs(10),
        timeout: Duration::from_millis(7500),
        streamer_timeout: Duration::from_secs(5),
        min_bytes_per_second: 1,
    };

    #[test]
    fn open_has_the_times_of_our_heartbeat() {
        let packet =
            br#"0{"sid":"abc","upgrades":[],"pingInterval":1,"pingTimeout":2,"maxPayload":3}"#;
        let right = r#"0{"sid":"abc","upgrades":[],"pingInterval":10000,"pingTimeout":7500,"maxPayload":3}"#;
        assert_eq!(
            corrected(packet, &TIMES),
            Some(("abc".into(), right.into()))
        );
        let mut frame = vec![0x81, u8::try_from(packet.len()).unwrap()];
        frame.extend_from_slice(packet);
        let (id, frame) = corrected_frame(&frame, &TIMES).unwrap();
        assert_eq!(id, "abc");
        assert_eq!(usize::from(frame[1]), right.len());
        assert_eq!(&frame[2..], right.as_bytes());
        assert!(corrected(b"4{}", &TIMES).is_none());
        assert!(corrected_frame(&frame[..9], &TIMES).is_none());
    }
}
