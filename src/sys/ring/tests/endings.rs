//! Closing, and what is left behind: nothing.

use std::process::Command;

use super::*;

#[test]
fn thousands_of_connections_leave_nothing_behind() {
    const ROUNDS: usize = 3000;
    let (mut ring, listener, address) = ring_with_listener(&small());
    let client = thread::spawn(move || {
        for round in 0..ROUNDS {
            let mut stream = TcpStream::connect(address).unwrap();
            // Some say nothing, some do not wait for the answer, some go at once.
            match round % 3 {
                0 => stream.write_all(b"hello").unwrap(),
                1 => {
                    stream.write_all(b"hello").unwrap();
                    stream.read_exact(&mut [0; 5]).unwrap();
                }
                _ => stream.shutdown(Shutdown::Both).unwrap_or(()),
            }
        }
    });
    let mut inodes = HashSet::new();
    let mut closed = 0;
    run(&mut ring, |ring, seen| {
        match seen {
            Seen::Accepted(socket) => {
                let id = ring.adopt(socket);
                inodes.insert(inode(ring, id));
                ring.start_recv(id);
            }
            Seen::Received(id, bytes) => {
                if !ring.is_sending(id) {
                    ring.send(id, bytes);
                }
            }
            // Closed with a receive, and at times a send, with the kernel.
            Seen::Sent(id, ..) if id.index() % 2 == 0 => {}
            Seen::Sent(id, ..) | Seen::Eof(id) | Seen::Failed(id, _) => {
                ring.close(id);
                closed += 1;
            }
            other => panic!("{other:?}"),
        }
        closed == ROUNDS
    });
    client.join().unwrap();
    ring.close(listener);
    collect(&mut ring, Duration::from_millis(50));
    assert_eq!(ring.socket_count(), 0);
    assert_eq!(ring.in_flight, 0);
    assert!(ring.sockets.capacity() < 200, "slots are used again");
    assert_eq!(inodes.len(), ROUNDS);
    assert!(
        inodes.is_disjoint(&open_sockets()),
        "descriptors are closed"
    );
    assert_eq!(
        ring.buffers.with_kernel(&ring.kernel).unwrap(),
        16,
        "all buffers came back"
    );
}

#[test]
fn closing_with_a_send_in_flight_frees_everything() {
    let (mut ring, listener, address) = ring_with_listener(&small());
    let (id, mut peer) = pair(&mut ring, address);
    let inode = inode(&ring, id);
    ring.start_recv(id);
    ring.send(id, vec![7; 64 << 20]);
    ring.wait(Some(Duration::from_millis(20))).unwrap();
    assert!(next(&mut ring).is_none(), "nobody reads, so the send hangs");
    peer.write_all(b"late").unwrap();
    ring.close(id);
    assert!(!ring.is_sending(id));
    let after = collect(&mut ring, Duration::from_millis(50));
    assert!(after.is_empty(), "{after:?}");
    ring.close(listener);
    collect(&mut ring, Duration::from_millis(20));
    assert_eq!((ring.socket_count(), ring.in_flight), (0, 0));
    assert!(!open_sockets().contains(&inode));
    // The peer sees the end, after what the kernel had taken.
    let mut part = vec![0; 1 << 20];
    while let Ok(1..) = peer.read(&mut part) {}
}

#[test]
fn a_small_send_before_a_close_arrives() {
    let (mut ring, _, address) = ring_with_listener(&small());
    for _ in 0..50 {
        let (id, mut peer) = pair(&mut ring, address);
        ring.send(id, b"goodbye".to_vec());
        ring.close(id);
        ring.wait(Some(Duration::from_millis(20))).unwrap();
        assert!(next(&mut ring).is_none(), "a closed socket tells nothing");
        let mut last = String::new();
        peer.read_to_string(&mut last).unwrap();
        assert_eq!(last, "goodbye");
    }
}

