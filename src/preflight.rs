//! What must hold before the first client is let in. Each finding says what is wrong, why it
//! matters and the command that mends it.

use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::cloud;
use crate::config::{Durability, ProxyConfig};
use crate::limits;
use crate::metrics::TlsFailure;
use crate::spill::Keys;
use crate::sys::{self, machine};
use crate::tls::bundle::Bundle;
use crate::tls::probe::{self, ProbeError};
use crate::tls::{Material, Outgoing};

pub mod journal;
#[cfg(test)]
mod tests;

/// Files that a shard has open beside client connections: rings, timers, target, spill, inbox.
const FILES_PER_SHARD: u64 = 64;
/// A certificate that expires in fewer days is warned of.
const EXPIRY_WARNING_DAYS: i64 = 14;

/// One thing that is wrong, or may become so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong, and why it matters.
    pub what: String,
    /// The command or the change that mends it.
    pub mend: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n    {}", self.what, self.mend)
    }
}

fn finding(what: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding {
        what: what.into(),
        mend: mend.into(),
    }
}

/// The proxy cannot start here. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct CannotStart {
    /// Every reason.
    pub findings: Vec<Finding>,
}

impl fmt::Display for CannotStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the proxy cannot start:")?;
        for finding in &self.findings {
            write!(f, "\n  {finding}")?;
        }
        Ok(())
    }
}

/// Runs every check and returns what deserves a warning.
///
/// Makes the data directory when it is missing and raises the limit of open files.
///
/// # Errors
/// Everything that makes a start impossible. An unreachable target is a warning: writes spill.
pub fn run(config: &ProxyConfig) -> Result<Vec<Finding>, CannotStart> {
    let mut errors = Vec::new();
    let mut warnings = Vec::new();
    if let Err(e) = sys::probe::check(config.cores.len()) {
        let what = "the shards cannot run here: they are built on io_uring and locked memory";
        errors.push(finding(what, e.to_string()));
    }
    warnings.extend(open_files(config));
    match data_dir(&config.data_dir) {
        Ok(found) => warnings.extend(found),
        Err(found) => errors.push(found),
    }
    if config.journal.durability != Durability::None {
        match journal::check(config) {
            Ok(found) => warnings.extend(found),
            Err(found) => errors.push(found),
        }
    }
    if let Some(Err(e)) = config.spill_key_file.as_deref().map(Keys::load) {
        let mend = "name a file with a key, or leave --spill-key-file out";
        errors.push(finding(format!("the spill cannot be encrypted: {e}"), mend));
    }
    warnings.extend(disk(&config.data_dir, config.spill.max_bytes));
    let listeners = [("clients", Some(config.listen)), ("metrics", config.admin)];
    for (purpose, address) in listeners {
        errors.extend(address.and_then(|address| port_free(purpose, address).err()));
    }
    let material = Material::load(config).unwrap_or_else(|problems| {
        let found = problems.into_iter();
        errors.extend(found.map(|p| finding(format!("{}: {}", p.place, p.what), p.remedy)));
        Material::default()
    });
    warnings.extend(expiring(&material));
    let points = config.source.points();
    let source = reachable("source", &points, material.source.as_ref());
    errors.extend(source.err().map(|found| {
        let what = format!(
            "{}: without the source no client can be answered",
            found.what
        );
        finding(what, found.mend)
    }));
    let target = match (&config.target.bundle, &material.target) {
        (None, tls) => reachable("target", &config.target.points(), tls.as_ref()),
        (Some(bundle), Some(tls)) => {
            warnings.extend(readable_by_others(bundle));
            behind(bundle, tls)
        }
        (Some(_), None) => Ok(()), // it is an error already
    };
    warnings.extend(target.err().map(|found| {
        let what = format!("{}: writes go to the spill until it is back", found.what);
        finding(what, found.mend)
    }));
    if errors.is_empty() {
        Ok(warnings)
    } else {
        Err(CannotStart { findings: errors })
    }
}

fn open_files(config: &ProxyConfig) -> Option<Finding> {
    let wide = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let shards = wide(config.cores.len());
    // A client's connection and its source's connection.
    let connections = wide(config.clients.max_connections).saturating_mul(2);
    let needed = connections.saturating_add(FILES_PER_SHARD.saturating_mul(shards));
    let hard = machine::raise_open_files().map_or(0, |files| files.soft);
    (hard < needed).then(|| {
        finding(
            format!(
                "this process may open {hard} files; --max-connections may need {needed}, and \
                 clients beyond are refused"
            ),
            format!(
                "run `ulimit -n {needed}` before, or set LimitNOFILE={needed} in the unit file"
            ),
        )
    })
}

