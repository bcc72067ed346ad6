//! The limit: what one thread, one epoll loop and one shared buffer need to bring a clip to every listener.
//!
//! It speaks as much of Socket.IO as `castaway-load` does, and does nothing that a relay could leave out: no checks,
//! no pings, no queue but the kernel's and a reference to the buffer. A real server cannot be cheaper than this on the
//! same machine; how near it comes is what the comparison shows. Its sockets have the options of the server's.
//!
//! **Invariant**: a clip is put together once, framed, and that one buffer is written to all, in the order in which they
//! joined.

mod clip;
mod cost;
mod peer;
mod sockets;
mod wire;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};

use clip::{Clip, Manner};
use cost::Account;
use peer::{Peer, Role};

const HELP: &str = "\
Relays clips as cheaply as one thread can, for comparison; castaway-load is its client.

Usage: castaway-limit [--listen ADDRESS] [--sendfile | --alternate]

      --listen ADDRESS  where clients connect [default: 127.0.0.1:0]
      --sendfile        send each clip from a file in memory, with sendfile, instead of a buffer
      --alternate       every other clip with sendfile; once the streamer leaves, print what a delivery cost each way

Give the machine nothing else to do while it alternates: the kernel's work for the network belongs to no process, so the
time of all processors is counted, too.
";

/// The token of the socket that accepts; clients count from the next one.
const ACCEPTING: Token = Token(0);

fn main() -> ExitCode {
    let Some(options) = Options::parse(std::env::args().skip(1)) else {
        let _ = io::stderr().write_all(HELP.as_bytes());
        return ExitCode::from(2);
    };
    match Limit::listen(&options).and_then(Limit::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "castaway-limit: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    listen: SocketAddr,
    /// How clips are sent, in turn.
    manners: &'static [Manner],
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut options = Self {
            listen: ([127, 0, 0, 1], 0).into(),
            manners: &[Manner::Send],
        };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--listen" => options.listen = arguments.next()?.parse().ok()?,
                "--sendfile" => options.manners = &[Manner::Sendfile],
                "--alternate" => options.manners = &[Manner::Send, Manner::Sendfile],
                _ => return None,
            }
        }
        Some(options)
    }
}

struct Limit {
    poll: Poll,
    listener: TcpListener,
    /// In the order in which they came, which is nearly that of their descriptors and of the kernel's memory.
    peers: Vec<Option<Peer>>,
    manners: &'static [Manner],
    account: Account,
    scratch: Vec<u8>,
}

impl Limit {
    fn listen(options: &Options) -> io::Result<Self> {
        sockets::make_room()?;
        let mut listener = TcpListener::from_std(sockets::bind(options.listen)?);
        let poll = Poll::new()?;
        poll.registry()
            .register(&mut listener, ACCEPTING, Interest::READABLE)?;
        let address = listener.local_addr()?;
        writeln!(io::stdout(), "limit: clients on http://{address}")?;
        Ok(Self {
            poll,
            listener,
            peers: Vec::new(),
            manners: options.manners,
            account: Account::new(options.manners),
            scratch: vec![0; 256 << 10],
        })
    }

    fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &events {
                if event.token() == ACCEPTING {
                    self.accept()?;
                } else {
                    self.serve(event.token().0 - 1, event.is_readable())?;
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        while let Ok((mut stream, _)) = self.listener.accept() {
            self.peers.push(None);
            let token = Token(self.peers.len());
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll
                .registry()
                .register(&mut stream, token, interest)?;
            self.peers[token.0 - 1] = Some(Peer::new(stream));
        }
        Ok(())
    }

    fn serve(&mut self, index: usize, is_readable: bool) -> io::Result<()> {
        let Some(peer) = self.peers[index].as_mut() else {
            return Ok(());
        };
        let mut clips = Vec::new();
        let mut alive = peer.flush();
        if alive.is_ok() && is_readable {
            alive = peer.read(&mut self.scratch, &mut clips);
        }
        if alive.is_err() {
            if peer.role == Role::Streamer {
                self.account.report()?;
            }
            self.peers[index] = None;
        }
        for clip in clips {
            self.deliver(&clip)?;
        }
        Ok(())
    }

    fn deliver(&mut self, clip: &[u8]) -> io::Result<()> {
        let manner = self.account.next_clip()?;
        let clip = Clip::new(clip, self.manners[manner])?;
        let listeners = self.peers.iter_mut().flatten();
        let listeners = listeners.filter(|peer| peer.role == Role::Listener);
        let mut deliveries = 0;
        for listener in listeners {
            // One that fails is found out by its next event.
            let _ = listener.write(&clip);
            deliveries += 1;
        }
        self.account.delivered(deliveries);
        Ok(())
    }
}