#[test]
fn a_stale_id_is_ignored() {
    let (mut ring, _, address) = ring_with_listener(&small());
    let (old, _peer) = pair(&mut ring, address);
    ring.close(old);
    let (new, mut peer) = pair(&mut ring, address);
    assert_eq!(old.index(), new.index(), "the slot is used again");
    assert_ne!(old, new);
    ring.send(old, b"wrong".to_vec());
    ring.shutdown_write(old);
    ring.start_recv(old);
    ring.close(old);
    assert!(!ring.is_sending(old));
    assert!(ring.descriptor(old).is_none());
    ring.send(new, b"right".to_vec());
    run(
        &mut ring,
        |_, seen| matches!(seen, Seen::Sent(id, ..) if id == new),
    );
    let mut answer = [0; 5];
    peer.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"right");
}

#[test]
fn closing_while_connecting_tells_nothing() {
    let mut ring = Ring::new(&small()).unwrap();
    // TEST-NET-1 (RFC 5737): nobody answers; a machine without a route refuses at once.
    let id = ring.connect("192.0.2.1:9042".parse().unwrap()).unwrap();
    ring.submit().unwrap();
    ring.close(id);
    let after = collect(&mut ring, Duration::from_millis(30));
    assert!(after.is_empty(), "{after:?}");
    assert_eq!((ring.socket_count(), ring.in_flight), (0, 0));
}

#[test]
fn no_more_clients_after_stop_accept() {
    let (mut ring, listener, address) = ring_with_listener(&small());
    let (_, _peer) = pair(&mut ring, address);
    ring.stop_accept(listener);
    collect(&mut ring, Duration::from_millis(20));
    let _waiting = TcpStream::connect(address).unwrap();
    let after = collect(&mut ring, Duration::from_millis(30));
    assert!(after.is_empty(), "{after:?}");
    ring.close(listener);
    collect(&mut ring, Duration::from_millis(20));
    let error = TcpStream::connect(address).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_ring_dropped_in_full_flight_frees_its_sockets() {
    let (mut ring, _, address) = ring_with_listener(&small());
    let (id, _peer) = pair(&mut ring, address);
    let (other, mut talker) = pair(&mut ring, address);
    let inodes = [inode(&ring, id), inode(&ring, other)];
    ring.send(id, vec![7; 64 << 20]);
    ring.start_recv(other);
    ring.submit().unwrap();
    talker.write_all(&pattern(100_000)).unwrap();
    let start = Instant::now();
    drop(ring);
    assert!(start.elapsed() < QUIESCE_LIMIT, "the kernel let go");
    let open = open_sockets();
    assert!(inodes.iter().all(|inode| !open.contains(inode)));
}

/// Runs itself in a process of its own, whose descriptors it may use up.
#[test]
fn accepting_rests_when_descriptors_run_out() {
    const ALONE: &str = "TWINRING_TEST_FEW_DESCRIPTORS";
    if std::env::var_os(ALONE).is_none() {
        let name = "sys::ring::tests::endings::accepting_rests_when_descriptors_run_out";
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--test-threads=1"])
            .env(ALONE, "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let (mut ring, _, address) = ring_with_listener(&small());
    // The client's end is in a child, so that only accepted sockets count here.
    let mut client = Command::new("bash")
        .arg("-c")
        .arg(format!(
            "for i in {{1..30}}; do eval \"exec $((100 + i))<>/dev/tcp/127.0.0.1/{}\"; done; read",
            address.port()
        ))
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let hoard: Vec<_> = (0..)
        .map_while(|_| File::open("/dev/null").ok())
        .take(50)
        .collect();
    let limit = libc::rlimit {
        rlim_cur: hoard.len() as u64 + 10,
        rlim_max: 20_000,
    };
    // SAFETY: `limit` is valid for the one structure that the call reads.
    let answer = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(answer, 0);
    let (mut failures, mut accepted) = (0, Vec::new());
    for seen in collect(&mut ring, Duration::from_millis(500)) {
        match seen {
            Seen::Accepted(socket) => accepted.push(socket),
            Seen::AcceptFailed(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
                failures += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(
        (1..=15).contains(&failures),
        "{failures} in half a second: no rest, or no end of it"
    );
    let missing = 30 - accepted.len();
    assert!(missing > 0);
    drop(hoard);
    let late = collect(&mut ring, Duration::from_millis(200));
    let late = late
        .iter()
        .filter(|seen| matches!(seen, Seen::Accepted(_)))
        .count();
    assert_eq!(late, missing, "the rest come in when there is room");
    drop(client.stdin.take());
    client.wait().unwrap();
}
