//! Whose the other end of a connection over loopback is.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::SocketAddrV4;

/// Whether the process that connected from `from` to our listener at `at`, both on this machine,
/// is this one: the kernel's table of sockets (proc_net(5)) has the socket's number, and our
/// descriptors are among those of `/proc/self/fd`.
///
/// # Errors
/// `/proc` is not there or cannot be read.
pub fn is_own_connection(from: SocketAddrV4, at: SocketAddrV4) -> io::Result<bool> {
    let table = fs::read_to_string("/proc/self/net/tcp")?;
    let Some(number) = number_of(&table, from, at) else {
        return Ok(false);
    };
    let wanted = format!("socket:[{number}]");
    for descriptor in fs::read_dir("/proc/self/fd")? {
        // one that was closed meanwhile is not it
        let link = descriptor.and_then(|one| fs::read_link(one.path()));
        if link.is_ok_and(|link| link.as_os_str() == OsStr::new(&wanted)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The number of the socket with these ends in a table of `/proc/net/tcp`.
fn number_of(table: &str, local: SocketAddrV4, remote: SocketAddrV4) -> Option<&str> {
    let (local, remote) = (written(local), written(remote));
    table.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let is_it = words.next()? == local && words.next()? == remote;
        // state, queues, timer, retransmits, user, timeout; a socket without an owner has 0
        let number = words.nth(6).filter(|number| *number != "0");
        number.filter(|_| is_it)
    })
}

/// As the kernel writes an address: the bytes as one number of this machine, and the port.
fn written(address: SocketAddrV4) -> String {
    let ip = u32::from_ne_bytes(address.ip().octets());
    format!("{ip:08X}:{:04X}", address.port())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
    use std::process::{Command, Stdio};

    use super::*;

    fn v4(address: SocketAddr) -> SocketAddrV4 {
        match address {
            SocketAddr::V4(address) => address,
            SocketAddr::V6(_) => unreachable!(),
        }
    }

    #[test]
    fn the_kernels_table_is_understood() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt  \
                     uid  timeout inode\n   0: 0100007F:1F90 0100007F:2710 01 00000000:00000000 \
                     00:00000000 00000000  1000        0 4711 1 0000000000000000 20 4 30 10 -1\n";
        let of = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        assert_eq!(number_of(table, of(8080), of(10_000)), Some("4711"));
        assert_eq!(number_of(table, of(10_000), of(8080)), None);
        assert_eq!(
            number_of(&table.replace("4711", "0"), of(8080), of(10_000)),
            None
        );
        assert_eq!(number_of("", of(1), of(2)), None);
    }

    #[test]
    fn a_connection_of_another_process_is_not_ours() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let at = v4(listener.local_addr().unwrap());
        let ours = TcpStream::connect(at).unwrap();
        let (_near, from) = listener.accept().unwrap();
        assert!(is_own_connection(v4(from), at).unwrap());
        drop(ours);

        let script = format!("exec 3<>/dev/tcp/127.0.0.1/{}; read -r <&3", at.port());
        let mut other = Command::new("bash")
            .args(["-c", &script])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let (mut near, from) = listener.accept().unwrap();
        assert!(!is_own_connection(v4(from), at).unwrap());
        near.write_all(b"go\n").unwrap();
        assert_eq!(near.read(&mut [0]).unwrap(), 0);
        other.wait().unwrap();
    }
}
