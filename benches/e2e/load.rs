//! The closed-loop client: each connection keeps `depth` requests in flight.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use twinring::sys::ring::{Event, Ring, RingConfig, SocketId};
use twinring::sys::socket::{self, StreamOptions};

use crate::process::{self, Counts, Perf};
use crate::secure::{self, Secure};
use crate::wire::{self, opcode};

const INSERT: &str = "INSERT INTO bench.kv (key, value) VALUES (?, ?)";
const SELECT: &str = "SELECT value FROM bench.kv WHERE key = ?";
const VERSION: u8 = 4;
/// `LOCAL_QUORUM` (3).
const CONSISTENCY: usize = 6;
/// Flags of `<query_parameters>` (4.1.4): values; default timestamp.
const WITH_VALUES: u8 = 0x01;
const WITH_STAMP: u8 = 0x20;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Whom to ask.
    #[arg(long)]
    target: SocketAddr,
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Requests in flight on each connection: 1 is lock step.
    #[arg(long, default_value_t = 1)]
    depth: u16,
    /// How long to measure.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Before that, so that caches and pools are warm.
    #[arg(long, default_value_t = 0.5)]
    warm_up_seconds: f64,
    /// Bytes of the value that is written.
    #[arg(long, default_value_t = 100)]
    value_bytes: usize,
    /// Read instead of writing: what passes through, and is mirrored by nobody.
    #[arg(long)]
    reads: bool,
    /// Send no timestamp, so that the proxy has to.
    #[arg(long)]
    without_stamp: bool,
    /// TLS with the relay, whose certificate is this one (PEM).
    #[arg(long)]
    tls_ca: Option<PathBuf>,
    /// Processes whose use is divided by the requests.
    #[arg(long, value_delimiter = ',')]
    pids: Vec<u32>,
    /// Count instructions and system calls too (slower: not for times).
    #[arg(long)]
    perf: bool,
    /// Goes into the line as it is: `relay=haproxy shape=c1 round=2`.
    #[arg(long, default_value = "")]
    label: String,
}

struct Connection {
    id: SocketId,
    tls: Option<Secure>,
    rest: Vec<u8>,
    requests: Vec<u8>,
    /// When the request of each stream went out.
    started: Vec<Instant>,
    prepared: Vec<u8>,
}

impl Connection {
    /// Keeps the plain bytes of what came.
    fn receive(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match &mut self.tls {
            Some(tls) => tls.receive(bytes, &mut self.rest)?,
            None => self.rest.extend_from_slice(bytes),
        }
        Ok(())
    }
}

struct Client {
    ring: Ring,
    connections: Vec<Connection>,
    /// Index of the connection by socket.
    by_socket: Vec<usize>,
    latencies_ns: Vec<u32>,
    requests: u64,
    value: Vec<u8>,
    stamped: bool,
    reads: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    ensure!(
        options.connections > 0 && (1..=32_768).contains(&options.depth),
        "nothing to do"
    );
    let mut client = Client::connect(options)?;
    client.handshake()?;
    for at in 0..client.connections.len() {
        for stream in 0..options.depth {
            client.put_execute(at, stream.to_be_bytes());
        }
        client.flush(at)?;
    }
    client.turn_until(Instant::now() + Duration::from_secs_f64(options.warm_up_seconds))?;
    client.latencies_ns.clear();
    client.requests = 0;

    let perf = if options.perf {
        Some(Perf::attach(&options.pids)?)
    } else {
        None
    };
    let before = process::used(&options.pids)?;
    let own_before = process::used(&[std::process::id()])?;
    let start = Instant::now();
    client.turn_until(start + Duration::from_secs_f64(options.seconds))?;
    let elapsed = start.elapsed();
    let used = process::used(&options.pids)?.since(before);
    let own = process::used(&[std::process::id()])?.since(own_before);
    let counts = perf.map(Perf::finish).transpose()?.unwrap_or_default();

    let figures = Figures {
        elapsed,
        used,
        own,
        counts,
    };
    client.report(&options.label, &figures);
    Ok(())
}

struct Figures {
    elapsed: Duration,
    used: process::Use,
    own: process::Use,
    counts: Counts,
}

