"""Records what a real driver and a real Cassandra node say to each other.

    python capture.py NODE_ADDRESS NODE_PORT NAME OUT_DIR

Starts a recording relay in front of the node, runs the same session through it for each protocol
version and compression, and writes OUT_DIR/NAME-VERSION-COMPRESSION.bin. The node needs
PasswordAuthenticator and tombstone_failure_threshold: 20 (see README.md).
"""

import datetime
import decimal
import pathlib
import socket
import struct
import sys
import uuid

from cassandra import ConsistencyLevel, DriverException, protocol
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster, ExecutionProfile, NoHostAvailable, EXEC_PROFILE_DEFAULT
from cassandra.policies import FallthroughRetryPolicy
from cassandra.query import BatchStatement, BatchType, SimpleStatement, UNSET_VALUE

from recorder import Recorder

LISTEN = ("127.0.0.21", 21000)


def expect_error(session, statement, **kwargs):
    try:
        session.execute(statement, **kwargs)
    except (DriverException, NoHostAvailable, protocol.ErrorMessage) as error:
        print("  as wanted:", type(error).__name__)
    else:
        raise SystemExit(f"no error from {statement}")


def schema(s, modern):
    s.execute("CREATE KEYSPACE gold WITH replication = "
              "{'class': 'SimpleStrategy', 'replication_factor': 1}")
    s.execute("USE gold")
    s.execute("CREATE TYPE address (street text, numbers frozen<list<int>>)")
    s.execute("""CREATE TABLE every (k int, c text, s text STATIC, a ascii, b bigint, bl blob,
        bo boolean, de decimal, d double, f float, i inet, da date, ti time, sm smallint,
        t tinyint, ts timestamp, u uuid, tu timeuuid, v varint, du duration, l list<int>,
        st set<text>, m map<text, int>, fl frozen<list<text>>, tup tuple<int, text>,
        ad frozen<address>, nested map<int, frozen<set<frozen<address>>>>,
        PRIMARY KEY (k, c))""")
    s.execute("CREATE TABLE counters (k int PRIMARY KEY, n counter)")
    s.execute('CREATE TABLE "Quoted" ("Key" int, b text, PRIMARY KEY (("Key", b)))')
    s.execute("CREATE INDEX every_t ON every (t)")
    s.execute("ALTER TABLE every ADD extra text")
    s.execute("CREATE FUNCTION fails (x int) RETURNS NULL ON NULL INPUT RETURNS int "
              "LANGUAGE java AS 'if (x >= 0) throw new RuntimeException(\"no\"); return x;'")
    s.execute("CREATE FUNCTION adds (a int, b int) RETURNS NULL ON NULL INPUT RETURNS int "
              "LANGUAGE java AS 'return a + b;'")
    s.execute("CREATE AGGREGATE total (int) SFUNC adds STYPE int INITCOND 0")
    if modern:
        s.execute("CREATE TABLE vectors (k int PRIMARY KEY, v vector<float, 3>)")


def simple_writes(s, version):
    s.execute("INSERT INTO every (k, c, s) VALUES (1, 'a', 'static') USING TTL 600")
    s.execute("INSERT INTO every (k, c, b) VALUES (%s, %s, %s)", (1, "b", 2**40))
    s.execute("UPDATE every USING TIMESTAMP 1000 SET l = [1, 2], m['x'] = 1 WHERE k=1 AND c='a'")
    s.execute("INSERT INTO every JSON '{\"k\": 2, \"c\": \"json\"}'")
    bound = protocol.QueryMessage("INSERT INTO gold.every (k, c) VALUES (?, ?)",
                                  ConsistencyLevel.ONE)
    bound.query_params = [b"\0\0\0\1", b"bound"]
    s.cluster.control_connection._connection.wait_for_response(bound)  # the driver never binds text
    s.execute("UPDATE counters SET n = n + 1 WHERE k = 1")
    s.execute("DELETE t FROM every WHERE k = 1 AND c = 'a'")
    s.execute("INSERT INTO every (k, c) VALUES (9, 'x') IF NOT EXISTS")
    s.execute(SimpleStatement("INSERT INTO every (k, c) VALUES (9, 'x') IF NOT EXISTS",
                              serial_consistency_level=ConsistencyLevel.LOCAL_SERIAL))
    s.execute("INSERT INTO every (k, c) VALUES (1, 'traced')", trace=True)
    if version >= 4:
        s.execute("INSERT INTO every (k, c) VALUES (1, 'payload')",
                  custom_payload={"who": b"me", "empty": b""})
    s.execute("BEGIN BATCH INSERT INTO every (k, c) VALUES (3, 'a'); "
              "DELETE FROM every WHERE k = 3 AND c = 'b'; APPLY BATCH")
    for n in range(30):
        s.execute(f"INSERT INTO every (k, c, t) VALUES (7, 'row {n:02}', {n})")
    for n in range(30):
        s.execute(f"INSERT INTO every (k, c) VALUES (8, 'gone {n:02}') USING TTL 600")
        s.execute(f"DELETE FROM every WHERE k = 8 AND c = 'gone {n:02}'")


