//! The ring against the standard library's sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test stops at what it did not expect, and its threads may sleep"
)]

use std::collections::HashSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::thread;

use super::*;
use crate::sys::{socket, waker};

mod endings;
mod spinning;

const PATIENCE: Duration = Duration::from_secs(20);

fn small() -> RingConfig {
    RingConfig {
        submission_entries: 64,
        completion_entries: 256,
        buffers: 16,
        buffer_bytes: 4096,
        spin: Spin::Never,
    }
}

/// A ring, a listener on it and the listener's address.
fn ring_with_listener(config: &RingConfig) -> (Ring, SocketId, SocketAddr) {
    let mut ring = Ring::new(config).unwrap();
    let listener = socket::listen_shared("127.0.0.1:0".parse().unwrap(), 1024).unwrap();
    let address = listener.local_addr().unwrap();
    let listener = ring.listen(listener);
    (ring, listener, address)
}

/// What a test keeps of an event.
#[derive(Debug)]
enum Seen {
    Accepted(OwnedFd),
    AcceptFailed(io::Error),
    Connected(SocketId, io::Result<()>),
    Received(SocketId, Vec<u8>),
    Eof(SocketId),
    Failed(SocketId, io::Error),
    Sent(SocketId, Vec<u8>, io::Result<()>),
    Readable(u32),
    Synced(io::Result<()>),
}

fn next(ring: &mut Ring) -> Option<Seen> {
    Some(match ring.next_event()? {
        Event::Accepted { socket, .. } => Seen::Accepted(socket),
        Event::AcceptFailed { error, .. } => Seen::AcceptFailed(error),
        Event::Connected { id, result } => Seen::Connected(id, result),
        Event::Received { id, bytes } => {
            assert!(!bytes.is_empty(), "an empty receive");
            Seen::Received(id, bytes.to_vec())
        }
        Event::Eof { id } => Seen::Eof(id),
        Event::Failed { id, error } => Seen::Failed(id, error),
        Event::Sent { id, buffer, result } => Seen::Sent(id, buffer, result),
        Event::Readable { token } => Seen::Readable(token),
        Event::Synced { result } => Seen::Synced(result),
    })
}

/// Runs the loop until `done` says so.
fn run(ring: &mut Ring, mut done: impl FnMut(&mut Ring, Seen) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        ring.wait(Some(Duration::from_millis(100))).unwrap();
        let mut finished = false;
        while let Some(seen) = next(ring) {
            finished |= done(ring, seen);
        }
        if finished {
            return;
        }
        assert!(Instant::now() < deadline, "nothing more happens");
    }
}

/// Everything that happens within `time`.
fn collect(ring: &mut Ring, time: Duration) -> Vec<Seen> {
    let deadline = Instant::now() + time;
    let mut all = Vec::new();
    while Instant::now() < deadline {
        ring.wait(Some(Duration::from_millis(5))).unwrap();
        while let Some(seen) = next(ring) {
            all.push(seen);
        }
    }
    all
}

/// A stream adopted by the ring, and the peer's end of it.
fn pair(ring: &mut Ring, address: SocketAddr) -> (SocketId, TcpStream) {
    let peer = TcpStream::connect(address).unwrap();
    let mut id = None;
    run(ring, |ring, seen| {
        let Seen::Accepted(socket) = seen else {
            panic!("{seen:?}")
        };
        id = Some(ring.adopt(socket));
        true
    });
    (id.unwrap(), peer)
}

/// Inodes of the sockets that this process has open.
fn open_sockets() -> HashSet<u64> {
    fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::metadata(entry.path()).ok())
        .map(|metadata| metadata.ino())
        .collect()
}

fn inode(ring: &Ring, id: SocketId) -> u64 {
    let descriptor = ring.descriptor(id).unwrap().as_raw_fd();
    fs::metadata(format!("/proc/self/fd/{descriptor}"))
        .unwrap()
        .ino()
}

/// A buffer that tells a lost, doubled or swapped byte.
fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| u8::try_from((at * 31 + at / 251) % 251).unwrap())
        .collect()
}

