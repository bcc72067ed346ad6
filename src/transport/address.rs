//! A client's address behind proxies.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

/// The client's address: the peer's, or, if the peer is a trusted proxy, the last untrusted entry of `X-Forwarded-For`.
///
/// The list is read from the right, since each proxy appends the address of its peer. A client can forge the entries
/// further left.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let peer = peer.to_canonical();
    let is_proxy = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    if !is_proxy(&peer) {
        return peer;
    }
    let values: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let mut last = peer;
    for hop in values.iter().rev().flat_map(|value| value.rsplit(',')) {
        match hop_address(hop.trim()) {
            Some(address) => last = address.to_canonical(),
            None => return last,
        }
        if !is_proxy(&last) {
            return last;
        }
    }
    last
}

/// The address of one entry: `ip`, `[v6]`, `ip:port` or `[v6]:port`. Some load balancers append the client's port.
fn hop_address(hop: &str) -> Option<IpAddr> {
    if let Ok(address) = hop.parse() {
        return Some(address);
    }
    if let Ok(address) = hop.parse::<SocketAddr>() {
        return Some(address.ip());
    }
    let inside = hop.strip_prefix('[')?.strip_suffix(']')?;
    inside.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

/// The address that per-address limits count: of IPv6 the /64 network, since one client can use all of it.
pub fn counted_address(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        client_address(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn untrusted_peer_cannot_forward_an_address() {
        assert_eq!(client("1.2.3.4", &["5.6.7.8"]), "1.2.3.4");
    }

    #[test]
    fn client_is_the_last_untrusted_address() {
        assert_eq!(client("10.0.0.1", &["5.6.7.8"]), "5.6.7.8");
        assert_eq!(
            client("10.0.0.1", &["6.6.6.6, 5.6.7.8, 10.0.0.2"]),
            "5.6.7.8"
        );
        assert_eq!(client("10.0.0.1", &["6.6.6.6", "5.6.7.8"]), "5.6.7.8");
        assert_eq!(client("fd00::1", &["2001:db8::1"]), "2001:db8::1");
        assert_eq!(client("::ffff:10.0.0.1", &["::ffff:5.6.7.8"]), "5.6.7.8");
    }

    #[test]
    fn malformed_addresses_are_ignored() {
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["unknown"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["5.6.7.8, junk, 10.0.0.2"]), "10.0.0.2");
    }

    #[test]
    fn port_of_a_forwarded_address_is_ignored() {
        assert_eq!(client("10.0.0.1", &["5.6.7.8:4711"]), "5.6.7.8");
        assert_eq!(client("10.0.0.1", &["[2001:db8::1]:4711"]), "2001:db8::1");
        assert_eq!(client("10.0.0.1", &["[2001:db8::1]"]), "2001:db8::1");
        assert_eq!(client("10.0.0.1", &["5.6.7.8:1, 10.0.0.2:2"]), "5.6.7.8");
        assert_eq!(client("10.0.0.1", &["[::ffff:5.6.7.8]:9"]), "5.6.7.8");
        for junk in [
            "5.6.7.8:",
            "5.6.7.8:port",
            "5.6.7.8:99999",
            "[5.6.7.8]:1",
            "[::1",
        ] {
            assert_eq!(client("10.0.0.1", &[junk]), "10.0.0.1", "{junk}");
        }
    }

    #[test]
    fn network_of_ipv6_counts_as_one_address() {
        let counted = |text: &str| counted_address(text.parse().unwrap()).to_string();
        assert_eq!(counted("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(counted("2001:db8:1:3::1"), "2001:db8:1:3::");
        assert_eq!(counted("5.6.7.8"), "5.6.7.8");
        assert_eq!(counted("::ffff:5.6.7.8"), "5.6.7.8");
    }
}
