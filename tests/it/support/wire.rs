//! A wire between the proxy and a node that a test can make bad: slow, silent, cut.
//!
//! A relay of threads, because the traffic shaping of the kernel (`tc netem`) is not in every
//! kernel. Bytes are never changed, lost or reordered: what TCP promises, this keeps.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A relay in front of a node; it ends with the test process.
#[derive(Debug)]
pub struct Wire {
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    to: SocketAddr,
    /// Each way (µs).
    delay_us: AtomicU64,
    /// Nothing moves, nothing is closed.
    silent: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Wire {
    /// Listens on `ip:9042` and leads to `to`.
    pub fn start(ip: Ipv4Addr, to: SocketAddr) -> Wire {
        let listener = TcpListener::bind((ip, 9042)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            to,
            delay_us: AtomicU64::new(0),
            silent: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if let Ok(node) = TcpStream::connect(shared.to) {
                    join(&shared, client, node);
                } // else both ends close: the node is away
            }
        });
        Wire { address, state }
    }

    /// Every byte takes this long, each way.
    pub fn delay(&self, each_way: Duration) {
        let us = u64::try_from(each_way.as_micros()).unwrap();
        self.state.delay_us.store(us, Ordering::Relaxed);
    }

    /// Nothing moves any more, in either direction; or it does again.
    pub fn silent(&self, silent: bool) {
        self.state.silent.store(silent, Ordering::Relaxed);
    }

    /// Cuts every connection with a reset, whatever is on its way.
    pub fn reset(&self) -> usize {
        let open = std::mem::take(&mut *self.state.open.lock().unwrap());
        for stream in &open {
            // Closing with a linger of 0 sends a reset; the relay threads then see the end.
            let _ = socket_reset(stream);
        }
        open.len() / 2
    }
}

fn socket_reset(stream: &TcpStream) -> std::io::Result<()> {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
    stream.shutdown(Shutdown::Both)
}

fn join(state: &Arc<State>, client: TcpStream, node: TcpStream) {
    for stream in [&client, &node] {
        stream.set_nodelay(true).unwrap();
    }
    let ends = [client.try_clone(), node.try_clone()];
    state
        .open
        .lock()
        .unwrap()
        .extend(ends.into_iter().flatten());
    let back = (node.try_clone().unwrap(), client.try_clone().unwrap());
    for (from, to) in [(client, node), back] {
        let (chunks, ready) = channel();
        let (reader, writer) = (Arc::clone(state), Arc::clone(state));
        std::thread::spawn(move || read(&reader, from, &chunks));
        std::thread::spawn(move || write(&writer, to, &ready));
    }
}

type Chunk = (Instant, Vec<u8>);

fn read(state: &State, mut from: TcpStream, chunks: &Sender<Chunk>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count) = from.read(&mut buffer) {
        let delay = Duration::from_micros(state.delay_us.load(Ordering::Relaxed));
        let chunk = (Instant::now() + delay, buffer[..count].to_vec());
        if count == 0 || chunks.send(chunk).is_err() {
            break;
        }
    }
}

fn write(state: &State, mut to: TcpStream, chunks: &Receiver<Chunk>) {
    while let Ok((due, bytes)) = chunks.recv() {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        while state.silent.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
