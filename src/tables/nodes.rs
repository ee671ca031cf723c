//! Rows of `system.local` and `system.peers` → the nodes of a cluster.

use core::net::{IpAddr, SocketAddr};

use super::read::{each_row, int, text};
use crate::cql::DecodeError;
use crate::cql::response::rows::{Rows, each_element};

/// Asks a node for its data centre, its schema, and its part of the ring.
pub const OWN_QUERY: &str =
    "SELECT data_center, schema_version, partitioner, tokens FROM system.local";
/// Asks for the others with the port of each: from Cassandra 4.0 on.
pub const PEERS_V2_QUERY: &str = "SELECT data_center, peer, native_address, tokens, native_port \
                                  FROM system.peers_v2";
/// Asks older nodes for the others.
pub const PEERS_QUERY: &str = "SELECT data_center, peer, rpc_address, tokens FROM system.peers";

/// The nodes of a cluster, where clients reach them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nodes {
    /// Those of the data centre that is used, sorted.
    pub near: Vec<SocketAddr>,
    /// Those of others, sorted.
    pub far: Vec<SocketAddr>,
    /// The tokens of `near` with the place there of the node that owns each, sorted. Empty if the
    /// partitioner is not Murmur3Partitioner.
    pub ring: Vec<(i64, usize)>,
    /// All data centres, sorted.
    pub centers: Vec<Box<str>>,
}

impl Nodes {
    /// The place in `near` of the node that owns a token: the first that Cassandra meets from the
    /// token on, which is where it puts a first replica.
    #[must_use]
    pub fn owner(&self, token: i64) -> Option<usize> {
        let at = self.ring.partition_point(|(end, _)| *end < token);
        let (_, near) = self.ring.get(at).or_else(|| self.ring.first())?;
        Some(*near)
    }
}

/// A node of which somebody has told.
#[derive(Debug)]
struct Told {
    center: Box<str>,
    address: SocketAddr,
    tokens: Vec<i64>,
}

/// Collects the answers of one node, page by page.
#[derive(Debug)]
pub struct NodesReading {
    /// The node that answers, as we reach it.
    own: Told,
    others: Vec<Told>,
    schema: Option<Box<[u8]>>,
    /// Tokens are those of Murmur3Partitioner.
    is_murmur3: bool,
}

impl NodesReading {
    /// What the node at `here` says is collected.
    #[must_use]
    pub fn new(here: SocketAddr) -> Self {
        Self {
            own: Told {
                center: "".into(),
                address: here,
                tokens: Vec::new(),
            },
            others: Vec::new(),
            schema: None,
            is_murmur3: false,
        }
    }

    /// A page of the answer to [`OWN_QUERY`].
    ///
    /// # Errors
    /// The page is malformed.
    pub fn own_page(&mut self, message: &[u8]) -> Result<(), DecodeError> {
        each_row(message, |row: &[_; 4]| {
            self.own.center = text(row[0]);
            self.schema = row[1].map(Into::into);
            self.is_murmur3 = text(row[2]).ends_with(".Murmur3Partitioner");
            self.own.tokens = tokens(row[3]);
        })
    }

    /// A page of the answer to [`PEERS_V2_QUERY`] or [`PEERS_QUERY`].
    ///
    /// # Errors
    /// The page is malformed.
    pub fn peers_page(&mut self, message: &[u8]) -> Result<(), DecodeError> {
        if Rows::parse(message)?.metadata.column_count == 4 {
            let port = self.own.address.port();
            return each_row(message, |row: &[_; 4]| self.add(*row, port));
        }
        each_row(message, |row: &[_; 5]| {
            if let Ok(port @ 1..) = u16::try_from(int(row[4])) {
                self.add([row[0], row[1], row[2], row[3]], port);
            }
        })
    }

