//! The command line of the daemon: arguments, log and configuration, then `lifecycle`.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use castaway_media_server::app::{Addresses, App, Directories, Inherited};
use castaway_media_server::cli::{Cli, Command};
use castaway_media_server::config::{Config, Sources};
use castaway_media_server::demo::{Demo, Https, Scheme, machine_addresses};
use castaway_media_server::google::{Emulators, GoogleError};
use castaway_media_server::lifecycle::{self, Reload};
use castaway_media_server::preflight::Preflight;
use castaway_media_server::{socket_activation, telemetry};
use clap::{CommandFactory as _, Parser as _};

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            // The log may not be set up yet, and the reason must be visible.
            writeln!(std::io::stderr(), "castaway-media-server: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Ctl(ctl) => return runtime()?.block_on(ctl.run()),
        Command::Demo {
            listen,
            health_listen,
            expose,
            https,
            log,
        } => demo(
            Demo::config(listen, health_listen, expose, &log)?,
            https.then_some(listen),
        )?,
        Command::Serve { config } => serve(config.path())?,
        Command::CheckConfig { config } => check(config.path())?,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(
                shell,
                &mut Cli::command(),
                "castaway-media-server",
                &mut script,
            );
            std::io::stdout().write_all(&script)?;
        }
        Command::Man { directory: None } => {
            clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout())?;
        }
        Command::Man {
            directory: Some(directory),
        } => clap_mangen::generate_to(Cli::command(), directory)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print(text: &str) -> anyhow::Result<()> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("no runtime")
}

/// Prints the addresses on one line, for people and scripts.
fn say_addresses(scheme: Scheme, clients: SocketAddr, health: SocketAddr) -> anyhow::Result<()> {
    print(&format!(
        "castaway: clients on {scheme}://{clients}, health on http://{health}\n"
    ))
}

/// Runs the demo, with TLS on `https` in front of it, if that is given.
fn demo(mut config: Config, https: Option<SocketAddr>) -> anyhow::Result<()> {
    let _logging = telemetry::init(&config.log)?;
    runtime()?.block_on(async {
        let https = match https {
            Some(listen) => {
                let addresses = machine_addresses(listen.ip());
                config.server.listen = (Ipv4Addr::LOCALHOST, 0).into();
                Some(Https::bind(listen, &addresses, config.server.max_connections).await?)
            }
            None => None,
        };
        let demo = Demo::new()?;
        let app = App::demo(config, &demo)?;
        let Addresses { clients, health } = app.addresses();
        let (scheme, shown) = match &https {
            Some(https) => (Scheme::Https, https.address()?),
            None => (Scheme::Http, clients),
        };
        say_addresses(scheme, shown, health)?;
        print(&demo.welcome(scheme, shown, health))?;
        if let Some(https) = https {
            tokio::spawn(https.serve(clients));
        }
        Box::pin(lifecycle::run(app, None)).await
    })
}

/// Does the steps of `serve` that need no network, and reports settings that are absent only here.
fn check(file: Option<PathBuf>) -> anyhow::Result<()> {
    let read = file.as_ref().map_or_else(
        || "the environment alone".into(),
        |file| file.display().to_string(),
    );
    let notes = match preflight(file) {
        Ok(preflight) => preflight.notes(),
        Err(GoogleError::Config(problems)) if problems.is_only_absent() => problems
            .iter()
            .map(|problem| format!("absent here, and `serve` does not start without it: {problem}"))
            .collect(),
        Err(error) => return Err(error.into()),
    };
    let mut lines = vec![format!("the configuration is good ({read})")];
    lines.extend(notes.iter().map(|note| format!("  note: {note}")));
    print(&(lines.join("\n") + "\n"))
}

fn preflight(file: Option<PathBuf>) -> Result<Preflight, GoogleError> {
    let sources = Sources::of_process(file);
    let emulators = Emulators::from_environment(&sources.environment);
    Preflight::load(&sources, emulators)
}

fn serve(file: Option<PathBuf>) -> anyhow::Result<()> {
    let preflight = preflight(file.clone())?;
    let config = preflight.config();
    let logging = telemetry::init(&config.log)?;
    let inherited = socket_activation::take()?;
    runtime()?.block_on(async {
        let reload = Reload {
            file,
            running: preflight.config().clone(),
            level: logging.level(),
        };
        let app = build(preflight, inherited).await?;
        let Addresses { clients, health } = app.addresses();
        say_addresses(Scheme::Http, clients, health)?;
        Box::pin(lifecycle::run(app, Some(reload))).await
    })
}

async fn build(preflight: Preflight, inherited: Inherited) -> anyhow::Result<App> {
    // systemd may give several directories, separated by colons.
    let first = |name| std::env::split_paths(&std::env::var_os(name)?).next();
    let directories = Directories {
        state: first("STATE_DIRECTORY"),
        runtime: first("RUNTIME_DIRECTORY"),
    };
    App::google(preflight, &directories, inherited).await
}