/// Makes the directory when it is missing, and proves that it can be written.
fn data_dir(path: &Path) -> Result<Option<Finding>, Finding> {
    let shown = path.display();
    let cannot = |what: &str, e: &io::Error| {
        finding(
            format!("the data directory {shown} cannot be {what}: {e}; it holds the spill"),
            format!("run `install -d -m 700 -o $(id -un) {shown}`, or name another --data-dir"),
        )
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| cannot("made", &e))?;
    let probe = path.join(format!(".twinring-probe-{}", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&probe)
        .and_then(|mut file| file.write_all(b"x").and_then(|()| file.sync_all()));
    let removed = fs::remove_file(&probe);
    written.and(removed).map_err(|e| cannot("written", &e))?;
    let meta = fs::metadata(path).map_err(|e| cannot("read", &e))?;
    let foreign = meta.uid() != machine::effective_uid();
    let open = meta.mode() & 0o077 != 0;
    Ok((foreign || open).then(|| {
        finding(
            format!(
                "others may look into the data directory {shown} (mode {:o}, owner {}); the spill \
                 holds your data",
                meta.mode() & 0o777,
                meta.uid()
            ),
            format!("run `chown $(id -un) {shown} && chmod 700 {shown}`"),
        )
    }))
}

/// Warns when the spill would not survive a reboot or would not find room.
fn disk(path: &Path, wanted_bytes: u64) -> Vec<Finding> {
    let shown = path.display();
    let mut found = Vec::new();
    let kind = file_system(path);
    if matches!(kind.as_deref(), Some("tmpfs" | "ramfs")) {
        found.push(finding(
            format!("the data directory {shown} is in memory: a reboot loses what is spilled"),
            "name a --data-dir on a disk",
        ));
    }
    if let Ok(free) = machine::free_bytes(path)
        && free < wanted_bytes
    {
        found.push(finding(
            format!(
                "{} MiB are free at {shown} ({}), the spill may take {} MiB",
                free >> 20,
                kind.as_deref().unwrap_or("unknown file system"),
                wanted_bytes >> 20
            ),
            "make room, name another --data-dir, or lower --spill-max-bytes",
        ));
    }
    found
}

/// The type of the file system that holds `path`, from the longest mount point above it.
fn file_system(path: &Path) -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    longest_mount(&mounts, &fs::canonicalize(path).ok()?)
}

fn longest_mount(mounts: &str, path: &Path) -> Option<String> {
    let parse = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        // proc(5): the fifth field is the mount point, with blanks as \040.
        let point = PathBuf::from(before.split(' ').nth(4)?.replace("\\040", " "));
        let kind = after.split(' ').next()?.to_owned();
        path.starts_with(&point)
            .then(|| (point.components().count(), kind))
    };
    // Of two mounts at one place the later one is what is seen: max_by_key keeps the last.
    mounts
        .lines()
        .filter_map(parse)
        .max_by_key(|(depth, _)| *depth)
        .map(|(_, kind)| kind)
}