impl Client {
    fn connect(options: &Options) -> anyhow::Result<Client> {
        let mut ring = Ring::new(&RingConfig::default())?;
        let mut connections = Vec::new();
        let mut by_socket = Vec::new();
        let tls = options.tls_ca.as_deref().map(secure::config).transpose()?;
        for at in 0..options.connections {
            let mut stream = std::net::TcpStream::connect(options.target)?;
            socket::set_stream_options(&stream, &StreamOptions::default())?;
            let tls = tls.as_ref();
            let tls = tls.map(|tls| Secure::open(tls, &mut stream, options.target));
            let tls = tls.transpose()?;
            let id = ring.adopt(stream.into());
            ring.start_recv(id);
            by_socket.resize(by_socket.len().max(id.index() + 1), usize::MAX);
            by_socket[id.index()] = at;
            connections.push(Connection {
                id,
                tls,
                rest: Vec::new(),
                requests: Vec::new(),
                started: vec![Instant::now(); usize::from(options.depth)],
                prepared: Vec::new(),
            });
        }
        Ok(Client {
            ring,
            connections,
            by_socket,
            latencies_ns: Vec::with_capacity(1 << 20),
            requests: 0,
            value: vec![b'v'; options.value_bytes],
            stamped: !options.without_stamp && !options.reads,
            reads: options.reads,
        })
    }

    /// STARTUP and PREPARE on every connection.
    fn handshake(&mut self) -> anyhow::Result<()> {
        let mut startup = Vec::new();
        wire::put_short(&mut startup, 1);
        wire::put_string(&mut startup, "CQL_VERSION");
        wire::put_string(&mut startup, "3.0.0");
        let mut prepare = Vec::new();
        wire::put_long_string(&mut prepare, if self.reads { SELECT } else { INSERT });
        for connection in &mut self.connections {
            let out = &mut connection.requests;
            wire::put_envelope(out, VERSION, [0; 2], opcode::STARTUP, &startup);
        }
        (0..self.connections.len()).try_for_each(|at| self.flush(at))?;
        self.turn_until_all(|connection| !connection.started.is_empty(), opcode::READY)?;
        for connection in &mut self.connections {
            let out = &mut connection.requests;
            wire::put_envelope(out, VERSION, [0; 2], opcode::PREPARE, &prepare);
        }
        (0..self.connections.len()).try_for_each(|at| self.flush(at))?;
        self.turn_until_all(|connection| !connection.prepared.is_empty(), opcode::RESULT)
    }

    /// Waits for one answer of the given opcode on each connection.
    fn turn_until_all(
        &mut self,
        complete: impl Fn(&Connection) -> bool,
        expected: u8,
    ) -> anyhow::Result<()> {
        let mut missing = self.connections.len();
        let deadline = Instant::now() + Duration::from_secs(10);
        while missing > 0 {
            ensure!(Instant::now() < deadline, "no answer to the handshake");
            self.ring.wait(Some(Duration::from_millis(100)))?;
            while let Some(event) = self.ring.next_event() {
                match event {
                    Event::Received { id, bytes } => {
                        let connection = &mut self.connections[self.by_socket[id.index()]];
                        connection.receive(bytes)?;
                        let Some((answer, _)) = wire::split(&connection.rest) else {
                            continue;
                        };
                        ensure!(answer.opcode == expected, "answer {:?}", answer.body);
                        // Prepared (4.2.5.4): kind, then the id.
                        if let Some(id) = answer.body.get(4..).and_then(wire::take_short_bytes) {
                            connection.prepared = id.to_vec();
                        }
                        connection.rest.clear();
                        ensure!(complete(connection), "an answer without what was asked for");
                        missing -= 1;
                    }
                    Event::Sent { result, .. } => result?,
                    other => bail!("{other:?}"),
                }
            }
        }
        Ok(())
    }

