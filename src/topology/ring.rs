//! Several proxies, apart from the nodes, shown to drivers as the ring.
//!
//! Each proxy has the same list and makes the same ring of it: one row per proxy, with a host id
//! made of its address, and the tokens of the source's nodes dealt out among the proxies, so that
//! token-aware drivers spread over all of them. Everything else is as the source's own node says.

use core::net::{IpAddr, SocketAddr};
use std::collections::BTreeMap;

use super::{Facts, Proxies, put, put_cell};
use crate::cql::request::params::QueryParams;
use crate::cql::response::metadata::Metadata;
use crate::cql::response::rows::{Rows, each_element};
use crate::cql::{DecodeError, Value};
use crate::statement::{PlainSelect, SystemTable, Term};

/// What is asked about the node that answers.
pub const LOCAL_QUERY: &str = "SELECT * FROM system.local WHERE key='local'";
/// What is asked about the others; every version since 2.1 has these columns.
pub const PEERS_QUERY: &str = "SELECT data_center, rack, tokens, schema_version FROM system.peers";

/// Each proxy has at least so many tokens where they can be counted: few ones would be uneven.
const TOKENS_MIN: usize = 16;
/// Where a node says nothing about its port for other nodes, this is Cassandra's default.
const STORAGE_PORT: i32 = 7000;
const HAS_MORE_PAGES: u8 = 0x02;

/// The source's ring as one node knows it, dealt out among proxies.
#[derive(Debug)]
pub struct Ring {
    /// The row of the node that answered, by column.
    local: BTreeMap<Box<str>, Option<Box<[u8]>>>,
    /// The first of the racks in its data centre: the same from whichever node it is read.
    rack: Option<Box<[u8]>>,
    /// The schema that another node has, if one has another.
    other_schema: Option<Box<[u8]>>,
    /// The tokens of each proxy, in the order of the list.
    tokens: Vec<Vec<Box<str>>>,
}

/// What a client has asked for.
#[derive(Debug)]
pub struct Question<'q> {
    /// The table.
    pub table: SystemTable,
    /// The text.
    pub select: Option<&'q PlainSelect>,
    /// Values of its markers.
    pub params: Option<QueryParams<'q>>,
}

impl Ring {
    /// Reads the answers to [`LOCAL_QUERY`] and [`PEERS_QUERY`].
    ///
    /// # Errors
    /// They are not such answers.
    pub fn read(local: &[u8], peers: &[u8], proxies: usize) -> Result<Self, DecodeError> {
        let rows = Rows::parse(local)?;
        let mut own = BTreeMap::new();
        for (column, cell) in rows.metadata.columns().zip(rows.cells()) {
            own.insert(column.name.into(), cell?.bytes.map(Into::into));
        }
        let of = |name: &str| own.get(name).and_then(Option::as_deref);
        let (center, schema) = (of("data_center"), of("schema_version"));
        let mut racks: Vec<&[u8]> = of("rack").into_iter().collect();
        let mut tokens = Vec::new();
        texts(of("tokens"), &mut tokens)?;
        let rows = Rows::parse(peers)?;
        let mut cells = rows.cells();
        let mut other_schema = None;
        // a server that answers with other columns than were asked for is no server
        let count = match rows.metadata.column_count {
            4 => rows.row_count,
            _ => 0,
        };
        for _ in 0..count {
            let mut row = [None; 4];
            for cell in &mut row {
                *cell = cells.next().transpose()?.and_then(|cell| cell.bytes);
            }
            if row[0] == center {
                racks.extend(row[1]);
                texts(row[2], &mut tokens)?;
            }
            if row[3].is_some() && row[3] != schema {
                other_schema = row[3];
            }
        }
        let rack = racks.into_iter().min().map(Into::into);
        let other_schema = other_schema.map(Into::into);
        let partitioner = of("partitioner").unwrap_or_default();
        let tokens = deal(&tokens, partitioner, proxies);
        Ok(Self {
            local: own,
            rack,
            other_schema,
            tokens,
        })
    }

