//! The socket of the control plane's connection: plain, or with TLS.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::Failure;
use crate::tls::{Outgoing, Secure, SecureError};

/// See the module.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    tls: Option<Secure>,
    /// As they came.
    received: Vec<u8>,
    scratch: Vec<u8>,
}

impl Wire {
    /// Shakes hands, if `tls` says with whom.
    pub(super) async fn new(
        stream: TcpStream,
        tls: Option<(&Outgoing, &str)>,
    ) -> Result<Self, Failure> {
        let mut wire = Self {
            stream,
            tls: None,
            received: Vec::new(),
            scratch: Vec::new(),
        };
        if let Some((with, host)) = tls {
            let name = with.name_of(host);
            let name = name.ok_or_else(|| Failure::Tls(format!("`{host}` is no host's name")))?;
            wire.tls = Some(Secure::client(&with.config, name).map_err(failed)?);
            wire.send_records().await?;
            let mut nothing = Vec::new();
            while wire.tls.as_ref().is_some_and(|tls| !tls.is_ready()) {
                if wire.receive(&mut nothing).await? == 0 {
                    let what = "it was closed during the handshake";
                    return Err(Failure::Tls(what.to_owned()));
                }
            }
            wire.send_records().await?;
        }
        Ok(wire)
    }

    /// Sends all of `bytes`.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let Some(tls) = &mut self.tls else {
            return Ok(self.stream.write_all(bytes).await?);
        };
        let mut records = Vec::new();
        tls.seal(bytes, &mut records).map_err(failed)?;
        Ok(self.stream.write_all(&records).await?)
    }

    /// Appends what comes to `bytes`. Gives how many bytes came over the network; 0: it was
    /// closed. Nothing is lost when it is dropped while it waits.
    pub(super) async fn receive(&mut self, bytes: &mut Vec<u8>) -> Result<usize, Failure> {
        let Some(tls) = &mut self.tls else {
            return Ok(self.stream.read_buf(bytes).await?);
        };
        self.received.clear();
        let count = self.stream.read_buf(&mut self.received).await?;
        let take = |plain: &[u8]| bytes.extend_from_slice(plain);
        let received = tls.receive(&self.received, &mut self.scratch, take);
        match received {
            Ok(received) => Ok(if received.closed { 0 } else { count }),
            Err(error) => {
                let _ = self.send_records().await; // the alert, if somebody reads it
                Err(failed(error))
            }
        }
    }

    async fn send_records(&mut self) -> io::Result<()> {
        let mut records = Vec::new();
        if let Some(tls) = &mut self.tls {
            tls.take_records(&mut records);
        }
        self.stream.write_all(&records).await
    }
}

fn failed(error: SecureError) -> Failure {
    Failure::Tls(error.to_string())
}
