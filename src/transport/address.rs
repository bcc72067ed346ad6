//! Who a client is behind proxies.

use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;

/// The client's address: the peer's, or, while that is a trusted proxy, the last of `X-Forwarded-For` that is none.
///
/// Read from the right, since each proxy appends whom it saw: what stands further left a client may have made up.
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
        match hop.trim().parse::<IpAddr>() {
            Ok(address) => last = address.to_canonical(),
            Err(_) => return last,
        }
        if !is_proxy(&last) {
            return last;
        }
    }
    last
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
    fn a_stranger_is_itself_whatever_it_forwards() {
        assert_eq!(client("1.2.3.4", &["5.6.7.8"]), "1.2.3.4");
    }

    #[test]
    fn behind_trusted_proxies_it_is_the_last_that_is_none() {
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
    fn what_is_no_address_is_not_believed() {
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["unknown"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["5.6.7.8, junk, 10.0.0.2"]), "10.0.0.2");
    }
}