    /// The loop that is measured.
    fn turn_until(&mut self, deadline: Instant) -> anyhow::Result<()> {
        let mut dirty = Vec::new();
        let mut streams = Vec::new();
        loop {
            self.ring.wait(Some(Duration::from_millis(100)))?;
            let now = Instant::now();
            if now >= deadline {
                return Ok(());
            }
            while let Some(event) = self.ring.next_event() {
                match event {
                    Event::Received { id, bytes } => {
                        let at = self.by_socket[id.index()];
                        let connection = &mut self.connections[at];
                        connection.receive(bytes)?;
                        let mut rest = connection.rest.as_slice();
                        while let Some((answer, after)) = wire::split(rest) {
                            ensure!(answer.opcode == opcode::RESULT, "answer {:?}", answer.body);
                            let stream = usize::try_from(answer.stream())?;
                            let took = now.duration_since(connection.started[stream]);
                            self.latencies_ns.push(u32::try_from(took.as_nanos())?);
                            streams.push((at, answer.stream));
                            rest = after;
                        }
                        let used = connection.rest.len() - rest.len();
                        connection.rest.drain(..used);
                        dirty.push(at);
                    }
                    Event::Sent { id, result, .. } => {
                        result?;
                        dirty.push(self.by_socket[id.index()]);
                    }
                    other => bail!("{other:?}"),
                }
            }
            self.requests += streams.len() as u64;
            for (at, stream) in streams.drain(..) {
                self.put_execute(at, stream);
            }
            dirty.drain(..).try_for_each(|at| self.flush(at))?;
        }
    }

    fn put_execute(&mut self, at: usize, stream: [u8; 2]) {
        let connection = &mut self.connections[at];
        let key = (at as u64).to_be_bytes();
        let mut body = Vec::with_capacity(64 + self.value.len());
        wire::put_short_bytes(&mut body, &connection.prepared);
        wire::put_short(&mut body, CONSISTENCY);
        body.push(if self.stamped {
            WITH_VALUES | WITH_STAMP
        } else {
            WITH_VALUES
        });
        wire::put_short(&mut body, if self.reads { 1 } else { 2 });
        wire::put_bytes(&mut body, &key);
        if !self.reads {
            wire::put_bytes(&mut body, &self.value);
        }
        if self.stamped {
            body.extend_from_slice(&1_700_000_000_000_000u64.to_be_bytes());
        }
        wire::put_envelope(
            &mut connection.requests,
            VERSION,
            stream,
            opcode::EXECUTE,
            &body,
        );
        connection.started[usize::from(u16::from_be_bytes(stream))] = Instant::now();
    }

    fn flush(&mut self, at: usize) -> anyhow::Result<()> {
        let connection = &mut self.connections[at];
        if !connection.requests.is_empty() && !self.ring.is_sending(connection.id) {
            let requests = std::mem::take(&mut connection.requests);
            let bytes = match &mut connection.tls {
                Some(tls) => tls.seal(&requests)?,
                None => requests,
            };
            self.ring.send(connection.id, bytes);
        }
        Ok(())
    }

    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    fn report(&mut self, label: &str, figures: &Figures) {
        self.latencies_ns.sort_unstable();
        let quantile = |per_mille: usize| {
            let last = self.latencies_ns.len().saturating_sub(1);
            let at = (self.latencies_ns.len() * per_mille / 1000).min(last);
            self.latencies_ns
                .get(at)
                .map_or(0.0, |ns| f64::from(*ns) / 1000.0)
        };
        let requests = self.requests.max(1) as f64;
        let per_request = |count: u64| count as f64 / requests;
        let optional = |name: &str, count: Option<f64>| {
            count.map_or_else(String::new, |count| {
                format!(" {name}={:.2}", count / requests)
            })
        };
        println!(
            "{label} cpu_us={:.3} rps={:.0} p50_us={:.1} p99_us={:.1} sleeps={:.3} \
             preempted={:.3} client_cpu_us={:.3}{}{}{}",
            per_request(figures.used.cpu_ns) / 1000.0,
            requests / figures.elapsed.as_secs_f64(),
            quantile(500),
            quantile(990),
            per_request(figures.used.voluntary_switches),
            per_request(figures.used.involuntary_switches),
            per_request(figures.own.cpu_ns) / 1000.0,
            optional("user_instructions", figures.counts.user_instructions),
            optional("kernel_instructions", figures.counts.kernel_instructions),
            optional("syscalls", figures.counts.syscalls),
        );
    }
}
