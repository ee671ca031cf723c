//! A relay that understands nothing: the ring inside a glommio executor, and optionally a second
//! write to a mirror, to weigh how long it should linger.

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::Context;
use socket2::SockRef;
use twinring::sys::executor::{self, ExecutorConfig, Glue, Need};
use twinring::sys::ring::{Event, Ring, RingConfig, SocketId};
use twinring::sys::socket::{self, StreamOptions};

#[derive(Clone, clap::Args)]
pub(crate) struct Options {
    #[arg(long)]
    listen: SocketAddr,
    /// Where clients' bytes go.
    #[arg(long)]
    source: SocketAddr,
    /// Where a copy of answered requests goes.
    #[arg(long)]
    mirror: Option<SocketAddr>,
    /// How long a copy may wait for others.
    #[arg(long, default_value_t = 0)]
    linger_us: u64,
    /// Arm no timer for the linger: look when something else wakes the relay, a tick at worst.
    #[arg(long)]
    no_timer: bool,
    #[arg(long, value_enum, default_value = "armed")]
    mirror_answers: MirrorAnswers,
    /// The core to run on.
    #[arg(long)]
    core: Option<usize>,
    #[arg(long, default_value_t = 5)]
    tick_ms: u64,
}

/// How the mirror's answers are read.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum MirrorAnswers {
    /// As those of the source: each wakes the relay.
    Armed,
    /// Without being woken, whenever the linger is over.
    Polled,
}

#[derive(Default)]
struct Side {
    peer: Option<SocketId>,
    /// Bytes for this side that are not yet with the ring.
    out: Vec<u8>,
    /// Requests of this client that are not answered yet.
    asked: Vec<u8>,
    is_client: bool,
}

struct Mirror {
    id: SocketId,
    /// To read without the ring.
    descriptor: OwnedFd,
    out: Vec<u8>,
    /// When the oldest copy must go.
    due: Option<Instant>,
}

struct Relay {
    options: Options,
    ring: Ring,
    sides: Vec<Side>,
    dirty: Vec<SocketId>,
    mirror: Option<Mirror>,
}

pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    let config = ExecutorConfig {
        name: "relay".to_owned(),
        core: options.core,
        tick: Duration::from_millis(options.tick_ms),
    };
    executor::spawn(&config, |glue| Relay::run(options, glue))?.join()?
}

impl Relay {
    async fn run(options: Options, glue: Glue) -> anyhow::Result<()> {
        let mut ring = Ring::new(&RingConfig::default())?;
        glue.attach(&mut ring)?;
        ring.listen(socket::listen_shared(options.listen, 1024)?);
        let mut relay = Relay {
            options,
            ring,
            sides: Vec::new(),
            dirty: Vec::new(),
            mirror: None,
        };
        if let Some(address) = relay.options.mirror {
            relay.mirror = Some(relay.open_mirror(address)?);
        }
        loop {
            relay.wait()?;
            relay.handle_events()?;
            relay.flush();
            relay.tend_mirror()?;
            glue.turn(&mut relay.ring, Need::Nothing).await?;
        }
    }

    fn wait(&mut self) -> io::Result<()> {
        let due = self.mirror.as_ref().and_then(|mirror| mirror.due);
        let due = due.filter(|_| !self.options.no_timer);
        let timeout = due.map(|due| due.saturating_duration_since(Instant::now()));
        self.ring.wait(timeout).map(|_| ())
    }