/// Binds without SO_REUSEPORT, as the shards will with it: another process that listens there,
/// even another twinring, is found now and not by half of the clients. Nor does it listen: a client
/// that came at this moment would be reset.
///
/// The listener of a process that was killed is there for some milliseconds more.
#[allow(clippy::disallowed_methods)] // no shard runs yet
fn port_free(purpose: &str, address: SocketAddr) -> Result<(), Finding> {
    let mut patience = 20;
    let e = loop {
        match bind(address) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == ErrorKind::AddrInUse && patience > 0 => patience -= 1,
            Err(e) => break e,
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let port = address.port();
    let mend = match e.kind() {
        ErrorKind::AddrInUse => format!("see who listens: ss -ltnp 'sport = :{port}'"),
        ErrorKind::PermissionDenied => {
            "ports below 1024 need a right: run `setcap cap_net_bind_service=+ep` on the program, \
             or choose a port above"
                .to_owned()
        }
        ErrorKind::AddrNotAvailable => "see this machine's addresses: ip address".to_owned(),
        _ => "choose another address or port".to_owned(),
    };
    Err(finding(
        format!("cannot listen for {purpose} at {address}: {e}"),
        mend,
    ))
}

fn bind(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?; // connections that were closed just now are no listener
    socket.bind(&address.into())
}

/// Opens and closes a connection to the first contact point that answers; `tls`: shakes hands, too.
fn reachable(
    side: &str,
    points: &[(SocketAddr, String)],
    tls: Option<&Outgoing>,
) -> Result<(), Finding> {
    let patience = Duration::from_millis(limits::CONNECT_TIMEOUT_MS);
    let mut last = None;
    for (address, host) in points {
        let mut stream = match TcpStream::connect_timeout(address, patience) {
            Ok(stream) => stream,
            Err(e) => {
                last = Some((format!("{address}: {e}"), try_port(points)));
                continue;
            }
        };
        let Some(tls) = tls else { return Ok(()) };
        let shaken = stream
            .set_read_timeout(Some(patience))
            .and_then(|()| stream.set_write_timeout(Some(patience)))
            .map_err(ProbeError::from)
            .and_then(|()| probe::handshake(&mut stream, tls, host));
        match shaken {
            Ok(()) => return Ok(()),
            Err(e) => last = Some((format!("{address}: TLS failed: {e}"), try_tls(side, &e))),
        }
    }
    let of = points.len();
    let (reason, mend) = last.unwrap_or_default();
    let what = format!("no contact point of the {side} answers ({of} tried, the last {reason})");
    Err(finding(what, mend))
}

/// The same with the nodes that a secure connect bundle leads to.
fn behind(bundle: &Path, tls: &Outgoing) -> Result<(), Finding> {
    let nodes = cloud::ask(bundle).map_err(|why| {
        let what = format!("the bundle of the target leads to no nodes: {why}");
        finding(what, cloud::MEND)
    })?;
    reachable("target", &nodes.points, Some(tls)).map_err(|found| finding(found.what, cloud::MEND))
}

/// It holds the key of the certificate that lets us in.
fn readable_by_others(bundle: &Path) -> Option<Finding> {
    let mode = Bundle::read(bundle).ok()?.open?;
    let shown = bundle.display();
    let what = format!(
        "--target-secure-connect-bundle {shown} can be read by others than its owner (mode \
         {mode:04o}), and a private key is in it"
    );
    Some(finding(what, format!("run `chmod 0600 {shown}`")))
}

fn try_port(points: &[(SocketAddr, String)]) -> String {
    let first = points.first();
    let (host, port) = first.map_or_else(Default::default, |(a, _)| (a.ip().to_string(), a.port()));
    format!("is the cluster up, and is a firewall between? try: nc -vz {host} {port}")
}

fn try_tls(side: &str, error: &ProbeError) -> String {
    let reason = match error {
        ProbeError::Tls(error) => Some(error.reason()),
        ProbeError::Io(_) | ProbeError::Late | ProbeError::Closed | ProbeError::Name(_) => None,
    };
    match reason {
        Some(TlsFailure::Untrusted) => format!(
            "name the authority that signed it with --{side}-tls-ca, or do without knowing who \
             answers: --{side}-tls-verify none"
        ),
        Some(TlsFailure::Name) => format!(
            "name the name that is in it with --{side}-tls-name, or leave names out: \
             --{side}-tls-verify ca"
        ),
        Some(TlsFailure::Expired) => "have the certificate renewed, or set the clock".to_owned(),
        Some(TlsFailure::Refused | TlsFailure::NoCertificate) => format!(
            "show a certificate that the {side} trusts: --{side}-tls-cert and --{side}-tls-key"
        ),
        _ => format!("if the {side} speaks no TLS at this port: --disable-{side}-tls true"),
    }
}

/// Certificates of ours that have expired, or soon will.
fn expiring(material: &Material) -> Vec<Finding> {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now_s = since_1970.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    let all = [
        (
            "clients",
            material.listener.as_ref().map(|own| own.expiry_s),
        ),
        (
            "the source",
            material.source.as_ref().and_then(|own| own.expiry_s),
        ),
        (
            "the target",
            material.target.as_ref().and_then(|own| own.expiry_s),
        ),
    ];
    let mut found = Vec::new();
    for (whom, expiry_s) in all {
        let Some(expiry_s) = expiry_s else { continue };
        let days = (expiry_s - now_s).div_euclid(24 * 3600);
        let what = match days {
            ..0 => format!("the certificate for {whom} has expired"),
            0..EXPIRY_WARNING_DAYS => format!("the certificate for {whom} expires in {days} days"),
            _ => continue,
        };
        let mend = "have it renewed; a new file is taken over without a restart";
        found.push(finding(what, mend));
    }
    found
}
