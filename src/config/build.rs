//! From [`Settings`] to [`ProxyConfig`]: reads the file, runs every check, collects what is wrong.
//!
//! The checks themselves are in `network` (addresses, topology, offer) and `resources` (cores,
//! credentials, mirror, spill, bounds).

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use super::compat;
use super::error::{ConfigError, Problem};
use super::{ProxyConfig, Settings};
use crate::limits;

/// What the configuration needs to know about the machine; a test brings its own.
pub struct Surroundings<'a> {
    /// Cores that this process may run on, sorted.
    pub cores: Vec<usize>,
    /// Addresses of a host.
    pub resolve: &'a dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>>,
}

impl Surroundings<'static> {
    /// This machine, with the cores that the process's affinity allows.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        let mut cores: Vec<_> = cores.into_iter().map(|core| core.id).collect();
        cores.sort_unstable();
        Self {
            cores,
            resolve: &|host, port| (host, port).to_socket_addrs().map(Iterator::collect),
        }
    }
}

/// Reads a TOML file of settings.
///
/// # Errors
/// When the file cannot be read, is no TOML or has a key or value that is not known.
pub fn read_file(path: &Path) -> Result<Settings, ConfigError> {
    let place = format!("--config {}", path.display());
    let text = std::fs::read_to_string(path).map_err(|e| {
        Problem::new(
            &place,
            format!("cannot be read: {e}"),
            "name a file that can be read",
        )
    })?;
    toml::from_str(&text).map_err(|e| {
        // The error's own text quotes the line, which may hold a password.
        let before = e
            .span()
            .and_then(|span| text.get(..span.start))
            .unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let password = ["source-password", "target-password"]
            .into_iter()
            .find(|key| e.message().contains(&format!("`{key}`")));
        let remedy = match password {
            Some(key) => {
                format!("put the password into a file of its own and name it with {key}-file")
            }
            None => "tuning/twinring.example.toml shows every key".to_owned(),
        };
        Problem::new(&place, format!("line {line}: {}", e.message()), remedy).into()
    })
}

/// Collects problems, so that the operator sees all of them.
pub(super) struct Check {
    pub(super) problems: Vec<Problem>,
    pub(super) notices: Vec<String>,
}

impl Check {
    pub(super) fn wrong(
        &mut self,
        place: &str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Problem::new(place, what, remedy));
    }

    /// One that was found elsewhere.
    pub(super) fn add(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// `value` or `default`, when it lies in `range`; else a problem and the default.
    pub(super) fn bounded(
        &mut self,
        place: &str,
        value: Option<u64>,
        default: u64,
        range: (u64, u64),
    ) -> u64 {
        let value = value.unwrap_or(default);
        if value < range.0 || value > range.1 {
            let what = format!("{value} is out of range");
            self.wrong(place, what, format!("choose {} to {}", range.0, range.1));
            return default;
        }
        value
    }

    /// The same for counts.
    pub(super) fn bounded_usize(
        &mut self,
        place: &str,
        value: Option<usize>,
        default: usize,
        range: (usize, usize),
    ) -> usize {
        let wide = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let value = value.map(wide);
        let got = self.bounded(place, value, wide(default), (wide(range.0), wide(range.1)));
        usize::try_from(got).unwrap_or(default)
    }

    /// One of the words, or the first of them.
    pub(super) fn one_of<T: Copy>(
        &mut self,
        place: &str,
        said: Option<&str>,
        words: &[(&str, T)],
    ) -> T {
        let default = words[0].1;
        let Some(said) = said else { return default };
        match words
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(said))
        {
            Some((_, value)) => *value,
            None => {
                let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                self.wrong(
                    place,
                    format!("`{said}` is not known"),
                    format!("choose {}", known.join(", ")),
                );
                default
            }
        }
    }
}

impl ProxyConfig {
    /// Checks `settings` as a whole and completes them with the defaults.
    ///
    /// # Errors
    /// Everything that is wrong, each with its place and its remedy.
    pub fn new(settings: Settings, around: &Surroundings<'_>) -> Result<Self, ConfigError> {
        let mut check = Check {
            problems: Vec::new(),
            notices: compat::notices(&settings),
        };
        let s = &settings;
        let source = check.cluster("source", s, around);
        let target = check.cluster("target", s, around);
        check.same_cluster(&source, &target);
        let listen = check.listen(s);
        let cores = check.cores(s, around);
        let drain = s.drain_timeout.map(|span| millis(span.0));
        let drain_range = (0, limits::DRAIN_TIMEOUT_MAX_MS);
        let drain_ms = check.bounded(
            "--drain-timeout (ms)",
            drain,
            limits::DRAIN_TIMEOUT_DEFAULT_MS,
            drain_range,
        );
        let busy_poll = s.busy_poll_us.map(|said| {
            let range = (0, limits::BUSY_POLL_MAX_US);
            Duration::from_micros(check.bounded("--busy-poll-us", Some(said), 0, range))
        });
        check.one_of("--mode", s.mode.as_deref(), &[("async", ())]);
        let config = Self {
            listen,
            listener_tls: check.listener_tls(s),
            admin: check.admin(s),
            source,
            target,
            discovery: check.discovery(s),
            source_credentials: check.source_credentials(s),
            target_credentials: check.target_credentials(s),
            data_dir: s.data_dir.clone().unwrap_or_else(|| "twinring-data".into()),
            topology: check.topology(s, listen, around),
            offer: check.offer(s),
            mirror: check.mirror(s),
            spill: check.spill(s, cores.len()),
            journal: check.journal(s),
            spill_key_file: s.spill_key_file.clone(),
            clients: check.clients(s),
            cores,
            busy_poll,
            drain_timeout: Duration::from_millis(drain_ms),
            debug: s.debug.unwrap_or(false),
            notices: Vec::new(),
        };
        if config
            .admin
            .is_some_and(|admin| overlap(admin, config.listen))
        {
            check.wrong(
                "--metrics-port",
                format!("port {} is also the port for clients", config.listen.port()),
                "choose another --metrics-port or --proxy-port",
            );
        }
        if check.problems.is_empty() {
            Ok(Self {
                notices: check.notices,
                ..config
            })
        } else {
            Err(ConfigError {
                problems: check.problems,
            })
        }
    }
}

fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let same_ip = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && same_ip
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