def prepared(s, modern, version):
    insert = s.prepare("INSERT INTO every (k, c, a, b, bl, bo, de, d, f, i, da, ti, sm, t, ts, u,"
                       " tu, v, l, st, m, fl, tup) VALUES"
                       " (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
    s.execute(insert, (5, "all", "ascii", -1, b"\0\1", True, decimal.Decimal("-1.50"), 1.5, -0.0,
                       "::1", datetime.date(1969, 12, 31), datetime.time(1, 2, 3), -2, 3,
                       datetime.datetime(2020, 1, 2), uuid.UUID(int=7),
                       uuid.UUID("6ab09bec-e68e-11d9-9669-0800200c9a66"), -(2**70), [1, 2],
                       {"x", "é"}, {"k": 1}, ["f"], (1, None)))
    named = s.prepare("UPDATE every USING TTL :ttl SET b = :b, s = :s WHERE k = :k AND c = :c")
    values = {"ttl": 600, "b": None, "s": UNSET_VALUE, "k": 5, "c": "all"}
    if version < 4:
        values["s"] = "v3 knows no unset"
    s.execute(named, values)
    s.execute(s.prepare('INSERT INTO "Quoted" ("Key", b) VALUES (?, ?)'), (1, "two keys"))
    s.execute(s.prepare("INSERT INTO every (k, c) VALUES (?, ?) IF NOT EXISTS"), (5, "all"))
    select = s.prepare("SELECT * FROM every WHERE k = ?")
    select.fetch_size = 7
    assert len(list(s.execute(select, (7,)))) == 30
    assert len(list(s.execute(select, (5,)))) == 1
    s.execute(s.prepare("SELECT k, writetime(b), ttl(b) FROM every WHERE k = ? AND c = ?"),
              (5, "all"))
    count = s.prepare("UPDATE counters SET n = n + ? WHERE k = ?")
    s.execute(count, (2, 1))
    two = s.prepare("INSERT INTO every (k, c) VALUES (?, ?)")
    for kind in (BatchType.LOGGED, BatchType.UNLOGGED):
        batch = BatchStatement(kind, serial_consistency_level=ConsistencyLevel.SERIAL)
        batch.add(two, (6, "in a batch"))
        batch.add("INSERT INTO every (k, c) VALUES (%s, %s)", (6, "text"))
        batch.add(SimpleStatement("DELETE FROM every WHERE k = 6 AND c = 'none'"))
        s.execute(batch)
    batch = BatchStatement(BatchType.COUNTER)
    batch.add(count, (1, 1))
    s.execute(batch)
    if s.cluster.compression is False:
        by_hand(version, select.query_id)
    if modern:
        s.execute(s.prepare("INSERT INTO vectors (k, v) VALUES (?, ?)"), (1, [1.0, 2.0, 3.0]))
        s.execute("SELECT * FROM vectors")


def by_hand(version, select_id):
    """What this driver does not send: named values, rows without columns, a message too many."""
    def string(text):
        return struct.pack(">H", len(text)) + text

    def value(data):
        return struct.pack(">i", len(data)) + data

    def long_string(text):
        return value(text)

    def ask(opcode, body):
        connection.sendall(struct.pack(">BBHBI", version, 0, opcode, opcode, len(body)) + body)
        header = connection.recv(9, socket.MSG_WAITALL)
        connection.recv(struct.unpack(">I", header[5:])[0], socket.MSG_WAITALL)
        return header[4]

    connection = socket.create_connection(LISTEN)
    options = ((b"CQL_VERSION", b"3.0.0"), (b"DRIVER_NAME", b"by hand"))
    assert ask(0x01, struct.pack(">H", 2) + b"".join(map(string, sum(options, ())))) == 0x03
    assert ask(0x0F, value(b"\0cassandra\0cassandra")) == 0x10
    named = struct.pack(">HBH", ConsistencyLevel.ONE, 0x41, 2)
    named += string(b"c") + value(b"named") + string(b"k") + value(struct.pack(">i", 1))
    insert = long_string(b"INSERT INTO gold.every (k, c) VALUES (:k, :c)")
    assert ask(0x07, insert + named) == 0x08
    paged = struct.pack(">HBH", ConsistencyLevel.ONE, 0x01 | 0x02 | 0x04 | 0x10, 1)
    paged += value(struct.pack(">i", 7)) + struct.pack(">iH", 7, ConsistencyLevel.LOCAL_SERIAL)
    assert ask(0x0A, string(select_id) + paged) == 0x08
    assert ask(0x0F, value(b"late")) == 0x00
    connection.close()


def warnings(s):
    future = s.execute_async('SELECT count(*) FROM "Quoted"')
    future.result()
    assert future.warnings, "no warning"


def errors(s, two):
    expect_error(s, "SELEC nothing")
    expect_error(s, "SELECT * FROM nowhere")
    expect_error(s, "CREATE TABLE every (k int PRIMARY KEY)")
    expect_error(s, "CREATE TYPE address (x int)")
    expect_error(s, "CREATE KEYSPACE bad WITH replication = {'class': 'NoSuchStrategy'}")
    expect_error(s, SimpleStatement("INSERT INTO every (k, c) VALUES (1, 'u')",
                                    consistency_level=ConsistencyLevel.THREE))
    expect_error(s, SimpleStatement("SELECT * FROM every WHERE k = 1",
                                    consistency_level=ConsistencyLevel.ANY))
    expect_error(s, "SELECT fails(k) FROM every WHERE k = 1")
    expect_error(s, "SELECT * FROM every WHERE k = 8")  # too many tombstones
    two.query_id = b"no such id"
    two.is_idempotent = False
    expect_error(s, two.bind((1, "x")))


def auth():
    for user, password in (("cassandra", "wrong"), ("reader", "reader")):
        cluster = connect(4, None, user, password)
        try:
            session = cluster.connect("gold" if user == "reader" else None)
            expect_error(session, "INSERT INTO every (k, c) VALUES (1, 'u')")
        except NoHostAvailable as error:
            print("  as wanted:", type(error).__name__)
        finally:
            cluster.shutdown()


def connect(version, compression, user="cassandra", password="cassandra"):
    profile = ExecutionProfile(retry_policy=FallthroughRetryPolicy(), request_timeout=60,
                               consistency_level=ConsistencyLevel.LOCAL_ONE)
    return Cluster([LISTEN[0]], port=LISTEN[1], protocol_version=version,
                   compression=compression or False, schema_metadata_enabled=False,
                   auth_provider=PlainTextAuthProvider(user, password), connect_timeout=30,
                   execution_profiles={EXEC_PROFILE_DEFAULT: profile})


def run(version, compression, modern):
    cluster = connect(version, compression)
    session = cluster.connect()
    session.execute("DROP KEYSPACE IF EXISTS gold")
    schema(session, modern)
    simple_writes(session, version)
    prepared(session, modern, version)
    if version >= 4:
        warnings(session)
    errors(session, session.prepare("INSERT INTO every (k, c) VALUES (?, ?)"))
    session.execute("TRUNCATE counters")
    session.execute("CREATE ROLE IF NOT EXISTS reader WITH PASSWORD = 'reader' AND LOGIN = true")
    session.execute("GRANT SELECT ON KEYSPACE gold TO reader")
    if version == 4 and not compression:
        auth()
    for what in ("AGGREGATE total", "FUNCTION fails", "INDEX every_t", "TABLE every"):
        session.execute(f"DROP {what}")
    session.execute("DROP KEYSPACE gold")
    cluster.shutdown()


def main():
    address, port, name, out = sys.argv[1:]
    recorder = Recorder(LISTEN, (address, int(port)))
    for version, compression in ((4, None), (4, "lz4"), (4, "snappy"), (3, None)):
        print(name, f"v{version}", compression)
        run(version, compression, modern="5." in name)
        file = f"{name}-v{version}-{compression or 'none'}.bin"
        recorder.save(pathlib.Path(out) / file, whole=True)


if __name__ == "__main__":
    main()
