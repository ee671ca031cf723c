//! What drivers are told about the cluster, so that none walks around the proxy.
//!
//! Drivers read `system.local` and `system.peers` (or `peers_v2`) and open connections to what they
//! find there. With one proxy in front of a cluster (*single*) the proxy is the only node: its own
//! address in `local`, and no peers. With a proxy on each node (*per node*) all nodes are shown, at
//! the port that the proxies listen on. Proxies apart from the nodes show each other as the ring
//! ([`ring`]). The answer to OPTIONS is cut down to what the proxy speaks.

pub mod ring;

use core::net::{IpAddr, SocketAddr};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::cql::response::rows::Rows;
use crate::cql::response::{Supported, supported};
use crate::cql::{DecodeError, EncodeError, Flags, Header, Opcode, Version, encode};
use crate::statement::SystemTable;

/// What is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// The proxy alone.
    Single,
    /// All nodes, each with a proxy at the same port; addresses in the map are exchanged.
    PerNode(BTreeMap<IpAddr, IpAddr>),
    /// Several proxies, as the ring.
    Ring(Proxies),
}

/// Proxies that stand apart from the nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxies {
    /// Where clients reach each of them; at least one, the same list at each.
    pub all: Vec<SocketAddr>,
    /// Which of them this one is.
    pub own: usize,
}

/// What SUPPORTED offers; empty lists leave what the source says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offer {
    /// Protocol versions, of those that the proxy speaks.
    pub protocol_versions: Vec<u8>,
    /// CQL versions.
    pub cql_versions: Vec<String>,
    /// Compressions.
    pub compressions: Vec<String>,
    /// No compression at all.
    pub no_compression: bool,
}

/// What one client's driver is told.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The proxy as this client reached it.
    pub address: SocketAddr,
    /// What is shown.
    pub shown: Rc<Shown>,
    /// What is offered.
    pub offer: Rc<Offer>,
}

impl Facts {
    /// What the driver of a client is told that has reached the proxy at `here`.
    #[must_use]
    pub fn new(here: SocketAddr, shown: &Rc<Shown>, offer: &Rc<Offer>) -> Self {
        let own = match &**shown {
            Shown::Ring(proxies) => proxies.all.get(proxies.own).copied(),
            Shown::Single | Shown::PerNode(_) => None,
        };
        Self {
            address: own.unwrap_or(here), // in a list, it is what the others say, too
            shown: shown.clone(),
            offer: offer.clone(),
        }
    }

    /// Whether drivers learn of other nodes.
    #[must_use]
    pub fn shows_peers(&self) -> bool {
        matches!(*self.shown, Shown::PerNode(_))
    }

    /// The proxies, if they are shown as the ring.
    #[must_use]
    pub fn proxies(&self) -> Option<&Proxies> {
        match &*self.shown {
            Shown::Ring(proxies) => Some(proxies),
            Shown::Single | Shown::PerNode(_) => None,
        }
    }

    /// Where a driver reaches the proxy of a node that the source says something about.
    #[must_use]
    pub fn proxy_of(&self, node: SocketAddr) -> SocketAddr {
        SocketAddr::new(self.address_of(node.ip()), self.address.port())
    }

    /// Whether clients may speak this protocol version.
    #[must_use]
    pub fn speaks(&self, version: u8) -> bool {
        let offered = &self.offer.protocol_versions;
        offered.is_empty() || offered.contains(&version)
    }

    /// Newest protocol version that clients may speak.
    #[must_use]
    pub fn newest(&self) -> Version {
        let versions = [Version::V5, Version::V4, Version::V3];
        let offered = versions
            .into_iter()
            .find(|version| self.speaks(version.number()));
        offered.unwrap_or(Version::V4)
    }

    fn address_of(&self, address: IpAddr) -> IpAddr {
        match &*self.shown {
            Shown::Single | Shown::Ring(_) => self.address.ip(),
            Shown::PerNode(exchanged) => exchanged.get(&address).copied().unwrap_or(address),
        }
    }
}