    fn handle_events(&mut self) -> anyhow::Result<()> {
        let mirror = self.mirror.as_ref().map(|mirror| mirror.id);
        let mut accepted = Vec::new();
        let mut ended = Vec::new();
        while let Some(event) = self.ring.next_event() {
            match event {
                Event::Received { id, .. } if mirror == Some(id) => {}
                Event::Received { id, bytes } => {
                    let side = &mut self.sides[id.index()];
                    let Some(peer) = side.peer else { continue };
                    if mirror.is_some() && side.is_client {
                        side.asked.extend_from_slice(bytes);
                    }
                    let answer = !side.is_client;
                    let other = &mut self.sides[peer.index()];
                    other.out.extend_from_slice(bytes);
                    self.dirty.push(peer);
                    if let (Some(mirror), true) = (&mut self.mirror, answer) {
                        mirror.out.append(&mut other.asked);
                    }
                }
                Event::Sent { id, buffer, result } => {
                    result?;
                    let spare = match &mut self.mirror {
                        Some(mirror) if mirror.id == id => &mut mirror.out,
                        _ => &mut self.sides[id.index()].out,
                    };
                    if spare.is_empty() {
                        *spare = buffer;
                        spare.clear();
                    } else {
                        self.dirty.push(id);
                    }
                }
                Event::Accepted { socket, .. } => accepted.push(socket),
                Event::Eof { id } | Event::Failed { id, .. } => ended.push(id),
                Event::Connected { result, .. } => result?,
                Event::AcceptFailed { error, .. } => return Err(error.into()),
                Event::Readable { .. } | Event::Synced { .. } => {}
            }
        }
        for client in accepted {
            self.open_pair(client)?;
        }
        for id in ended {
            if let Some(peer) = mem::take(&mut self.sides[id.index()]).peer {
                self.ring.close(peer);
                self.sides[peer.index()] = Side::default();
            }
            self.ring.close(id);
        }
        Ok(())
    }

    fn open_pair(&mut self, client: OwnedFd) -> anyhow::Result<()> {
        let source =
            std::net::TcpStream::connect(self.options.source).context("reach the source")?;
        socket::set_stream_options(&client, &StreamOptions::default())?;
        socket::set_stream_options(&source, &StreamOptions::default())?;
        let (client, source) = (self.ring.adopt(client), self.ring.adopt(source.into()));
        let length = client.index().max(source.index()) + 1;
        self.sides
            .resize_with(self.sides.len().max(length), Side::default);
        self.sides[client.index()] = Side {
            peer: Some(source),
            is_client: true,
            ..Side::default()
        };
        self.sides[source.index()] = Side {
            peer: Some(client),
            ..Side::default()
        };
        self.ring.start_recv(client);
        self.ring.start_recv(source);
        Ok(())
    }

    fn flush(&mut self) {
        for id in self.dirty.drain(..) {
            let Some(side) = self.sides.get_mut(id.index()) else {
                continue;
            };
            if !side.out.is_empty() && side.peer.is_some() && !self.ring.is_sending(id) {
                self.ring.send(id, mem::take(&mut side.out));
            }
        }
    }

    fn open_mirror(&mut self, address: SocketAddr) -> anyhow::Result<Mirror> {
        let stream = std::net::TcpStream::connect(address).context("reach the mirror")?;
        socket::set_stream_options(&stream, &StreamOptions::default())?;
        let descriptor = stream.as_fd().try_clone_to_owned()?;
        let id = self.ring.adopt(stream.into());
        if self.options.mirror_answers == MirrorAnswers::Armed {
            self.ring.start_recv(id);
        }
        self.sides
            .resize_with(self.sides.len().max(id.index() + 1), Side::default);
        Ok(Mirror {
            id,
            descriptor,
            out: Vec::new(),
            due: None,
        })
    }

    /// Sends copies that have lingered long enough.
    fn tend_mirror(&mut self) -> io::Result<()> {
        let Some(mirror) = &mut self.mirror else {
            return Ok(());
        };
        if mirror.out.is_empty() || self.ring.is_sending(mirror.id) {
            mirror.due = None;
            return Ok(());
        }
        let linger = Duration::from_micros(self.options.linger_us);
        if !linger.is_zero() {
            let now = Instant::now();
            if now < *mirror.due.get_or_insert(now + linger) {
                return Ok(());
            }
        }
        mirror.due = None;
        if self.options.mirror_answers == MirrorAnswers::Polled {
            let mut sink = [MaybeUninit::uninit(); 64 * 1024];
            match SockRef::from(&mirror.descriptor).recv_with_flags(&mut sink, libc::MSG_DONTWAIT) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        self.ring.send(mirror.id, mem::take(&mut mirror.out));
        Ok(())
    }
}
