//! One handshake that waits, for the check before the start.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use super::failure::SecureError;
use super::material::Outgoing;
use super::secure::Secure;

/// Why the handshake did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The connection.
    #[error("{0}")]
    Io(std::io::Error),
    /// Nothing comes.
    #[error("no answer to the handshake; does the other side speak TLS at this port?")]
    Late,
    /// The node closed it.
    #[error("it was closed during the handshake; does the other side speak TLS at this port?")]
    Closed,
    /// TLS itself.
    #[error("{0}")]
    Tls(#[from] SecureError),
    /// There is no name to check.
    #[error("`{0}` is no name that a certificate can have")]
    Name(String),
}

impl From<std::io::Error> for ProbeError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Self::Late,
            _ => Self::Io(error),
        }
    }
}

/// Shakes hands over a connected stream, which has a timeout, with the node called `host`.
///
/// # Errors
/// They do not come together.
pub fn handshake(stream: &mut TcpStream, with: &Outgoing, host: &str) -> Result<(), ProbeError> {
    let name = with.name_of(host);
    let name = name.ok_or_else(|| ProbeError::Name(host.to_owned()))?;
    let mut secure = Secure::client(&with.config, name)?;
    let (mut buffer, mut scratch, mut out) = ([0; 4096], Vec::new(), Vec::new());
    loop {
        out.clear();
        secure.take_records(&mut out);
        stream.write_all(&out)?;
        if secure.is_ready() {
            secure.close();
            out.clear();
            secure.take_records(&mut out);
            stream.write_all(&out)?;
            return Ok(());
        }
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err(ProbeError::Closed);
        }
        secure.receive(&buffer[..count], &mut scratch, |_| {})?;
    }
}
