//! Rows of `system.local` and `system.peers` → the nodes of a cluster.

use core::net::{IpAddr, SocketAddr};

use super::read::{each_row, int, text};
use crate::cql::DecodeError;
use crate::cql::response::rows::Rows;

/// Asks a node for its data centre and its schema.
pub const OWN_QUERY: &str = "SELECT data_center, schema_version FROM system.local";
/// Asks for the others with the port of each: from Cassandra 4.0 on.
pub const PEERS_V2_QUERY: &str = "SELECT data_center, peer, native_address, native_port \
                                  FROM system.peers_v2";
/// Asks older nodes for the others.
pub const PEERS_QUERY: &str = "SELECT data_center, peer, rpc_address FROM system.peers";

/// The nodes of a cluster, where clients reach them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nodes {
    /// Those of the data centre that is used, sorted.
    pub near: Vec<SocketAddr>,
    /// Those of others, sorted.
    pub far: Vec<SocketAddr>,
}

/// Collects the answers of one node, page by page.
#[derive(Debug)]
pub struct NodesReading {
    /// The node that answers, as we reach it.
    here: SocketAddr,
    center: Box<str>,
    others: Vec<(Box<str>, SocketAddr)>,
    schema: Option<Box<[u8]>>,
}

impl NodesReading {
    /// What the node at `here` says is collected.
    #[must_use]
    pub fn new(here: SocketAddr) -> Self {
        Self {
            here,
            center: "".into(),
            others: Vec::new(),
            schema: None,
        }
    }

    /// A page of the answer to [`OWN_QUERY`].
    ///
    /// # Errors
    /// The page is malformed.
    pub fn own_page(&mut self, message: &[u8]) -> Result<(), DecodeError> {
        each_row(message, |row: &[_; 2]| {
            self.center = text(row[0]);
            self.schema = row[1].map(Into::into);
        })
    }

    /// A page of the answer to [`PEERS_V2_QUERY`] or [`PEERS_QUERY`].
    ///
    /// # Errors
    /// The page is malformed.
    pub fn peers_page(&mut self, message: &[u8]) -> Result<(), DecodeError> {
        if Rows::parse(message)?.metadata.column_count == 3 {
            let port = self.here.port();
            return each_row(message, |row: &[_; 3]| self.add(*row, port));
        }
        each_row(message, |row: &[_; 4]| {
            if let Ok(port @ 1..) = u16::try_from(int(row[3])) {
                self.add([row[0], row[1], row[2]], port);
            }
        })
    }

    fn add(&mut self, [center, peer, native]: [Option<&[u8]>; 3], port: u16) {
        // a node that is about to join, or has left, has no address for clients
        let Some(native) = address(native) else {
            return;
        };
        let ip = match native.is_unspecified() {
            true => address(peer),
            false => Some(native),
        };
        if let Some(ip) = ip {
            self.others.push((text(center), SocketAddr::new(ip, port)));
        }
    }

    /// The version of the schema of the node that answered.
    #[must_use]
    pub fn into_schema(self) -> Option<Box<[u8]>> {
        self.schema
    }

    /// What was read. `center`: the data centre that is used, else that of the node that answered.
    #[must_use]
    pub fn finish(self, center: Option<&str>) -> Nodes {
        let wanted = center.unwrap_or(&self.center);
        let mut nodes = Nodes::default();
        let own = std::iter::once((&*self.center, self.here));
        let others = self
            .others
            .iter()
            .map(|(center, address)| (&**center, *address));
        for (center, address) in own.chain(others) {
            match center == wanted {
                true => nodes.near.push(address),
                false => nodes.far.push(address),
            }
        }
        for side in [&mut nodes.near, &mut nodes.far] {
            side.sort_unstable();
            side.dedup();
        }
        nodes
    }
}

fn address(cell: Option<&[u8]>) -> Option<IpAddr> {
    let bytes = cell?;
    let four = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    four.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cql::response::metadata::{ColumnDef, MetadataHead};
    use crate::cql::response::rows;
    use crate::cql::{ColumnType, Writer};

    fn page(width: usize, cells: &[Option<&[u8]>]) -> Vec<u8> {
        let column = ColumnDef {
            keyspace: "system",
            table: "peers",
            name: "c",
            column_type: ColumnType::Blob,
        };
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        let columns = vec![column; width];
        let mut encoder = rows::encode(&mut writer, &MetadataHead::default(), &columns);
        cells.iter().for_each(|cell| encoder.cell(*cell));
        encoder.finish();
        writer.finish().unwrap();
        out
    }

    fn some(bytes: &[u8]) -> Option<&[u8]> {
        Some(bytes)
    }

    #[test]
    fn nodes_are_near_or_far() {
        let mut reading = NodesReading::new("10.0.0.1:9042".parse().unwrap());
        reading
            .own_page(&page(2, &[some(b"dc1"), some(b"s")]))
            .unwrap();
        let port = 9043_i32.to_be_bytes();
        let rows = [
            [
                some(b"dc1"),
                some(&[10, 0, 0, 2]),
                some(&[0; 4]),
                some(&port),
            ],
            [
                some(b"dc2"),
                some(&[10, 0, 0, 3]),
                some(&[10, 1, 0, 3]),
                some(&port),
            ],
            [some(b"dc1"), some(&[10, 0, 0, 4]), None, some(&port)],
            [
                some(b"dc1"),
                some(&[10, 0, 0, 5]),
                some(&[1, 2]),
                some(&port),
            ],
            [
                some(b"dc1"),
                some(&[10, 0, 0, 6]),
                some(&[0; 4]),
                some(&[0; 4]),
            ],
        ];
        reading.peers_page(&page(4, &rows.concat())).unwrap();
        let nodes = reading.finish(None);
        let near = ["10.0.0.1:9042", "10.0.0.2:9043"].map(|text| text.parse().unwrap());
        let far = ["10.1.0.3:9043"].map(|text| text.parse().unwrap());
        assert_eq!((&nodes.near[..], &nodes.far[..]), (&near[..], &far[..]));
    }

    #[test]
    fn old_nodes_share_a_port_and_another_data_centre_may_be_used() {
        let mut reading = NodesReading::new("10.0.0.1:9050".parse().unwrap());
        reading
            .own_page(&page(2, &[some(b"dc1"), some(b"s")]))
            .unwrap();
        let row = [some(b"dc2"), some(&[10, 0, 0, 2]), some(&[10, 0, 0, 2])];
        reading.peers_page(&page(3, &row)).unwrap();
        assert_eq!(reading.schema.as_deref(), Some(&b"s"[..]));
        let nodes = reading.finish(Some("dc2"));
        assert_eq!(nodes.near, ["10.0.0.2:9050".parse().unwrap()]);
        assert_eq!(nodes.far, ["10.0.0.1:9050".parse().unwrap()]);
    }
}
