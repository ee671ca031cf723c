//! `loadgen`: the command line of the load generator.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use twinring_loadgen::cli::{self, Cli};

fn main() -> ExitCode {
    match cli::main(&Cli::parse(), &mut std::io::stdout().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "loadgen: {error:#}");
            ExitCode::FAILURE
        }
    }
}