    /// Whether all nodes have the same schema, as far as the one that answered knows.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.other_schema.is_none()
    }

    /// Nodes that are down keep their last schema for good: drivers need not wait for them.
    pub fn pretend_to_agree(&mut self) {
        self.other_schema = None;
    }

    /// Appends the message of a RESULT with the rows that a client shall see; `message` is the
    /// source's own answer to it.
    ///
    /// # Errors
    /// The answer cannot be read; what was appended by then is of no use.
    pub fn put_rows(
        &self,
        out: &mut Vec<u8>,
        question: &Question<'_>,
        message: &[u8],
        (proxies, facts): (&Proxies, &Facts),
    ) -> Result<(), DecodeError> {
        let rows = Rows::parse(message)?;
        let columns = columns_of(&rows.metadata, question.select);
        if question.table == SystemTable::Local {
            out.extend_from_slice(message.get(..rows.cells_at).unwrap_or_default());
            for (index, cell) in rows.cells().enumerate() {
                let column = columns.get(index % columns.len().max(1));
                self.put_local(
                    out,
                    column.copied().unwrap_or_default(),
                    cell?.bytes,
                    (proxies, facts),
                );
            }
            return Ok(());
        }
        put_last_page(out, message, &rows);
        let count_at = out.len();
        out.extend_from_slice(&[0; 4]);
        let mut count = 0_i32;
        let limit = question.select.and_then(|select| select.limit);
        // what is not understood is not answered with anything wrong
        let others = question.select.map(|select| {
            let others = (0..proxies.all.len()).filter(|at| *at != proxies.own);
            others
                .filter(move |at| self.fits(*at, select, question, proxies))
                .take(limit.unwrap_or(usize::MAX))
        });
        for at in others.into_iter().flatten() {
            for column in &columns {
                put_optional(out, self.cell(at, column, proxies).as_deref());
            }
            count += 1;
        }
        if let Some(place) = out.get_mut(count_at..count_at + 4) {
            place.copy_from_slice(&count.to_be_bytes());
        }
        Ok(())
    }

    fn put_local(
        &self,
        out: &mut Vec<u8>,
        column: &str,
        bytes: Option<&[u8]>,
        (proxies, facts): (&Proxies, &Facts),
    ) {
        match column {
            "host_id"
            | "tokens"
            | "rack"
            | "native_transport_address"
            | "native_transport_port" => {
                put_optional(out, self.cell(proxies.own, column, proxies).as_deref());
            }
            _ => put_cell(out, column, bytes, facts),
        }
    }

    /// What a proxy's row has in a column of `system.peers` or `system.peers_v2`.
    fn cell(&self, at: usize, column: &str, proxies: &Proxies) -> Option<Vec<u8>> {
        let address = *proxies.all.get(at)?;
        let own = |name: &str| self.local.get(name).and_then(Option::as_deref);
        match column {
            "peer" | "rpc_address" | "native_address" | "native_transport_address" => {
                Some(octets(address.ip()))
            }
            "native_port" | "native_transport_port" => {
                Some(i32::from(address.port()).to_be_bytes().into())
            }
            "peer_port" => {
                let port = own("broadcast_port").or_else(|| own("listen_port"));
                Some(port.map_or_else(|| STORAGE_PORT.to_be_bytes().into(), <[u8]>::to_vec))
            }
            "preferred_ip" | "preferred_port" | "native_transport_port_ssl" => None,
            "host_id" => Some(host_id(address).to_vec()),
            "rack" => self.rack.as_deref().map(<[u8]>::to_vec),
            "schema_version" => {
                let version = self.other_schema.as_deref().or_else(|| own(column));
                version.map(<[u8]>::to_vec)
            }
            "tokens" => Some(text_set(self.tokens.get(at).map_or(&[], Vec::as_slice))),
            _ => own(column).map(<[u8]>::to_vec),
        }
    }

    /// Whether a proxy's row is among those that were asked for.
    fn fits(
        &self,
        at: usize,
        select: &PlainSelect,
        question: &Question<'_>,
        proxies: &Proxies,
    ) -> bool {
        select.equals.iter().all(|(column, term)| {
            let cell = self.cell(at, column, proxies);
            match (term, cell.as_deref()) {
                (_, None) => false,
                (Term::Literal(text), Some(cell)) => is_written(cell, text),
                (Term::Marker(index, name), Some(cell)) => {
                    question.bound(*index, name.as_deref()) == Some(cell)
                }
            }
        })
    }
}

