//! Two executors in one process, each with a busy ring of ours, and glommio's services beside it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test stops at what it did not expect, and its threads may sleep"
)]

use std::cell::Cell;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use glommio::io::BufferedFile;

use super::super::ring::{Event, RingConfig, Spin};
use super::super::scheduling::sleeps;
use super::super::{socket, waker};
use super::*;

fn config(name: &str, core: Option<usize>) -> ExecutorConfig {
    ExecutorConfig {
        name: name.to_owned(),
        core,
        tick: Duration::from_millis(5),
    }
}

fn sizes() -> RingConfig {
    RingConfig {
        submission_entries: 64,
        completion_entries: 256,
        buffers: 16,
        buffer_bytes: 4096,
        spin: Spin::Never,
    }
}

/// What happened on a shard of the test.
#[derive(Debug, Default)]
struct Tally {
    echoed: usize,
    timer_ticks: usize,
    file_writes: usize,
    woken: usize,
    rings_watched: usize,
}

/// What glommio does beside the ring: a timer that wakes the neighbour, and a file that is written.
struct Services {
    stop: Rc<Cell<bool>>,
    ticks: Rc<Cell<usize>>,
    writes: Rc<Cell<u64>>,
}

impl Services {
    fn start(neighbour: waker::Waker) -> Services {
        let stop = Rc::new(Cell::new(false));
        let (ticks, writes) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        glommio::spawn_local({
            let (stop, ticks) = (Rc::clone(&stop), Rc::clone(&ticks));
            async move {
                while !stop.get() {
                    glommio::timer::sleep(Duration::from_millis(10)).await;
                    ticks.set(ticks.get() + 1);
                    neighbour.wake();
                }
            }
        })
        .detach();
        glommio::spawn_local({
            let (stop, writes) = (Rc::clone(&stop), Rc::clone(&writes));
            async move {
                let directory = tempfile::tempdir().unwrap();
                let file = BufferedFile::create(directory.path().join("spill"))
                    .await
                    .unwrap();
                while !stop.get() {
                    let length = file
                        .write_at(vec![7; 1000], writes.get() * 1000)
                        .await
                        .unwrap();
                    assert_eq!(length, 1000);
                    writes.set(writes.get() + 1);
                    glommio::timer::sleep(Duration::from_millis(1)).await;
                }
                file.close().await.unwrap();
            }
        })
        .detach();
        Services {
            stop,
            ticks,
            writes,
        }
    }
}

