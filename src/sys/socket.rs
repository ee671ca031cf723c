//! Listeners and socket options.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

/// Options of a connected stream. [`Default`] suits a connection between data centres.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamOptions {
    /// Send the first keepalive probe after this much silence; `None`: no probes.
    pub keepalive_idle: Option<Duration>,
    /// Time between two probes.
    pub keepalive_interval: Duration,
    /// Unanswered probes after which the connection counts as dead.
    pub keepalive_probes: u32,
    /// How long sent bytes may stay unacknowledged (`TCP_USER_TIMEOUT`); `None`: the kernel's rule,
    /// about 15 minutes.
    pub user_timeout: Option<Duration>,
}

impl Default for StreamOptions {
    fn default() -> StreamOptions {
        StreamOptions {
            keepalive_idle: Some(Duration::from_secs(30)),
            keepalive_interval: Duration::from_secs(10),
            keepalive_probes: 3,
            user_timeout: Some(Duration::from_secs(30)),
        }
    }
}

/// Sets `options` and TCP_NODELAY on a stream.
///
/// # Errors
/// Those of `setsockopt(2)`, for a socket that is not TCP or no longer connected.
pub fn set_stream_options(stream: impl AsFd, options: &StreamOptions) -> io::Result<()> {
    let descriptor = stream.as_fd();
    let socket = SockRef::from(&descriptor);
    socket.set_tcp_nodelay(true)?;
    if let Some(idle) = options.keepalive_idle {
        let keepalive = TcpKeepalive::new()
            .with_time(idle)
            .with_interval(options.keepalive_interval)
            .with_retries(options.keepalive_probes);
        socket.set_tcp_keepalive(&keepalive)?;
    }
    socket.set_tcp_user_timeout(options.user_timeout)
}

/// Binds a listener that shares its address with those of the other shards: the kernel deals the
/// connections out among them. Port 0 takes a free port.
///
/// `backlog`: connections that may wait to be accepted, 1 to `net.core.somaxconn` (the kernel cuts
/// off what is above).
///
/// # Errors
/// When the address is taken by a listener that does not share, is not ours, or may not be bound.
pub fn listen_shared(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // Bind although connections of the last run are still in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        // The same meaning everywhere: `[::]` is both families.
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// An unconnected stream for `address`, with TCP_NODELAY.
pub(super) fn new_stream(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}

/// Clears O_NONBLOCK. It can fail only for what is no descriptor.
pub(super) fn set_blocking(socket: &OwnedFd) {
    let _ = SockRef::from(socket).set_nonblocking(false);
}

/// Closes the sending half. It fails only when the connection is gone, which receiving reports.
pub(super) fn shutdown_write(socket: &OwnedFd) {
    let _ = SockRef::from(socket).shutdown(Shutdown::Write);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::net::TcpStream;

    #[test]
    fn two_listeners_share_a_port() {
        let first = listen_shared("127.0.0.1:0".parse().unwrap(), 16).unwrap();
        let second = listen_shared(first.local_addr().unwrap(), 16).unwrap();
        assert_eq!(first.local_addr().unwrap(), second.local_addr().unwrap());
        let plain = TcpListener::bind(first.local_addr().unwrap());
        assert_eq!(plain.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn stream_options_reach_the_socket() {
        let listener = listen_shared("127.0.0.1:0".parse().unwrap(), 16).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        set_stream_options(&stream, &StreamOptions::default()).unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(
            socket.tcp_keepalive_time().unwrap(),
            Duration::from_secs(30)
        );
        assert_eq!(
            socket.tcp_user_timeout().unwrap(),
            Some(Duration::from_secs(30))
        );
    }

    #[test]
    fn ipv6_any_takes_ipv4_clients_too() {
        let Ok(listener) = listen_shared("[::]:0".parse().unwrap(), 16) else {
            return; // no IPv6 on this machine
        };
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect(("127.0.0.1", port)).unwrap();
    }
}
