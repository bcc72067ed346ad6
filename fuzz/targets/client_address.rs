//! A client's address is its peer's, or one that the peer's proxies named; a stranger is believed nothing.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use castaway_media_server::transport::client_address;
use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, values)) = bytes.split_first() else {
        return;
    };
    let peer = IpAddr::from(Ipv4Addr::new(10, 0, 0, *first));
    let trusted: [IpNet; 2] = [
        "10.0.0.0/25".parse().expect("a network"),
        "fd00::/8".parse().expect("a network"),
    ];
    let mut headers = HeaderMap::new();
    for value in values.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append("x-forwarded-for", value);
        }
    }
    let client = client_address(peer, &headers, &trusted);
    if *first >= 128 {
        assert_eq!(client, peer);
    }
    let mut named = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .flat_map(|hop| [Some(hop.trim()), without_port(hop.trim())])
        .flatten()
        .filter_map(|hop| hop.trim_matches(['[', ']']).parse::<IpAddr>().ok());
    assert!(client == peer || named.any(|hop| hop.to_canonical() == client));
});

fn without_port(hop: &str) -> Option<&str> {
    hop.rsplit_once(':').map(|(address, _)| address)
}