/// Sends back what comes in. Returns when `clients` of them have come and gone.
fn echo(ring: &mut Ring, clients: usize) {
    let mut gone = 0;
    let mut waiting: Vec<Vec<u8>> = Vec::new();
    let mut ended: HashSet<SocketId> = HashSet::new();
    run(ring, |ring, seen| {
        match seen {
            Seen::Accepted(socket) => {
                let id = ring.adopt(socket);
                waiting.resize_with(waiting.len().max(id.index() + 1), Vec::new);
                waiting[id.index()].clear();
                ring.start_recv(id);
            }
            Seen::Received(id, bytes) if ring.is_sending(id) => {
                waiting[id.index()].extend(bytes);
            }
            Seen::Received(id, bytes) => ring.send(id, bytes),
            Seen::Sent(id, _, result) => {
                result.unwrap();
                let more = mem::take(&mut waiting[id.index()]);
                if !more.is_empty() {
                    ring.send(id, more);
                } else if ended.remove(&id) {
                    ring.close(id);
                    gone += 1;
                }
            }
            Seen::Eof(id) if ring.is_sending(id) => {
                ended.insert(id);
            }
            Seen::Eof(id) => {
                ring.close(id);
                gone += 1;
            }
            other => panic!("{other:?}"),
        }
        gone == clients
    });
}

#[test]
fn echoes_for_many_clients_with_few_buffers() {
    const CLIENTS: usize = 64;
    let config = RingConfig {
        buffers: 2,
        buffer_bytes: 64,
        ..small()
    };
    let (mut ring, _, address) = ring_with_listener(&config);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                let message = pattern(1000 + number * 37);
                let mut answer = vec![0; message.len()];
                for _ in 0..5 {
                    stream.write_all(&message).unwrap();
                    stream.read_exact(&mut answer).unwrap();
                    assert_eq!(answer, message);
                }
            })
        })
        .collect();
    echo(&mut ring, CLIENTS);
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());
    assert_eq!(ring.socket_count(), 1, "the listener");
}

#[test]
fn completions_beyond_the_queue_are_not_lost() {
    const CLIENTS: usize = 48;
    let config = RingConfig {
        submission_entries: 2,
        completion_entries: 4,
        ..small()
    };
    let (mut ring, _, address) = ring_with_listener(&config);
    let clients = thread::spawn(move || {
        let mut streams: Vec<_> = (0..CLIENTS)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        for round in 0..20u8 {
            // All at once, so that completions pile up.
            for stream in &mut streams {
                stream.write_all(&[round; 300]).unwrap();
            }
            for stream in &mut streams {
                let mut answer = [0; 300];
                stream.read_exact(&mut answer).unwrap();
                assert_eq!(answer, [round; 300]);
            }
        }
    });
    echo(&mut ring, CLIENTS);
    clients.join().unwrap();
}

#[test]
fn a_slow_reader_gets_all_of_a_large_send() {
    let (mut ring, _, address) = ring_with_listener(&small());
    let (id, peer) = pair(&mut ring, address);
    let message = pattern(8 << 20);
    let expected = message.clone();
    let reader = thread::spawn(move || {
        let mut peer = peer;
        let mut got = Vec::new();
        let mut part = vec![0; 1 << 20];
        loop {
            thread::sleep(Duration::from_millis(2));
            match peer.read(&mut part).unwrap() {
                0 => break,
                length => got.extend_from_slice(&part[..length]),
            }
        }
        assert!(
            got == expected,
            "{} of {} bytes, or others",
            got.len(),
            expected.len()
        );
    });
    ring.send(id, message);
    assert!(ring.is_sending(id));
    run(&mut ring, |ring, seen| {
        let Seen::Sent(sent, buffer, result) = seen else {
            panic!("{seen:?}")
        };
        result.unwrap();
        assert_eq!((sent, buffer.len()), (id, 8 << 20));
        assert!(!ring.is_sending(id));
        ring.shutdown_write(id);
        true
    });
    reader.join().unwrap();
}

#[test]
fn a_send_that_goes_through_ends_no_wait() {
    const ROUNDS: u64 = 100;
    let (mut ring, _, address) = ring_with_listener(&small());
    assert!(send::works(&mut ring.kernel).unwrap(), "else all is slower");
    let (id, mut peer) = pair(&mut ring, address);
    ring.start_recv(id);
    let partner = thread::spawn(move || {
        for round in 0..ROUNDS {
            let message = [u8::try_from(round).unwrap(); 100];
            peer.write_all(&message).unwrap();
            let mut answer = [0; 100];
            peer.read_exact(&mut answer).unwrap();
            assert_eq!(answer, message);
        }
    });
    let (before, mut sent) = (ring.calls(), 0);
    for _ in 0..ROUNDS {
        let mut received = None;
        while received.is_none() {
            assert!(ring.wait(Some(PATIENCE)).unwrap() > 0);
            while let Some(seen) = next(&mut ring) {
                match seen {
                    Seen::Received(_, bytes) => received = Some(bytes),
                    Seen::Sent(.., result) => sent += u64::from(result.is_ok()),
                    other => panic!("{other:?}"),
                }
            }
        }
        ring.send(id, received.unwrap());
    }
    let calls = ring.calls() - before;
    assert_eq!(calls, ROUNDS, "one for each thing that comes");
    assert_eq!(sent, ROUNDS - 1, "all but the last are known to have ended");
    ring.submit().unwrap();
    partner.join().unwrap();
}

