//! The target's nodes: found, written to by whom they own, and one dead or in another data centre.

use std::ops::Range;
use std::time::{Duration, Instant};

use twinring::cql::response::rows::each_element;

use crate::support::cassandra::{Cassandra, run_dir, setup};
use crate::support::cql::{Bound, Cell, Cql, Words};
use crate::support::lab;
use crate::support::proxy::Proxy;

/// How long anything may take that happens by itself.
const LIMIT: Duration = Duration::from_secs(120);
/// Writes that are counted together.
const KEYS: i32 = 300;
const COUNT: u64 = KEYS.cast_unsigned() as u64;

/// A proxy that knows one node of the target, and what it writes there.
struct Lab {
    target: &'static [Cassandra; 3],
    keyspace: &'static str,
    proxy: Proxy,
    next_key: i32,
}

impl Lab {
    /// `keyspace` at both sides, so often at the target, with the tables of this module.
    fn start(keyspace: &'static str, replicas: u8) -> Lab {
        setup();
        let (source, target) = (lab::target_50(), lab::three_plain());
        lab::create_keyspace(source, keyspace);
        lab::create_replicated(&target[0], keyspace, replicas);
        for node in [source, &target[0]] {
            for table in [
                "rows (k int PRIMARY KEY, v text)",
                "pairs (a text, b int, c int, v text, PRIMARY KEY ((a, b), c))",
                "lists (k int PRIMARY KEY, l list<int>)",
            ] {
                let text = format!("CREATE TABLE {keyspace}.{table}");
                node.connect().query(&text).unwrap();
            }
        }
        for node in target {
            has(node, keyspace, "rows", 0); // it knows of it
            has(node, keyspace, "lists", 0);
        }
        let ends = [source.address, target[0].address];
        let flags = ["--cores", "1"];
        let ip = lab::proxy_address();
        let proxy = Proxy::start_with(keyspace, &run_dir().join(keyspace), ip, ends, &flags, &[]);
        wait_for_links(&proxy, 3);
        Lab {
            target,
            keyspace,
            proxy,
            next_key: 0,
        }
    }

    fn cql(&self) -> Cql {
        Cql::connect(self.proxy.listen).unwrap()
    }

    /// How many writes to a table each node has coordinated.
    fn coordinated(&self, table: &str) -> [u64; 3] {
        let nodes = self.target.each_ref();
        nodes.map(|node| coordinated(node, self.keyspace, table))
    }

    /// Writes until each node coordinates just the writes that it owns. `owns`: what to select of
    /// which rows to see the token of each partition that was written.
    fn write_until_owned(
        &mut self,
        table: &str,
        mut write: impl FnMut(&mut Cql, Range<i32>),
        tokens: impl Fn(Range<i32>) -> String,
    ) {
        let (mut cql, began) = (self.cql(), Instant::now());
        loop {
            let keys = self.next_key..self.next_key + KEYS;
            self.next_key += KEYS;
            let before = self.coordinated(table);
            write(&mut cql, keys.clone());
            let found = loop {
                let now = self.coordinated(table);
                let found: Vec<_> = now.iter().zip(before).map(|(now, was)| now - was).collect();
                if found.iter().sum::<u64>() == COUNT {
                    break found;
                }
                assert!(began.elapsed() < LIMIT, "{table}: {found:?} of {KEYS}");
                std::thread::sleep(Duration::from_millis(100));
            };
            let owned = self.owned(&tokens(keys));
            eprintln!("{}.{table}: {found:?}, owned {owned:?}", self.keyspace);
            if found == owned {
                return;
            }
            assert!(began.elapsed() < LIMIT, "they do not go to their owners");
        }
    }

    /// How many of the selected tokens each node owns, by what the nodes themselves say.
    fn owned(&self, selected: &str) -> Vec<u64> {
        let mut ring = Vec::new();
        for (node, at) in self.target.iter().zip(0..) {
            let text = "SELECT tokens FROM system.local";
            let rows = node.connect().query(text).unwrap();
            each_element(rows[0][0].as_deref(), |token| {
                let token = std::str::from_utf8(token).unwrap();
                ring.push((token.parse::<i64>().unwrap(), at));
            })
            .unwrap();
        }
        ring.sort_unstable();
        assert_eq!(ring.len(), 3);
        let mut owned = vec![0; 3];
        for row in self.target[0].connect().query(selected).unwrap() {
            let token = i64::from_be_bytes(row[0].clone().unwrap().try_into().unwrap());
            let found = ring.iter().find(|(end, _)| *end >= token);
            let (_, at): (i64, usize) = *found.unwrap_or(&ring[0]);
            owned[at] += 1;
        }
        assert_eq!(owned.iter().sum::<u64>(), COUNT);
        assert!(owned.iter().all(|count| *count > 0), "{owned:?}");
        owned
    }

