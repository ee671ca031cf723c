//! Where the log goes.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Logs to standard error, in colours only on a terminal. The variable `TWINRING_LOG` (in the form
/// of `RUST_LOG`) or else `debug` says how much. Call once, early.
pub fn to_stderr(debug: bool) {
    // The driver of the offline tools tells about each connection that it opens.
    let default = match debug {
        true => "info,twinring=debug",
        false => "info,scylla=warn",
    };
    let filter =
        EnvFilter::try_from_env("TWINRING_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}
