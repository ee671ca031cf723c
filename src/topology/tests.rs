use super::*;
use crate::cql::{ColumnType, Reader, Writer};
use crate::tests::rows_message;

fn facts(shown: Shown) -> Facts {
    Facts {
        address: "10.9.9.9:29042".parse().unwrap(),
        shown: Rc::new(shown),
        offer: Rc::new(Offer::default()),
    }
}

fn cells_of(message: &[u8]) -> Vec<Option<Vec<u8>>> {
    let rows = Rows::parse(message).unwrap();
    rows.check().unwrap();
    rows.cells()
        .map(|cell| cell.unwrap().bytes.map(<[u8]>::to_vec))
        .collect()
}

#[test]
fn the_proxy_is_the_only_node_when_it_stands_alone() {
    let columns = [
        ("rpc_address", ColumnType::Inet),
        ("rpc_port", ColumnType::Int),
        ("native_protocol_version", ColumnType::Varchar),
        ("rack", ColumnType::Varchar),
        ("listen_address", ColumnType::Inet),
    ];
    let port = 9042i32.to_be_bytes();
    let row = [
        Some(&[127, 0, 0, 1][..]),
        Some(&port),
        Some(b"5"),
        Some(b"r1"),
        None,
    ];
    let original = rows_message(&columns, &row);
    let mut out = Vec::new();
    put_rows(
        &mut out,
        SystemTable::Local,
        &original,
        &facts(Shown::Single),
    )
    .unwrap();
    let shown = cells_of(&out);
    assert_eq!(shown[0].as_deref(), Some(&[10, 9, 9, 9][..]));
    assert_eq!(shown[1].as_deref(), Some(&29042i32.to_be_bytes()[..]));
    assert_eq!(shown[2].as_deref(), Some(&b"5"[..]));
    assert_eq!(shown[3].as_deref(), Some(&b"r1"[..]));
    assert_eq!(shown[4], None);
    let mut old = facts(Shown::Single);
    old.offer = Rc::new(Offer {
        protocol_versions: vec![3, 4],
        ..Offer::default()
    });
    out.clear();
    put_rows(&mut out, SystemTable::Local, &original, &old).unwrap();
    assert_eq!(
        cells_of(&out)[2].as_deref(),
        Some(&b"4"[..]),
        "what is offered at most"
    );
}

#[test]
fn peers_are_hidden_or_exchanged() {
    let columns = [("peer", ColumnType::Inet), ("native_port", ColumnType::Int)];
    let port = 9042i32.to_be_bytes();
    let original = rows_message(
        &columns,
        &[
            Some(&[10, 0, 0, 1]),
            Some(&port),
            Some(&[10, 0, 0, 2]),
            Some(&port),
        ],
    );
    let mut out = Vec::new();
    put_rows(
        &mut out,
        SystemTable::PeersV2,
        &original,
        &facts(Shown::Single),
    )
    .unwrap();
    assert_eq!(Rows::parse(&out).unwrap().row_count, 0);

    let exchanged = [("10.0.0.1".parse().unwrap(), "192.168.0.1".parse().unwrap())];
    let facts = facts(Shown::PerNode(exchanged.into()));
    out.clear();
    put_rows(&mut out, SystemTable::PeersV2, &original, &facts).unwrap();
    let shown = cells_of(&out);
    assert_eq!(shown[0].as_deref(), Some(&[192, 168, 0, 1][..]));
    assert_eq!(shown[2].as_deref(), Some(&[10, 0, 0, 2][..]));
    assert_eq!(shown[3].as_deref(), Some(&29042i32.to_be_bytes()[..]));
}

/// DSE 6 has addresses and ports of clients in columns of its own, and drivers look there first.
#[test]
fn peers_of_dse_are_exchanged_too() {
    let columns = [
        ("peer", ColumnType::Inet),
        ("native_transport_address", ColumnType::Inet),
        ("native_transport_port", ColumnType::Int),
        ("native_transport_port_ssl", ColumnType::Int),
    ];
    let (port, ssl) = (9042i32.to_be_bytes(), 9142i32.to_be_bytes());
    let node = Some(&[10, 0, 0, 1][..]);
    let original = rows_message(&columns, &[node, node, Some(&port), Some(&ssl)]);
    let exchanged = [("10.0.0.1".parse().unwrap(), "192.168.0.1".parse().unwrap())];
    let facts = facts(Shown::PerNode(exchanged.into()));
    let mut out = Vec::new();
    put_rows(&mut out, SystemTable::Peers, &original, &facts).unwrap();
    let (address, ours) = (vec![192, 168, 0, 1], 29042i32.to_be_bytes().to_vec());
    let expected = [&address, &address, &ours, &ours].map(|cell| Some(cell.clone()));
    assert_eq!(cells_of(&out), expected);
}

#[test]
fn only_what_the_proxy_speaks_is_offered() {
    let mut original = Vec::new();
    let mut writer = Writer::new(&mut original);
    supported::encode(
        &mut writer,
        [
            (
                "PROTOCOL_VERSIONS",
                vec!["3/v3", "4/v4", "5/v5", "6/v6-beta"],
            ),
            ("COMPRESSION", vec!["snappy", "lz4"]),
            ("SCYLLA_SHARD", vec!["3"]),
            ("TABLETS_ROUTING_V1", vec![""]),
            ("PAGE_UNIT", vec!["MB"]),
        ],
    );
    writer.finish().unwrap();
    let header = Header {
        response: true,
        version: 4,
        flags: Flags::NONE,
        stream: 5,
        opcode: Opcode::Supported,
        body_len: 0,
    };
    let mut facts = facts(Shown::Single);
    facts.offer = Rc::new(Offer {
        no_compression: true,
        ..Offer::default()
    });
    let mut out = Vec::new();
    let parsed = Supported::parse(&original).unwrap();
    put_supported(&mut out, header, &parsed, &facts).unwrap();
    let mut reader = Reader::new(&out[9..]);
    let shown = Supported {
        options: reader.string_multimap().unwrap(),
    };
    let of = |name| {
        shown
            .options
            .get(name)
            .map(|values| values.iter().collect::<Vec<_>>())
    };
    assert_eq!(of("PROTOCOL_VERSIONS"), Some(vec!["3/v3", "4/v4", "5/v5"]));
    assert_eq!(of("COMPRESSION"), Some(Vec::new()));
    assert_eq!(of("SCYLLA_SHARD"), None);
    assert_eq!(of("TABLETS_ROUTING_V1"), None);
    assert_eq!(of("PAGE_UNIT"), Some(vec!["MB"]), "not ours to judge");
}