    /// Waits until a node sees so many rows.
    fn has(&self, node: &Cassandra, table: &str, count: i32) {
        has(node, self.keyspace, table, count);
    }
}

fn has(node: &Cassandra, keyspace: &str, table: &str, count: i32) {
    let began = Instant::now();
    let text = format!("SELECT * FROM {keyspace}.{table}");
    loop {
        let found = node.connect().query(&text).map(|rows| rows.len());
        if matches!(found, Ok(found) if found == usize::try_from(count).unwrap()) {
            return;
        }
        assert!(
            began.elapsed() < LIMIT,
            "{table}: {found:?} of {count} rows"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// How many writes to a table a node has coordinated.
fn coordinated(node: &Cassandra, keyspace: &str, table: &str) -> u64 {
    let text = format!(
        "SELECT count FROM system_views.coordinator_write_latency \
         WHERE keyspace_name = '{keyspace}' AND table_name = '{table}'"
    );
    let rows = node.connect().query(&text).unwrap();
    let count = rows.first().and_then(|row| row[0].clone());
    count.map_or(0, |count| u64::from_be_bytes(count.try_into().unwrap()))
}

fn wait_for_links(proxy: &Proxy, count: u64) {
    let began = Instant::now();
    while proxy.gauge("twinring_connections{target}") != count {
        assert!(began.elapsed() < LIMIT, "not {count} links");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn int(value: i32) -> Cell {
    Some(value.to_be_bytes().to_vec())
}

fn text(value: &str) -> Cell {
    Some(value.as_bytes().to_vec())
}

fn insert_rows(keyspace: &str) -> impl FnMut(&mut Cql, Range<i32>) {
    let insert = format!("INSERT INTO {keyspace}.rows (k, v) VALUES (?, ?)");
    move |cql, keys| {
        let id = cql.prepare(&insert).unwrap();
        for key in keys {
            cql.execute(&id, &[int(key), text("x")]).unwrap();
        }
    }
}

fn tokens_of_rows(keyspace: &str, keys: Range<i32>) -> String {
    let keys: Vec<_> = keys.map(|key| key.to_string()).collect();
    format!(
        "SELECT token(k) FROM {keyspace}.rows WHERE k IN ({})",
        keys.join(", ")
    )
}

/// Each node of the target coordinates the writes that it owns, and no others.
#[test]
fn writes_go_to_their_owners() {
    let _turn = lab::alone();
    let mut lab = Lab::start("owned", 1);
    let ks = lab.keyspace;
    let of_rows = |keys| tokens_of_rows(ks, keys);
    lab.write_until_owned("rows", insert_rows(ks), of_rows);
    // a text with values that are bound to it
    let update = format!("UPDATE {ks}.rows SET v = ? WHERE k = ?");
    let by_text = |cql: &mut Cql, keys: Range<i32>| {
        for key in keys {
            let values = [text("y"), int(key)].map(|cell| Bound::Value(cell.unwrap()));
            cql.send_with(Words::Text(&update), &values, &Default::default())
                .unwrap();
        }
    };
    lab.write_until_owned("rows", by_text, of_rows);
    // a key of two columns, with bytes above 127 and of every length
    let insert = format!("INSERT INTO {ks}.pairs (a, b, c, v) VALUES (?, ?, ?, ?)");
    let name = |key: i32| "é".repeat(usize::try_from(key % 40).unwrap());
    let in_batches = |cql: &mut Cql, keys: Range<i32>| {
        let id = cql.prepare(&insert).unwrap();
        for key in keys {
            let values = |c| {
                [text(&name(key)), int(key), int(c), text("x")]
                    .map(|cell| Bound::Value(cell.unwrap()))
            };
            let (one, two) = (values(1), values(2));
            let parts = [(Words::Id(&id), &one[..]), (Words::Id(&id), &two[..])];
            cql.send_batch(1, &parts, None).unwrap();
        }
    };
    let of_pairs = |keys: Range<i32>| {
        let all = format!("SELECT token(a, b) FROM {ks}.pairs WHERE c = 1 AND b >= ");
        format!("{all}{} AND b < {} ALLOW FILTERING", keys.start, keys.end)
    };
    lab.write_until_owned("pairs", in_batches, of_pairs);
    // in the order of their coming, through the shard that owns the table
    let append = format!("UPDATE {ks}.lists SET l = l + ? WHERE k = ?");
    let appends = |cql: &mut Cql, keys: Range<i32>| {
        let id = cql.prepare(&append).unwrap();
        for key in keys {
            let one = [1_i32.to_be_bytes(), 4_i32.to_be_bytes(), key.to_be_bytes()].concat();
            cql.execute(&id, &[Some(one), int(key)]).unwrap();
        }
    };
    let of_lists = |keys| tokens_of_rows(ks, keys).replace(".rows", ".lists");
    lab.write_until_owned("lists", appends, of_lists);
    assert_nothing_is_put_aside(&lab.proxy);
}

/// What the dead one owns goes to the others where there are replicas, and waits where there are
/// none; when it is back it gets what it owns again.
#[test]
fn an_owner_that_dies_loses_nothing() {
    let _turn = lab::alone();
    let mut lab = Lab::start("dies", 3);
    let ks = lab.keyspace;
    let (target, alone) = (lab.target, "dies_alone");
    for node in [lab::target_50(), &target[0]] {
        lab::create_keyspace(node, alone);
        let text = format!("CREATE TABLE {alone}.rows (k int PRIMARY KEY, v text)");
        node.connect().query(&text).unwrap();
    }
    target.iter().for_each(|node| has(node, alone, "rows", 0));
    let of_rows = |keys| tokens_of_rows(ks, keys);
    lab.write_until_owned("rows", insert_rows(ks), of_rows);

    let before = lab.coordinated("rows");
    let (mut insert, mut insert_alone) = (insert_rows(ks), insert_rows(alone));
    let mut cql = lab.cql();
    let first = lab.next_key;
    insert(&mut cql, first..first + 100);
    let outage = target[1].kill9();
    insert(&mut cql, first + 100..first + 400);
    insert_alone(&mut cql, 0..100);
    lab.next_key += 400;
    lab.has(&target[0], "rows", lab.next_key);
    let by = |at: usize| coordinated(&target[at], ks, "rows") - before[at];
    let taken = by(0) + by(2);
    assert!(
        taken >= 300,
        "of 300 that came after its death the others took {taken}"
    );

    outage.end();
    wait_for_links(&lab.proxy, 3);
    has(&target[0], alone, "rows", 100);
    lab.write_until_owned("rows", insert_rows(ks), of_rows);
    lab.has(&target[1], "rows", lab.next_key);
    assert_nothing_is_put_aside(&lab.proxy);
}

/// Only nodes of the data centre that `--target-dc` names are written to, whichever node the proxy
/// was told of; with a name that no node has nothing is, and it says so.
#[test]
fn one_data_centre_is_written_to() {
    let _turn = lab::alone();
    setup();
    let (source, [east, west, west_too]) = (lab::target_50(), lab::two_centers());
    let keyspace = "centers";
    lab::create_keyspace(source, keyspace);
    let text = format!(
        "CREATE KEYSPACE {keyspace} WITH replication = \
         {{'class': 'NetworkTopologyStrategy', 'east': 1, 'west': 1}}"
    );
    east.connect().query(&text).unwrap();
    for node in [source, east] {
        let text = format!("CREATE TABLE {keyspace}.rows (k int PRIMARY KEY, v text)");
        node.connect().query(&text).unwrap();
    }
    let all = [east, west, west_too];
    all.iter().for_each(|node| has(node, keyspace, "rows", 0));
    let data_dir = run_dir().join(keyspace);
    let ip = lab::proxy_address();
    let start = |center: &str| {
        let ends = [source.address, east.address];
        let flags = ["--cores", "1", "--target-dc", center];
        let name = format!("{keyspace}-{center}"); // of its log
        Proxy::start_with(&name, &data_dir, ip, ends, &flags, &[])
    };
    let write = |proxy: &Proxy, keys| {
        let mut cql = Cql::connect(proxy.listen).unwrap();
        insert_rows(keyspace)(&mut cql, keys);
    };
    let written = || all.map(|node| coordinated(node, keyspace, "rows"));

    let proxy = start("north");
    write(&proxy, 0..100);
    let began = Instant::now();
    let wanted = "--target-dc north: no node is in this data centre";
    let has_said = || {
        let words = proxy.words();
        let line = words.lines().find(|line| line.contains(wanted));
        line.is_some_and(|line| line.contains("east, west"))
    };
    while !has_said() || proxy.gauge("twinring_backlog_records") < 100 {
        assert!(began.elapsed() < LIMIT, "{}", proxy.words());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(written(), [0; 3]);
    assert_eq!(proxy.gauge("twinring_connections{target}"), 0);
    let (ended, words) = proxy.terminate(LIMIT);
    assert!(ended.success(), "{words}");

    let proxy = start("west");
    wait_for_links(&proxy, 2);
    write(&proxy, 100..400);
    has(west, keyspace, "rows", 400);
    let [far, near, near_too] = written();
    eprintln!("east {far}, west {near} and {near_too}");
    assert_eq!(far, 0, "a node of the other data centre was written to");
    assert!(near > 0 && near_too > 0, "{near} and {near_too}");
    assert_eq!(near + near_too, 400);
    assert_eq!(proxy.gauge("twinring_connections{target}"), 2);
    assert_nothing_is_put_aside(&proxy);
}

/// A proxy that knows one node of its target finds the others, tells all of a schema change before
/// it goes on, and does not need the one that it knew.
#[test]
fn the_targets_nodes_are_found() {
    let _turn = lab::alone();
    setup();
    let (source, target) = (lab::target_50(), lab::three_plain());
    let keyspace = "found";
    lab::create_keyspace(source, keyspace);
    lab::create_replicated(&target[0], keyspace, 3);
    let ends = [source.address, target[0].address];
    let data_dir = run_dir().join(keyspace);
    let flags = ["--cores", "1"];
    let ip = lab::proxy_address();
    let proxy = Proxy::start_with(keyspace, &data_dir, ip, ends, &flags, &[]);
    wait_for_links(&proxy, 3);

    let mut cql = Cql::connect(proxy.listen).unwrap();
    let mut rows = 0;
    let mut write = |table: &str, count: i32| {
        for _ in 0..count {
            let text = format!("INSERT INTO {keyspace}.{table} (k, v) VALUES ({rows}, 'x')");
            cql.query(&text).unwrap();
            rows += 1;
        }
    };
    let mut admin = Cql::connect(proxy.listen).unwrap();
    for table in 0..5 {
        let text = format!("CREATE TABLE {keyspace}.t{table} (k int PRIMARY KEY, v text)");
        admin.query(&text).unwrap();
        write(&format!("t{table}"), 100);
    }
    for table in 0..5 {
        has(&target[1], keyspace, &format!("t{table}"), 100);
    }
    assert_every_node_is_used(&proxy, target);

    let outage = target[0].kill9();
    write("t0", 300);
    has(&target[1], keyspace, "t0", 400);
    outage.end();
    wait_for_links(&proxy, 3);
    assert_nothing_is_put_aside(&proxy);
}

fn assert_every_node_is_used(proxy: &Proxy, target: &[Cassandra; 3]) {
    let ours = proxy.ports();
    for node in target {
        let clients = node
            .connect()
            .query("SELECT port FROM system_views.clients");
        let ports = clients
            .unwrap()
            .into_iter()
            .map(|row| row[0].clone().unwrap());
        let mut ports = ports.map(|port| i32::from_be_bytes(port.try_into().unwrap()));
        assert!(ports.any(|port| ours.contains(&u16::try_from(port).unwrap())));
    }
}

fn assert_nothing_is_put_aside(proxy: &Proxy) {
    let (_, metrics) = proxy.get("/metrics");
    for held in ["rejected_held", "in_doubt_held"] {
        let name = format!("twinring_{held}");
        let lines = metrics.lines().filter(|line| line.starts_with(&name));
        let counts: Vec<_> = lines.map(|line| line.rsplit(' ').next().unwrap()).collect();
        assert!(!counts.is_empty(), "{held} is not there");
        assert!(
            counts.iter().all(|count| *count == "0"),
            "{held}: {counts:?}"
        );
    }
}