#[test]
fn who_waits_for_the_end_of_a_send_need_not_wait_long() {
    let (mut ring, _, address) = ring_with_listener(&small());
    let (id, mut peer) = pair(&mut ring, address);
    ring.send(id, b"one".to_vec());
    assert!(ring.is_sending(id));
    assert_eq!(ring.wait(Some(PATIENCE)).unwrap(), 1, "nothing else comes");
    assert!(matches!(next(&mut ring), Some(Seen::Sent(sent, ..)) if sent == id));
    assert!(!ring.is_sending(id));
    assert_eq!(ring.wait(Some(Duration::ZERO)).unwrap(), 0);
    // a full socket: the kernel tells of it, and of the rest when that is through
    ring.send(id, pattern(8 << 20));
    assert!(ring.is_sending(id));
    let reader = thread::spawn(move || {
        let mut got = vec![0; 3 + (8 << 20)];
        peer.read_exact(&mut got).unwrap();
        assert!(got[..3] == *b"one" && got[3..] == pattern(8 << 20));
    });
    run(&mut ring, |_, seen| match seen {
        Seen::Sent(.., result) => result.is_ok(),
        other => panic!("{other:?}"),
    });
    reader.join().unwrap();
    assert_eq!(ring.in_flight, 1, "the listener");
}

#[test]
fn a_paused_socket_makes_its_peer_wait_and_loses_nothing() {
    let (mut ring, _, address) = ring_with_listener(&small());
    let (id, mut peer) = pair(&mut ring, address);
    let message = pattern(200_000);
    peer.write_all(&message[..1000]).unwrap();
    ring.start_recv(id);
    ring.start_recv(id);
    let mut got = Vec::new();
    run(&mut ring, |_, seen| {
        let Seen::Received(_, bytes) = seen else {
            panic!("{seen:?}")
        };
        got.extend(bytes);
        got.len() == 1000
    });
    ring.pause_recv(id);
    ring.pause_recv(id);
    collect(&mut ring, Duration::from_millis(20));
    peer.write_all(&message[1000..50_000]).unwrap();
    let quiet = collect(&mut ring, Duration::from_millis(50));
    assert!(quiet.is_empty(), "{} events while paused", quiet.len());
    // Paused and started in one breath, in every order, while bytes arrive.
    ring.start_recv(id);
    ring.pause_recv(id);
    ring.start_recv(id);
    let mut rest = &message[50_000..];
    let mut turn = 0;
    run(&mut ring, |ring, seen| {
        let Seen::Received(_, bytes) = seen else {
            panic!("{seen:?}")
        };
        got.extend(bytes);
        turn += 1;
        if turn % 3 == 0 {
            ring.pause_recv(id);
        }
        if turn % 2 == 0 {
            ring.submit().unwrap();
        }
        ring.start_recv(id);
        let (now, later) = rest.split_at(rest.len().min(5000));
        peer.write_all(now).unwrap();
        rest = later;
        got.len() == message.len()
    });
    assert_eq!(got, message);
}

#[test]
fn wait_ends_on_time_and_no_sooner() {
    let mut ring = Ring::new(&small()).unwrap();
    let limit = Duration::from_millis(30);
    let start = Instant::now();
    assert_eq!(ring.wait(Some(limit)).unwrap(), 0);
    assert!(start.elapsed() >= limit);
    assert!(start.elapsed() < limit * 20);
    let start = Instant::now();
    assert_eq!(ring.wait(Some(Duration::ZERO)).unwrap(), 0);
    assert!(start.elapsed() < limit);
}

#[test]
fn connects_and_is_refused() {
    let (mut ring, listener, address) = ring_with_listener(&small());
    let id = ring.connect(address).unwrap();
    let mut accepted = None;
    let mut connected = false;
    run(&mut ring, |_, seen| {
        match seen {
            Seen::Connected(answered, result) => {
                result.unwrap();
                assert_eq!(answered, id);
                connected = true;
            }
            Seen::Accepted(socket) => accepted = Some(socket),
            other => panic!("{other:?}"),
        }
        connected && accepted.is_some()
    });
    let mut peer = TcpStream::from(accepted.unwrap());
    ring.send(id, b"ping".to_vec());
    ring.start_recv(id);
    run(&mut ring, |_, seen| matches!(seen, Seen::Sent(..)));
    let mut ping = [0; 4];
    peer.read_exact(&mut ping).unwrap();
    drop(peer);
    run(
        &mut ring,
        |_, seen| matches!(seen, Seen::Eof(ended) if ended == id),
    );
    ring.close(id);
    ring.close(listener);
    collect(&mut ring, Duration::from_millis(20));

    let refused = ring.connect(address).unwrap();
    run(&mut ring, |_, seen| {
        let Seen::Connected(id, Err(error)) = seen else {
            panic!("{seen:?}")
        };
        assert_eq!(
            (id, error.kind()),
            (refused, io::ErrorKind::ConnectionRefused)
        );
        true
    });
    ring.close(refused);
    assert_eq!((ring.socket_count(), ring.in_flight), (0, 0));
}

