//! The demo behind TLS of its own.

use std::net::{IpAddr, SocketAddr};

use castaway_media_server::app::App;
use castaway_media_server::demo::{Demo, Https};
use reqwest::{Certificate, Client};

/// A demo behind TLS on a free port of `host`, with a certificate for `named`; and a client that trusts it.
async fn secure_demo(host: [u8; 4], named: &[IpAddr]) -> (SocketAddr, Client) {
    let free = |host: [u8; 4]| SocketAddr::from((host, 0));
    let https = Https::bind(free(host), named, 16).await.expect("a port");
    let loopback = free([127, 0, 0, 1]);
    let config = Demo::config(loopback, loopback, 0, "warn").expect("a configuration");
    let app = App::demo(config, &Demo::new().expect("a demo")).expect("a daemon");
    let daemon = app.addresses().clients;
    tokio::spawn(async { app.serve().await });
    let address = https.address().expect("an address");
    let certificate = Certificate::from_der(https.certificate()).expect("a certificate");
    tokio::spawn(https.serve(daemon));
    let client = Client::builder().tls_certs_only([certificate]);
    (address, client.build().expect("a client"))
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_serves_pages_and_clients_over_tls() {
    let (address, client) = secure_demo([127, 0, 0, 1], &[]).await;
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("https://{host}:{}/studio", address.port());
        let page = client.get(url).send().await.expect("an answer");
        let page = page.text().await.expect("a text");
        assert!(page.contains("<title>Studio"), "{page}");
    }
    let poll = format!("https://{address}/socket.io/?EIO=4&transport=polling");
    let opened = client.get(poll).send().await.expect("an answer");
    let opened = opened.text().await.expect("a text");
    assert!(opened.starts_with("0{\"sid\":"), "{opened}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_of_the_demo_names_the_machine() {
    let machine = [127, 0, 0, 7];
    let (address, client) = secure_demo(machine, &[machine.into()]).await;
    let answered = client.get(format!("https://{address}/")).send().await;
    assert!(answered.expect("an answer").status().is_success());
    let (address, client) = secure_demo(machine, &[]).await;
    let refused = client.get(format!("https://{address}/")).send().await;
    assert!(refused.expect_err("another name").is_connect());
}
