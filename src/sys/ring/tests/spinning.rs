//! A ring that looks for work before it sleeps.

use super::*;
use crate::sys::scheduling::sleeps;

fn spinning() -> RingConfig {
    RingConfig {
        spin: Spin::Always(PATIENCE), // a starved machine is late with what comes soon
        ..small()
    }
}

#[test]
fn it_does_not_sleep_for_what_comes_soon() {
    let (mut ring, _, address) = ring_with_listener(&spinning());
    let (id, mut peer) = pair(&mut ring, address);
    ring.start_recv(id);
    let partner = thread::spawn(move || {
        for _ in 0..40 {
            thread::sleep(Duration::from_millis(3));
            peer.write_all(b"x").unwrap();
        }
        peer
    });
    let (mut received, mut slept, mut calls) = (0, 0, 0);
    while received < 40 {
        let before = (sleeps(), ring.calls());
        assert!(ring.wait(Some(PATIENCE)).unwrap() > 0);
        while let Some(event) = next(&mut ring) {
            let Seen::Received(_, bytes) = event else {
                panic!("{event:?}")
            };
            received += bytes.len();
        }
        slept += sleeps() - before.0;
        calls += ring.calls() - before.1;
    }
    partner.join().unwrap();
    // a page that is not there counts, too
    assert!(slept <= 4, "{slept} sleeps in {received} waits");
    assert!(
        calls <= 40 * 2,
        "{calls} calls for {received} waits: looking is none"
    );
}

#[test]
fn it_ends_on_time_and_echoes_like_another() {
    let (mut ring, _, address) = ring_with_listener(&spinning());
    for limit in [0, 30, 1].map(Duration::from_millis) {
        let start = Instant::now();
        assert_eq!(ring.wait(Some(limit)).unwrap(), 0);
        assert!(start.elapsed() >= limit && start.elapsed() < limit + Duration::from_secs(1));
    }
    let client = thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let message = pattern(20_000);
        let mut answer = vec![0; message.len()];
        for _ in 0..20 {
            stream.write_all(&message).unwrap();
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(answer, message);
        }
    });
    echo(&mut ring, 1);
    client.join().unwrap();
}