    fn add(&mut self, [center, peer, native, ring]: [Option<&[u8]>; 4], port: u16) {
        // a node that is about to join, or has left, has no address for clients
        let Some(native) = address(native) else {
            return;
        };
        let ip = match native.is_unspecified() {
            true => address(peer),
            false => Some(native),
        };
        if let Some(ip) = ip {
            self.others.push(Told {
                center: text(center),
                address: SocketAddr::new(ip, port),
                tokens: tokens(ring),
            });
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
        let wanted = center.unwrap_or(&self.own.center);
        let mut nodes = Nodes::default();
        let all = || std::iter::once(&self.own).chain(&self.others);
        for told in all() {
            match *told.center == *wanted {
                true => nodes.near.push(told.address),
                false => nodes.far.push(told.address),
            }
            nodes.centers.push(told.center.clone());
        }
        for side in [&mut nodes.near, &mut nodes.far] {
            side.sort_unstable();
            side.dedup();
        }
        nodes.centers.sort_unstable();
        nodes.centers.dedup();
        for told in all().filter(|told| self.is_murmur3 && *told.center == *wanted) {
            if let Ok(near) = nodes.near.binary_search(&told.address) {
                let tokens = told.tokens.iter();
                nodes.ring.extend(tokens.map(|token| (*token, near)));
            }
        }
        nodes.ring.sort_unstable();
        nodes
    }
}

/// The numbers in a `set<text>` of tokens; what is no number is left out.
fn tokens(cell: Option<&[u8]>) -> Vec<i64> {
    let mut tokens = Vec::new();
    let read = each_element(cell, |text| {
        let number = core::str::from_utf8(text).ok().map(str::parse::<i64>);
        tokens.extend(number.and_then(Result::ok));
    });
    match read {
        Ok(()) => tokens,
        Err(_) => Vec::new(), // then its part of the ring is not known
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
    use crate::tests::{blobs, rows_message};

    fn page(width: usize, cells: &[Option<&[u8]>]) -> Vec<u8> {
        rows_message(&blobs(&vec!["c"; width]), cells)
    }

    fn some(bytes: &[u8]) -> Option<&[u8]> {
        Some(bytes)
    }

    /// As `set<text>` stands in a cell.
    fn set(texts: &[&str]) -> Vec<u8> {
        let lengths = |text: &&str| i32::try_from(text.len()).unwrap().to_be_bytes();
        let mut cell = i32::try_from(texts.len()).unwrap().to_be_bytes().to_vec();
        for text in texts {
            cell.extend(lengths(text));
            cell.extend(text.as_bytes());
        }
        cell
    }

    fn own(reading: &mut NodesReading, partitioner: &str, tokens: &[&str]) {
        let tokens = set(tokens);
        let cells = [
            some(b"dc1"),
            some(b"s"),
            some(partitioner.as_bytes()),
            some(&tokens),
        ];
        reading.own_page(&page(4, &cells)).unwrap();
    }

    const MURMUR3: &str = "org.apache.cassandra.dht.Murmur3Partitioner";

    #[test]
    fn nodes_are_near_or_far() {
        let mut reading = NodesReading::new("10.0.0.1:9042".parse().unwrap());
        own(&mut reading, MURMUR3, &["-5", "700"]);
        let port = 9043_i32.to_be_bytes();
        let (of_two, of_three) = (set(&["20", "odd", "-9223372036854775808"]), set(&["30"]));
        let (two, three): ([u8; 4], [u8; 4]) = ([10, 0, 0, 2], [10, 0, 0, 3]);
        let row = |center, peer, native, tokens, port| {
            [some(center), some(peer), native, tokens, some(port)]
        };
        let rows = [
            row(b"dc1", &two, some(&[0; 4]), some(&of_two[..]), &port[..]),
            row(
                b"dc2",
                &three,
                some(&[10, 1, 0, 3]),
                some(&of_three[..]),
                &port,
            ),
            row(b"dc1", &[10, 0, 0, 4], None, None, &port),
            row(b"dc1", &[10, 0, 0, 5], some(&[1, 2]), None, &port),
            row(b"dc1", &[10, 0, 0, 6], some(&[0; 4]), None, &[0; 4]),
        ];
        reading.peers_page(&page(5, &rows.concat())).unwrap();
        let nodes = reading.finish(None);
        let near = ["10.0.0.1:9042", "10.0.0.2:9043"].map(|text| text.parse().unwrap());
        let far = ["10.1.0.3:9043"].map(|text| text.parse().unwrap());
        assert_eq!((&nodes.near[..], &nodes.far[..]), (&near[..], &far[..]));
        assert_eq!(nodes.ring, [(i64::MIN, 1), (-5, 0), (20, 1), (700, 0)]);
        assert_eq!(nodes.centers, ["dc1".into(), "dc2".into()]);
    }

    #[test]
    fn old_nodes_share_a_port_and_another_data_centre_may_be_used() {
        let reading = |partitioner| {
            let mut reading = NodesReading::new("10.0.0.1:9050".parse().unwrap());
            own(&mut reading, partitioner, &["1"]);
            let (two, tokens) = ([10, 0, 0, 2], set(&["2"]));
            let row = [some(b"dc2"), some(&two), some(&two), some(&tokens)];
            reading.peers_page(&page(4, &row)).unwrap();
            reading
        };
        assert_eq!(reading(MURMUR3).schema.as_deref(), Some(&b"s"[..]));
        let nodes = reading(MURMUR3).finish(Some("dc2"));
        assert_eq!(nodes.near, ["10.0.0.2:9050".parse().unwrap()]);
        assert_eq!(nodes.far, ["10.0.0.1:9050".parse().unwrap()]);
        assert_eq!(nodes.ring, [(2, 0)]);
        let random = "org.apache.cassandra.dht.RandomPartitioner";
        assert_eq!(reading(random).finish(Some("dc2")).ring, []);
    }
}