impl<'q> Question<'q> {
    fn bound(&self, index: usize, name: Option<&str>) -> Option<&'q [u8]> {
        let values = self.params?.values?;
        let bound = match values.is_named() {
            true => values.iter().find(|bound| bound.name == name)?,
            false => values.get(index)?,
        };
        match bound.value {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// Whether a cell's bytes are what the literal `text` means.
fn is_written(cell: &[u8], text: &str) -> bool {
    let hex = |text: &str| u128::from_str_radix(&text.replace('-', ""), 16).ok();
    text.as_bytes() == cell
        || text.parse::<IpAddr>().is_ok_and(|ip| octets(ip) == cell)
        || text.parse::<i32>().is_ok_and(|n| n.to_be_bytes() == cell)
        || (text.len() == 36 && hex(text).is_some_and(|id| id.to_be_bytes() == cell))
}

/// The columns that are meant: an alias hides the name.
fn columns_of<'a>(metadata: &Metadata<'a>, select: Option<&'a PlainSelect>) -> Vec<&'a str> {
    let named = select.and_then(|select| select.columns.as_ref());
    match named.filter(|named| named.len() == metadata.column_count) {
        Some(named) => named.iter().map(|name| &**name).collect(),
        None => metadata.columns().map(|column| column.name).collect(),
    }
}

/// Everything before the number of rows; this page is the last.
fn put_last_page(out: &mut Vec<u8>, message: &[u8], rows: &Rows<'_>) {
    let start = out.len();
    let flags_at = rows.metadata.start;
    let state_at = flags_at + 8; // behind the flags and the number of columns
    let more = message
        .get(flags_at + 3)
        .is_some_and(|low| low & HAS_MORE_PAGES != 0);
    let state_len = match (more, rows.metadata.paging_state) {
        (false, _) => 0,
        (true, state) => 4 + state.map_or(0, <[u8]>::len),
    };
    let (before, behind) = (
        message.get(..state_at),
        message.get(state_at + state_len..rows.cells_at - 4),
    );
    out.extend_from_slice(before.unwrap_or_default());
    out.extend_from_slice(behind.unwrap_or_default());
    if let Some(low) = out.get_mut(start + flags_at + 3) {
        *low &= !HAS_MORE_PAGES;
    }
}

fn put_optional(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => put(out, bytes),
        None => out.extend_from_slice(&(-1i32).to_be_bytes()),
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(four) => four.octets().into(),
        IpAddr::V6(six) => six.octets().into(),
    }
}

/// A proxy's host id: a UUID of version 8 with the FNV-1a hash of its address, the same at every
/// proxy and after every restart.
fn host_id(address: SocketAddr) -> [u8; 16] {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let hash = address.to_string().bytes().fold(BASIS, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(PRIME)
    });
    let mut id = hash.to_be_bytes();
    id[6] = (id[6] & 0x0f) | 0x80;
    id[8] = (id[8] & 0x3f) | 0x80;
    id
}

/// Appends the elements of a `set<text>`.
fn texts(cell: Option<&[u8]>, found: &mut Vec<Box<str>>) -> Result<(), DecodeError> {
    each_element(cell, |text| {
        found.push(String::from_utf8_lossy(text).into());
    })
}

fn text_set(texts: &[Box<str>]) -> Vec<u8> {
    // as many as the source's answers had, and those fit
    let count = i32::try_from(texts.len()).unwrap_or(i32::MAX);
    let mut out = count.to_be_bytes().to_vec();
    for text in texts {
        put(&mut out, text.as_bytes());
    }
    out
}

/// Deals the tokens out among so many proxies, in the order of the ring: neighbours are different.
/// Where there are few, ranges are halved until each proxy has [`TOKENS_MIN`].
fn deal(tokens: &[Box<str>], partitioner: &[u8], proxies: usize) -> Vec<Vec<Box<str>>> {
    let wanted = proxies * TOKENS_MIN;
    let ring = match partitioner.rsplit(|byte| *byte == b'.').next() {
        Some(b"Murmur3Partitioner") => Some((i128::from(i64::MIN), 1 << 64)),
        Some(b"RandomPartitioner") => Some((0, i128::MAX.cast_unsigned())),
        _ => None,
    };
    let all: Vec<Box<str>> = match ring {
        Some((first, length)) => {
            let numbers = tokens.iter().filter_map(|token| token.parse::<i128>().ok());
            let places = numbers.filter_map(|n| u128::try_from(n.checked_sub(first)?).ok());
            let token = |place: u128| first.wrapping_add_unsigned(place).to_string().into();
            let places = halve(places.collect(), length, wanted);
            places.into_iter().map(token).collect()
        }
        None => {
            let mut all = tokens.to_vec();
            all.sort_unstable();
            all.dedup();
            all
        }
    };
    let mut dealt = vec![Vec::new(); proxies];
    // drivers leave nodes without a token out: where there are fewer, some are given twice
    let count = if all.is_empty() {
        0
    } else {
        all.len().max(proxies)
    };
    for at in 0..count {
        dealt[at % proxies].push(all[at % all.len()].clone());
    }
    dealt
}

/// Halves the ranges between places on a ring of `length` until there are `wanted` places.
fn halve(mut places: Vec<u128>, length: u128, wanted: usize) -> Vec<u128> {
    places.retain(|place| *place < length);
    if places.is_empty() {
        places.push(length / 2);
    }
    places.sort_unstable();
    places.dedup();
    while places.len() < wanted {
        let before = places.len();
        let middles = (0..before).map(|at| {
            let (from, to) = (places[at], places[(at + 1) % before]);
            // `length` is at most half of what the type holds; one alone has the whole ring
            let span = match (to + length - from) % length {
                0 => length,
                span => span,
            };
            (from + span / 2) % length
        });
        let middles: Vec<_> = middles.collect();
        places.extend(middles);
        places.sort_unstable();
        places.dedup();
        if places.len() == before {
            break; // no room between them
        }
    }
    places
}

#[cfg(test)]
mod tests;
