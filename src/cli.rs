//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use crate::ctl::Ctl;

/// Path of the configuration file if none is given.
pub const DEFAULT_FILE: &str = "/etc/castaway-media-server/config.toml";

/// Relays a podcast host's clips to every listener of the livestream, at once.
///
/// New here? `castaway-media-server demo` runs it all on this machine: no account, no key, no service.
#[derive(Debug, Parser)]
#[command(name = "castaway-media-server", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Try it: livestreams in memory, tokens of its own making, loopback only.
    ///
    /// Prints a link to a studio, a link to a listening page, and what a Socket.IO client needs. Nothing is kept.
    Demo {
        /// Where clients connect.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3000")]
        listen: SocketAddr,
        /// Where health checks and metrics are answered.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
        health_listen: SocketAddr,
        /// Allow an address that others can reach; say it twice. Anybody who reaches it can stream and listen.
        #[arg(long, action = clap::ArgAction::Count)]
        expose: u8,
        /// Serve HTTPS with a certificate made for this run, so that a phone's browser lends its microphone.
        ///
        /// The browser warns of the certificate, which it does not know.
        #[arg(long)]
        https: bool,
        /// What is logged: `info`, `debug`, or directives such as `info,castaway_media_server::relay=debug`.
        #[arg(long, value_name = "LEVEL", default_value = "warn")]
        log: String,
    },
    /// Run the media server against a Firebase project.
    Serve {
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Check the configuration, say what is wrong with it, and exit.
    CheckConfig {
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Operate a running daemon: list and end livestreams, kick, ban and drain.
    ///
    /// Exit codes: 0 done, 1 refused, 2 wrong arguments, 3 no answer, 4 no such livestream, socket or ban.
    Ctl(Ctl),
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the manual page.
    Man {
        /// Write it, and a page for each subcommand, into this directory instead.
        #[arg(long, value_name = "DIRECTORY")]
        directory: Option<PathBuf>,
    },
}

/// Where the configuration is.
#[derive(Debug, clap::Args)]
pub struct ConfigFile {
    /// The TOML file [default: /etc/castaway-media-server/config.toml, if it exists].
    ///
    /// Environment variables (`CASTAWAY_SECTION__KEY`) and systemd credentials (`castaway.section.key`) win over it.
    #[arg(long, value_name = "FILE", env = "CASTAWAY_CONFIG")]
    pub config: Option<PathBuf>,
}

impl ConfigFile {
    /// The file to read, if there is one.
    pub fn path(self) -> Option<PathBuf> {
        self.config
            .or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists()))
    }
}
