//! A client for tests that writes and reads plain bytes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::{Node, NodeConfig, NodeHandle};

pub(super) struct Client {
    pub(super) stream: TcpStream,
    version: u8,
}

/// A node on a free port.
pub(super) fn node() -> NodeHandle {
    Node::start(NodeConfig::new("127.0.0.1:0".parse().unwrap())).unwrap()
}

impl Client {
    /// Connected and through STARTUP, on v4.
    pub(super) fn connect(node: &NodeHandle) -> Client {
        let mut client = Client::raw(node, 4);
        let (opcode, _) = client.call(0x01, b"\0\x01\0\x0bCQL_VERSION\0\x053.0.0");
        assert_eq!(opcode, 0x02, "READY");
        client
    }

    /// Connected, no more.
    pub(super) fn raw(node: &NodeHandle, version: u8) -> Client {
        let stream = TcpStream::connect(node.addr()).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        Client { stream, version }
    }

    pub(super) fn call(&mut self, opcode: u8, body: &[u8]) -> (u8, Vec<u8>) {
        self.send(0, 7, opcode, body);
        let (_, stream, opcode, body) = self.receive().expect("an answer");
        assert_eq!(stream, 7);
        (opcode, body)
    }

    pub(super) fn send(&mut self, flags: u8, stream: i16, opcode: u8, body: &[u8]) {
        let mut out = vec![self.version, flags];
        out.extend_from_slice(&stream.to_be_bytes());
        out.push(opcode);
        out.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
        out.extend_from_slice(body);
        self.stream.write_all(&out).unwrap();
    }

    /// Flags, stream, opcode, body; `None` when the node closed the connection.
    pub(super) fn receive(&mut self) -> Option<(u8, i16, u8, Vec<u8>)> {
        let mut header = [0; 9];
        self.stream.read_exact(&mut header).ok()?;
        let [_, flags, s0, s1, opcode, length @ ..] = header;
        let mut body = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
        self.stream.read_exact(&mut body).ok()?;
        Some((flags, i16::from_be_bytes([s0, s1]), opcode, body))
    }

    /// A QUERY without values: opcode and body of the answer.
    pub(super) fn query(&mut self, text: &str) -> (u8, Vec<u8>) {
        self.call(0x07, &query_body(text, &[0, 1, 0]))
    }

    /// A QUERY that must not fail.
    pub(super) fn run(&mut self, text: &str) -> Vec<u8> {
        let (opcode, body) = self.query(text);
        assert_eq!(opcode, 0x08, "{text}: {}", String::from_utf8_lossy(&body));
        body
    }
}

/// The text as `[long string]`, then these parameters.
pub(super) fn query_body(text: &str, parameters: &[u8]) -> Vec<u8> {
    let mut body = u32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    body.extend_from_slice(text.as_bytes());
    body.extend_from_slice(parameters);
    body
}
