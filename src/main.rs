//! `twinring`: parse, dispatch, exit code.

use std::io::Write;
use std::process::ExitCode;

use twinring::cli::{self, Cli, Command, ProxyArgs};
use twinring::config::Surroundings;
use twinring::rejects::{self, Rejects};
use twinring::{copy, demo, inspect, node, preflight, replay, status, verify};

fn main() -> ExitCode {
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(usage) => {
            let _ = usage.print(); // help and version too
            return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2));
        }
    };
    run(cli).unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "twinring: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Proxy(args) => proxy(*args)?,
        Command::Status(args) => status::run(&args, &mut std::io::stdout().lock())?,
        Command::Sync(args) => status::sync::run(&args, &mut std::io::stdout().lock())?,
        Command::Replay(args) => {
            cli::log::to_stderr(false);
            return replay::main(&args);
        }
        Command::Rejects(Rejects::List(args)) => {
            return rejects::list(&args, &mut std::io::stdout().lock());
        }
        Command::Rejects(Rejects::Send(mut args)) => {
            args.only_rejected = true;
            cli::log::to_stderr(false);
            return replay::main(&args);
        }
        Command::Inspect(args) => return inspect::main(&args, &mut std::io::stdout().lock()),
        Command::Copy(args) => {
            cli::log::to_stderr(false);
            return copy::main(&args);
        }
        Command::Verify(args) => {
            cli::log::to_stderr(false);
            return verify::main(&args);
        }
        Command::Node(args) => {
            cli::log::to_stderr(false);
            node::run(&args)?;
        }
        Command::Demo(args) => return demo::main(&args, &mut std::io::stdout().lock()),
    }
    Ok(ExitCode::SUCCESS)
}

fn proxy(args: ProxyArgs) -> anyhow::Result<()> {
    let check_only = args.check;
    let config = args.into_config(&Surroundings::of_this_machine())?;
    cli::log::to_stderr(config.debug);
    for notice in &config.notices {
        tracing::info!("{notice}");
    }
    for warning in preflight::run(&config)? {
        tracing::warn!("{warning}");
    }
    if check_only {
        writeln!(std::io::stdout(), "twinring can start with this:\n{config}")?;
        return Ok(());
    }
    twinring::proxy::run(config)
}