/// Echoes, ticks, writes a file and is woken by its neighbour, for `time`.
async fn shard(
    glue: Glue,
    time: Duration,
    listening: Sender<SocketAddr>,
    wakeup: waker::Wakeup,
    neighbour: waker::Waker,
) -> Tally {
    let mut ring = Ring::new(&sizes()).unwrap();
    glue.attach(&mut ring).unwrap();
    ring.watch(wakeup.as_fd(), 1).unwrap();
    let listener = socket::listen_shared("127.0.0.1:0".parse().unwrap(), 64).unwrap();
    listening.send(listener.local_addr().unwrap()).unwrap();
    ring.listen(listener);

    let services = Services::start(neighbour);
    let mut tally = Tally {
        rings_watched: glue.rings.len(),
        ..Tally::default()
    };
    let deadline = Instant::now() + time;
    while Instant::now() < deadline {
        ring.wait(Some(Duration::from_millis(100))).unwrap();
        let mut accepted = Vec::new();
        let mut answers = Vec::new();
        while let Some(event) = ring.next_event() {
            match event {
                Event::Accepted { socket, .. } => accepted.push(socket),
                Event::Received { id, bytes } => answers.push((id, bytes.to_vec())),
                Event::Readable { .. } => {
                    wakeup.clear();
                    tally.woken += 1;
                }
                Event::Sent { .. } => tally.echoed += 1,
                Event::Eof { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        for socket in accepted {
            let id = ring.adopt(socket);
            ring.start_recv(id);
        }
        for (id, bytes) in answers {
            ring.send(id, bytes);
        }
        glue.turn(&mut ring, Need::Tasks).await.unwrap();
    }
    services.stop.set(true);
    glommio::timer::sleep(Duration::from_millis(30)).await;
    tally.timer_ticks = services.ticks.get();
    tally.file_writes = usize::try_from(services.writes.get()).unwrap();
    tally
}

/// Asks and waits for the answer, until the other side ends.
fn client(listening: &Receiver<SocketAddr>) -> std::thread::JoinHandle<()> {
    use std::io::{Read, Write};
    let address = listening.recv().unwrap();
    std::thread::spawn(move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        socket::set_stream_options(&stream, &socket::StreamOptions::default()).unwrap();
        let mut answer = [0; 100];
        while stream.write_all(&[1; 100]).is_ok() && stream.read_exact(&mut answer).is_ok() {}
    })
}

#[test]
fn glommio_goes_on_beside_the_ring_of_two_shards() {
    let time = Duration::from_millis(1500);
    let (first_waker, first_wakeup) = waker::pair().unwrap();
    let (second_waker, second_wakeup) = waker::pair().unwrap();
    let (first_listening, first_address) = channel();
    let (second_listening, second_address) = channel();
    let first = spawn(&config("first", Some(0)), move |glue| {
        shard(glue, time, first_listening, first_wakeup, second_waker)
    })
    .unwrap();
    let second = spawn(&config("second", Some(1)), move |glue| {
        shard(glue, time, second_listening, second_wakeup, first_waker)
    })
    .unwrap();
    // One shard is busy all the time, the other idle.
    let client = client(&first_address);
    let _idle = second_address.recv().unwrap();
    let tallies = [first.join().unwrap(), second.join().unwrap()];
    client.join().unwrap();
    for tally in &tallies {
        assert_eq!(tally.rings_watched, 3, "glommio has three: {tallies:?}");
        // 150 at best; a timer may be two ticks late, and the machine busy.
        assert!(tally.timer_ticks > 30, "{tallies:?}");
        // Each step of a file's operation waits for a tick, and so does the pause between two.
        assert!(tally.file_writes > 15, "{tallies:?}");
        assert!(tally.woken > 20, "{tallies:?}");
    }
    assert!(tallies[0].echoed > 500, "{tallies:?}");
    assert_eq!(tallies[1].echoed, 0);
}

/// Takes the processor from the thread that it interrupts, for a few ticks.
extern "C" fn take_the_processor(_signal: libc::c_int) {
    let now_us = || {
        let mut now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: `now` is valid for the call to fill, which a signal handler may make.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
        now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
    };
    let until_us = now_us() + 1_500;
    while now_us() < until_us {}
}

/// A starved machine, in miniature: a thread that loses the processor for longer than a tick, at
/// any instruction. Its task is always ready, so the executor has no business to sleep.
#[test]
fn losing_the_processor_at_any_moment_never_ends_in_sleep() {
    const SIGNALS: u64 = 800;
    let config = ExecutorConfig {
        tick: Duration::from_millis(1),
        ..config("starved", None)
    };
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (started, thread_id) = channel();
    let (ended, result) = channel();
    let stopped = Arc::clone(&stop);
    let executor = spawn(&config, move |glue| async move {
        let mut ring = Ring::new(&sizes()).unwrap();
        glue.attach(&mut ring).unwrap();
        // SAFETY: takes nothing.
        started.send(unsafe { libc::gettid() }).unwrap();
        let (mut turns, before) = (0, sleeps());
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            while ring.next_event().is_some() {}
            glue.turn(&mut ring, Need::Ready).await.unwrap();
            turns += 1;
        }
        ended.send((turns, sleeps() - before)).unwrap();
    })
    .unwrap();
    let handler = take_the_processor as extern "C" fn(libc::c_int);
    // SAFETY: the handler does what a handler may, and nothing else in the tests uses the signal.
    unsafe { libc::signal(libc::SIGUSR2, handler as libc::sighandler_t) };
    let thread = thread_id.recv().unwrap();
    let process = std::process::id();
    for number in 0..SIGNALS {
        // SAFETY: takes no memory; the thread lives until it is told to stop.
        unsafe { libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGUSR2) };
        std::thread::sleep(Duration::from_micros(1_500 + number * 37 % 150));
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let (turns, slept) = result
        .recv_timeout(Duration::from_secs(60))
        .expect("asleep for good, beside a ready task");
    executor.join().unwrap();
    assert!(turns > 10, "{turns} turns");
    // Once, when it starts.
    assert!(slept < 5, "slept {slept} times in {turns} turns");
}

#[test]
fn stepping_aside_at_every_turn_never_ends_in_sleep() {
    const TURNS: usize = 30_000;
    let config = ExecutorConfig {
        tick: Duration::from_millis(1),
        ..config("restless", None)
    };
    let turns = spawn(&config, |glue| async move {
        let mut ring = Ring::new(&sizes()).unwrap();
        glue.attach(&mut ring).unwrap();
        let start = Instant::now();
        for _ in 0..TURNS {
            ring.wait(Some(Duration::ZERO)).unwrap();
            while ring.next_event().is_some() {}
            glue.turn(&mut ring, Need::Ready).await.unwrap();
        }
        start.elapsed()
    });
    // It hangs when it fails; a turn takes a few microseconds, and a lost tick one millisecond.
    assert!(turns.unwrap().join().unwrap() < Duration::from_secs(30));
}

#[test]
fn it_is_left_alone_while_there_are_no_others() {
    let ran = spawn(&config("alone", None), |glue| async move {
        let mut ring = Ring::new(&sizes()).unwrap();
        glue.attach(&mut ring).unwrap();
        let count = Rc::new(Cell::new(0));
        let counted = count.clone();
        glommio::spawn_local(async move {
            for _ in 0..3 {
                counted.set(counted.get() + 1);
                glommio::timer::sleep(Duration::from_millis(1)).await;
            }
        })
        .detach();
        let mut seen = Vec::new();
        // it runs until it waits when it is spawned, and the timer ends meanwhile
        for need in [Need::Tick, Need::Ready, Need::Tick, Need::Tasks] {
            let until = Instant::now() + Duration::from_millis(100);
            while Instant::now() < until {
                ring.wait(Some(Duration::from_millis(10))).unwrap();
                while ring.next_event().is_some() {}
                let once = need == Need::Ready;
                glue.turn(&mut ring, need).await.unwrap();
                if once {
                    break;
                }
            }
            seen.push(count.get());
        }
        seen
    });
    assert_eq!(ran.unwrap().join().unwrap(), [1, 2, 2, 3]);
}

#[test]
fn it_ticks_for_those_alone_who_need_it() {
    let ticks = spawn(&config("ticks", None), |glue| async move {
        let mut ring = Ring::new(&sizes()).unwrap();
        glue.attach(&mut ring).unwrap();
        let mut all = Vec::new();
        for need in [Need::Tick, Need::Nothing, Need::Tick] {
            let (start, mut turns) = (Instant::now(), 0);
            while start.elapsed() < Duration::from_millis(200) {
                glue.turn(&mut ring, need).await.unwrap();
                ring.wait(Some(Duration::from_millis(200))).unwrap();
                while ring.next_event().is_some() {}
                turns += 1;
            }
            all.push(turns);
        }
        all
    });
    let turns = ticks.unwrap().join().unwrap();
    // 40 at best; the last phase is woken by nothing else than the tick it asks for
    assert!(turns[0] > 4 && turns[1] <= 3 && turns[2] > 4, "{turns:?}");
}

#[test]
fn each_executor_finds_its_own_rings() {
    let threads: Vec<_> = (0..4)
        .map(|number| {
            std::thread::spawn(move || {
                let executor = spawn(&config(&format!("own-{number}"), None), |glue| async move {
                    // More rings appear while the next executor is built.
                    let _ring = Ring::new(&sizes()).unwrap();
                    glommio::timer::sleep(Duration::from_millis(20)).await;
                    let inode = |own: &OwnedFd| {
                        let path = format!("/proc/self/fd/{}", own.as_raw_fd());
                        fs::metadata(path).unwrap().ino()
                    };
                    glue.rings.iter().map(inode).collect::<Vec<_>>()
                });
                executor.unwrap().join().unwrap()
            })
        })
        .collect();
    let mut all: Vec<u64> = threads
        .into_iter()
        .flat_map(|thread| thread.join().unwrap())
        .collect();
    assert_eq!(all.len(), 12, "three each");
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 12, "none is shared");
}

#[test]
fn a_core_that_is_not_there_is_named() {
    let error = spawn(&config("nowhere", Some(4000)), |_| async {}).unwrap_err();
    assert!(
        matches!(error, ExecutorError::NoSuchCore { core: 4000 }),
        "{error:?}"
    );
}

#[test]
fn a_panic_is_reported() {
    let thread = spawn(&config("panics", None), |_| async {
        assert!(
            std::env::var_os("NO_SUCH_VARIABLE_9042").is_some(),
            "on purpose"
        );
    });
    assert!(matches!(
        thread.unwrap().join(),
        Err(ExecutorError::Panicked)
    ));
}