#[test]
fn a_reset_is_a_failure() {
    let (mut ring, _, address) = ring_with_listener(&small());
    let (id, peer) = pair(&mut ring, address);
    ring.start_recv(id);
    ring.submit().unwrap();
    socket2::SockRef::from(&peer)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(peer);
    run(&mut ring, |_, seen| {
        let Seen::Failed(failed, error) = seen else {
            panic!("{seen:?}")
        };
        assert_eq!((failed, error.kind()), (id, io::ErrorKind::ConnectionReset));
        true
    });
    ring.send(id, b"into the void".to_vec());
    run(&mut ring, |_, seen| {
        let Seen::Sent(_, buffer, result) = seen else {
            panic!("{seen:?}")
        };
        assert_eq!(buffer, b"into the void");
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        true
    });
}

#[test]
fn an_empty_send_comes_back_without_waiting() {
    let (mut ring, _, address) = ring_with_listener(&small());
    let (id, _peer) = pair(&mut ring, address);
    ring.send(id, Vec::new());
    let start = Instant::now();
    assert_eq!(ring.wait(None).unwrap(), 1);
    assert!(start.elapsed() < PATIENCE);
    assert!(matches!(next(&mut ring), Some(Seen::Sent(sent, _, Ok(()))) if sent == id));
}

#[test]
fn a_waker_ends_the_wait_of_another_thread() {
    let mut ring = Ring::new(&small()).unwrap();
    let (waker, wakeup) = waker::pair().unwrap();
    ring.watch(std::os::fd::AsFd::as_fd(&wakeup), 7).unwrap();
    for round in 0..3 {
        let waker = waker.clone();
        let other = thread::spawn(move || {
            thread::sleep(Duration::from_millis(10));
            waker.wake();
        });
        let mut seen = 0;
        while seen == 0 {
            assert!(ring.wait(Some(PATIENCE)).unwrap() > 0, "round {round}");
            while let Some(event) = next(&mut ring) {
                assert!(matches!(event, Seen::Readable(7)), "{event:?}");
                wakeup.clear();
                seen += 1;
            }
        }
        other.join().unwrap();
    }
}

#[test]
fn sizes_out_of_range_are_named() {
    let config = RingConfig {
        buffers: 3,
        ..small()
    };
    let error = Ring::new(&config).err().unwrap();
    assert_eq!(
        error.to_string(),
        "buffers is 3, allowed are powers of two up to 32768"
    );
    let config = RingConfig {
        completion_entries: 8,
        submission_entries: 16,
        ..small()
    };
    assert!(matches!(
        Ring::new(&config),
        Err(RingError::OutOfRange { value: 8, .. })
    ));
}

#[test]
fn a_file_is_synced_beside_the_sockets() {
    let mut ring = Ring::new(&small()).unwrap();
    let file = Arc::new(tempfile::tempfile().unwrap());
    for _ in 0..3 {
        (&*file).write_all(b"something").unwrap();
        ring.sync(Arc::clone(&file));
        ring.sync(Arc::clone(&file)); // one at a time
        let (mut done, mut busy) = (false, false);
        run(&mut ring, |_, seen| {
            match seen {
                Seen::Synced(Ok(())) => done = true,
                Seen::Synced(Err(error)) if error.kind() == io::ErrorKind::ResourceBusy => {
                    busy = true;
                }
                other => panic!("{other:?}"),
            }
            done && busy
        });
    }
}

#[test]
fn what_cannot_be_synced_says_so() {
    let mut ring = Ring::new(&small()).unwrap();
    let (reader, _writer) = io::pipe().unwrap();
    ring.sync(Arc::new(File::from(OwnedFd::from(reader))));
    run(&mut ring, |_, seen| {
        let Seen::Synced(result) = seen else {
            panic!("{seen:?}")
        };
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EINVAL));
        true
    });
    assert_eq!(ring.in_flight, 0);
}
