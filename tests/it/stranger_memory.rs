//! What one address without a token can make the daemon hold: measured in a process of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::support::app::TEST_TIMEOUT;
use crate::support::raw::{POLLING, WEB_SOCKET, frame, handshake, request};

/// The most that one address may make the daemon hold.
const BOUND: u64 = 64 << 20;

/// The default limit of connections and of sessions from one address.
const MANY: usize = 1_500;

/// The daemon as a process.
struct Daemon {
    child: Child,
    clients: SocketAddr,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Daemon {
    async fn start() -> Self {
        let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let [clients, health] = [free(), free()].map(|it| it.local_addr().expect("an address"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_castaway-media-server"));
        command
            .args(["demo", "--listen", &clients.to_string()])
            .args(["--health-listen", &health.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().expect("the daemon");
        let start = Instant::now();
        while TcpStream::connect(clients).await.is_err() {
            assert!(start.elapsed() < TEST_TIMEOUT, "the daemon does not start");
            sleep(Duration::from_millis(20)).await;
        }
        Self { child, clients }
    }

    /// Resident bytes that it allocated: code that is mapped on its first use is not what clients hold.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the daemon lives");
        let line = status.lines().find(|line| line.starts_with("RssAnon:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        kib.expect("a number").parse::<u64>().expect("a number") << 10
    }
}

/// What a stranger opens on each of its connections, as far as it may, and leaves unfinished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attack {
    Nothing,
    WebSocket,
    Polling,
}

/// As large as the defaults allow.
fn values() -> String {
    format!("id-token: {}\r\n", "x".repeat(7_500))
}

/// Opens a session, and leaves a message unfinished; false if the session is refused.
async fn open(tcp: &mut TcpStream, attack: Attack) -> std::io::Result<bool> {
    let asked = match attack {
        Attack::Nothing => return Ok(false),
        Attack::WebSocket => {
            let headers = format!("{}{}", handshake(), values());
            request("GET", WEB_SOCKET, &headers, None)
        }
        Attack::Polling => request("GET", POLLING, &values(), None),
    };
    tcp.write_all(asked.as_bytes()).await?;
    let mut answer = vec![0; 4 << 10];
    let length = tcp.read(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer[..length]);
    let unfinished = if attack == Attack::WebSocket && answer.starts_with("HTTP/1.1 101") {
        frame(0x82, &[0; 16 << 10])
    } else if let Some((_, id)) = answer.split_once(r#"0{"sid":""#) {
        let path = format!("{POLLING}&sid={}", &id[..16]);
        let body = "x".repeat(16 << 10);
        request("POST", &path, "", Some(&body)).into_bytes()
    } else {
        return Ok(false);
    };
    tcp.write_all(&unfinished[..unfinished.len() - 1]).await?;
    Ok(true)
}

#[tokio::test]
async fn stranger_makes_the_daemon_hold_little() {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, most).expect("the limit is allowed");
    for attack in [Attack::Nothing, Attack::WebSocket, Attack::Polling] {
        let daemon = Daemon::start().await;
        let before = daemon.memory();
        let (mut held, mut peak, mut sessions) = (Vec::new(), 0, 0);
        for number in 0..MANY + 200 {
            // Those above the limit are closed.
            let Ok(mut tcp) = TcpStream::connect(daemon.clients).await else {
                continue;
            };
            if open(&mut tcp, attack).await.unwrap_or(false) {
                sessions += 1;
            } else {
                // A request that is answered, and a head that does not end.
                if attack != Attack::Nothing {
                    let Ok(again) = TcpStream::connect(daemon.clients).await else {
                        continue;
                    };
                    tcp = again;
                    let whole = request("OPTIONS", "/", &values(), None);
                    tcp.write_all(whole.as_bytes()).await.ok();
                    tcp.read_exact(&mut [0; 12]).await.ok();
                }
                let unfinished = request("GET", "/", &values(), None);
                tcp.write_all(&unfinished.as_bytes()[..7_500]).await.ok();
            }
            held.push(tcp);
            if number % 100 == 0 {
                peak = peak.max(daemon.memory());
            }
        }
        sleep(Duration::from_millis(200)).await;
        let more = peak.max(daemon.memory()).saturating_sub(before);
        println!("{attack:?}: {sessions} sessions, {} KiB more", more >> 10);
        assert_eq!(
            sessions >= 500,
            attack != Attack::Nothing,
            "{attack:?}: {sessions}"
        );
        assert!(more < BOUND, "{attack:?}: {} MiB more", more >> 20);
    }
}