/// Appends the message of a RESULT with the rows of a system table as drivers shall see them.
///
/// # Errors
/// The answer cannot be read; what was appended by then is of no use.
pub fn put_rows(
    out: &mut Vec<u8>,
    table: SystemTable,
    message: &[u8],
    facts: &Facts,
) -> Result<(), DecodeError> {
    let rows = Rows::parse(message)?;
    if table != SystemTable::Local && !facts.shows_peers() {
        let before_count = rows.cells_at - 4;
        out.extend_from_slice(message.get(..before_count).unwrap_or_default());
        out.extend_from_slice(&[0; 4]);
        return Ok(());
    }
    let columns: Vec<&str> = rows.metadata.columns().map(|column| column.name).collect();
    out.extend_from_slice(message.get(..rows.cells_at).unwrap_or_default());
    for (index, cell) in rows.cells().enumerate() {
        let column = columns.get(index % rows.metadata.column_count.max(1));
        put_cell(out, column.copied().unwrap_or_default(), cell?.bytes, facts);
    }
    Ok(())
}

fn put_cell(out: &mut Vec<u8>, column: &str, bytes: Option<&[u8]>, facts: &Facts) {
    let Some(bytes) = bytes else {
        out.extend_from_slice(&(-1i32).to_be_bytes());
        return;
    };
    match column {
        "rpc_address"
        | "broadcast_address"
        | "listen_address"
        | "native_address"
        | "native_transport_address" // of DSE 6
        | "peer"
        | "preferred_ip" => match address_from(bytes).map(|address| facts.address_of(address)) {
            Some(IpAddr::V4(address)) => put(out, &address.octets()),
            Some(IpAddr::V6(address)) => put(out, &address.octets()),
            None => put(out, bytes),
        },
        "rpc_port" | "native_port" | "native_transport_port" | "native_transport_port_ssl"
            if bytes.len() == 4 =>
        {
            put(out, &i32::from(facts.address.port()).to_be_bytes());
        }
        "native_protocol_version" => {
            let newest = facts.newest().number();
            let number = core::str::from_utf8(bytes)
                .ok()
                .and_then(|text| text.parse::<u8>().ok());
            match number {
                Some(number) if number > newest => put(out, newest.to_string().as_bytes()),
                _ => put(out, bytes),
            }
        }
        _ => put(out, bytes),
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    // the bytes are as long as those that were read, or shorter than 17
    let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

fn address_from(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(four.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

/// Appends a SUPPORTED envelope with what the source offers, less what the proxy does not speak.
///
/// # Errors
/// More than the protocol can say, which no answer of a server is.
pub fn put_supported(
    out: &mut Vec<u8>,
    header: Header,
    supported: &Supported<'_>,
    facts: &Facts,
) -> Result<(), EncodeError> {
    let offer = &facts.offer;
    let mut options: Vec<(&str, Vec<&str>)> = Vec::new();
    for (name, values) in &supported.options {
        let values: Vec<&str> = match name {
            // of shards and tablets of one node: through a proxy a driver reaches any of them
            _ if name.starts_with("SCYLLA_") || name.starts_with("TABLETS_ROUTING_") => continue,
            "PROTOCOL_VERSIONS" => values.iter().filter(|v| is_spoken(v, facts)).collect(),
            "CQL_VERSION" if !offer.cql_versions.is_empty() => {
                offer.cql_versions.iter().map(String::as_str).collect()
            }
            "COMPRESSION" if offer.no_compression => Vec::new(),
            "COMPRESSION" if !offer.compressions.is_empty() => {
                offer.compressions.iter().map(String::as_str).collect()
            }
            _ => values.iter().collect(),
        };
        options.push((name, values));
    }
    let version = header.protocol().unwrap_or(Version::V4);
    encode::envelope(
        out,
        version,
        Flags::NONE,
        header.stream,
        Opcode::Supported,
        |body| {
            supported::encode(body, options);
        },
    )
}

/// `4/v4` and the like, as Cassandra writes them.
fn is_spoken(version: &str, facts: &Facts) -> bool {
    let number = version
        .split('/')
        .next()
        .and_then(|number| number.parse().ok());
    number.is_some_and(|number: u8| Version::from_number(number).is_some() && facts.speaks(number))
}

#[cfg(test)]
mod tests;
