"""The statement matrix with the Python driver, default discovery, one contact point.

Reads its orders from TWINRING_* variables (tests/README.md), prints one JSON object per step, and
leaves with 1 when a step failed. Every value is fixed, so that two runs leave equal tables.
"""
import collections as std_collections
import datetime
import decimal
import json
import os
import re
import sys
import time
import traceback
import uuid

import cassandra
import small
from cassandra import ConsistencyLevel as CL
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import FallthroughRetryPolicy, RoundRobinPolicy
from cassandra.query import (UNSET_VALUE, BatchStatement, BatchType, SimpleStatement)
from cassandra.util import Date, Duration, Time

ENV = {k[9:].lower(): v for k, v in os.environ.items() if k.startswith("TWINRING_")}
KS = ENV["keyspace"]
STAMP = 1_600_000_000_000_000
PROTOCOL = int(ENV.get("protocol", 0))
STEPS = []


def step(function):
    STEPS.append(function)
    return function


def check(condition, *words):
    if not condition:
        raise AssertionError(" ".join(map(str, words)))


def equal(got, want):
    check(got == want, "got", repr(got)[:300], "want", repr(want)[:300])


def cluster(address, protocol=PROTOCOL):
    host, port = address.rsplit(":", 1)
    options = {"protocol_version": protocol} if protocol else {}
    options.update(small.access())
    if address != ENV["contact"]:
        options.pop("ssl_context", None)
    profile = ExecutionProfile(load_balancing_policy=RoundRobinPolicy(),
                               retry_policy=FallthroughRetryPolicy(), request_timeout=60)
    return Cluster([host], port=int(port), connect_timeout=30, control_connection_timeout=30,
                   compression=ENV.get("compression") == "lz4",
                   execution_profiles={EXEC_PROFILE_DEFAULT: profile}, **options)


def open_session(address, keyspace=KS, protocol=PROTOCOL):
    session = cluster(address, protocol).connect(keyspace)
    session.use_client_timestamp = ENV.get("stamps", "client") == "client"
    return session


def statements(name):
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", name)
    lines = [x for x in open(path, encoding="utf-8").read().splitlines() if not x.startswith("--")]
    return [x.strip() for x in "\n".join(lines).split(";\n") if x.strip(" \n;")]


class Run:
    """What the steps share: a session through the contact point, and one at the source itself."""

    def __init__(self):
        self.session = open_session(ENV["contact"])
        # some errors depend on the version of the protocol
        negotiated = self.session.cluster.protocol_version
        self.direct = open_session(ENV["direct"], protocol=negotiated)
        self.execute = self.session.execute
        self.prepare = self.session.prepare

    def rows(self, text, *args):
        return [tuple(r) for r in self.execute(text, *args)]

    def has_unset(self):
        return self.session.cluster.protocol_version >= 4


@step
def discovery(c):
    host, port = ENV["contact"].rsplit(":", 1)
    endpoints = {h.endpoint for h in c.session.cluster.metadata.all_hosts()}
    equal({(e.address, e.port) for e in endpoints}, {(host, int(port))})
    check(c.session.cluster.metadata.token_map, "no token map")


@step
def schema(c):
    if ENV.get("schema") != "present":
        for text in statements("schema.cql"):
            c.execute(text)
        if ENV.get("vector") == "1":
            for text in statements("schema-vector.cql"):
                c.execute(text)
    c.session.cluster.refresh_schema_metadata()
    tables = c.session.cluster.metadata.keyspaces[KS].tables
    check("kinds" in tables and "QuotedTable" in tables, sorted(tables))


@step
def simple(c):
    c.execute("INSERT INTO plain (id, v, w) VALUES (1, 'one', 1)")
    c.execute("insert into PLAIN (ID, V) values (2, 'two') ; ")
    c.execute("INSERT INTO %s.plain (id, v) VALUES (3, 'it''s -- no comment')" % KS)
    c.execute("INSERT INTO plain (id, v) VALUES (4, $$dollar's 'text' /* here */$$)")
    c.execute("/* lead */ UPDATE plain -- why\n SET v = 'five', w = 5 // end\n WHERE id = 5")
    c.execute("UPDATE plain SET w = 6 WHERE id IN (6, 7)")
    c.execute("\n\t  Insert Into \"plain\"(id,v)Values(8,'UPDATE x USING TIMESTAMP 5')")
    c.execute(SimpleStatement("INSERT INTO plain (id, v) VALUES (9, 'quorum')",
                              consistency_level=CL.LOCAL_QUORUM))
    equal(c.rows("SELECT v FROM plain WHERE id = 3"), [("it's -- no comment",)])
    equal(c.rows("SELECT v FROM plain WHERE id = 4"), [("dollar's 'text' /* here */",)])
    equal(len(c.rows("SELECT id FROM plain WHERE id IN (1,2,3,4,5,6,7,8,9)")), 9)


@step
def interpolated(c):
    for i in range(20, 30):
        c.execute("INSERT INTO plain (id, v, w) VALUES (%s, %s, %s)", (i, "ü%d 漢'" % i, i))
    c.execute("INSERT INTO plain (id, v) VALUES (%(id)s, %(v)s)", {"id": 30, "v": "named"})
    equal(c.rows("SELECT v FROM plain WHERE id = 20"), [("ü20 漢'",)])


@step
def prepared(c):
    insert = c.prepare("INSERT INTO plain (id, v, w) VALUES (?, ?, ?)")
    for i in range(100, 200):
        c.execute(insert, (i, "p%d" % i, i))
    futures = [c.session.execute_async(insert, (i, "a%d" % i, i)) for i in range(200, 600)]
    for future in futures:
        future.result()
    named = c.prepare("UPDATE plain SET v = :value, w = :w WHERE id = :id")
    c.execute(named, {"value": "named", "w": 1, "id": 600})
    again = c.prepare("INSERT INTO plain (id, v, w) VALUES (?, ?, ?)")
    equal(again.query_id, insert.query_id)
    c.execute(again, (601, "again", 0))
    equal(c.rows("SELECT count(*) FROM plain WHERE id >= 100 AND id < 600 ALLOW FILTERING"),
          [(500,)])


@step
def null_and_unset(c):
    insert = c.prepare("INSERT INTO plain (id, v, w) VALUES (?, ?, ?)")
    for i in (700, 701, 702):
        c.execute(insert, (i, "before", 1))
    c.execute(insert, (700, None, 2))
    c.execute("INSERT INTO plain (id, v, w) VALUES (701, null, 2)")
    if c.has_unset():
        c.execute(insert, (702, UNSET_VALUE, 2))
        c.execute(insert, (703, UNSET_VALUE, UNSET_VALUE))
    else:
        c.execute("UPDATE plain SET w = 2 WHERE id = 702")
        c.execute("INSERT INTO plain (id) VALUES (703)")
    equal(c.rows("SELECT id, v, w FROM plain WHERE id IN (700, 701, 702, 703)"),
          [(700, None, 2), (701, None, 2), (702, "before", 2), (703, None, None)])


@step
def batches(c):
    insert = c.prepare("INSERT INTO plain (id, v) VALUES (?, ?)")
    delete = c.prepare("DELETE FROM plain WHERE id = ?")
    for kind, base in ((BatchType.LOGGED, 1000), (BatchType.UNLOGGED, 1100)):
        batch = BatchStatement(batch_type=kind)
        for i in range(10):
            batch.add(insert, (base + i, "prepared"))
        batch.add(SimpleStatement("INSERT INTO plain (id, v) VALUES (%s, 'simple')" % (base + 10)))
        batch.add("UPDATE plain SET v = %s WHERE id = %s", ("interpolated", base + 11))
        batch.add(delete, (base,))
        c.execute(batch)
        batch = BatchStatement(batch_type=kind)
        for i in range(5):
            batch.add(SimpleStatement("UPDATE plain SET w = %d WHERE id = %d" % (i, base + i + 20)))
        c.execute(batch)
    batch = BatchStatement()
    batch.add("INSERT INTO plain (id, v) VALUES (1200, 'own') USING TIMESTAMP %d" % STAMP)
    batch.add(insert, (1201, "shared"))
    c.execute(batch)
    c.execute("BEGIN BATCH INSERT INTO plain (id, v) VALUES (1300, 'text'); "
              "UPDATE plain SET w = 3 WHERE id = 1301; DELETE w FROM plain WHERE id = 1300; "
              "APPLY BATCH;")
    c.execute("BEGIN UNLOGGED BATCH INSERT INTO plain (id, v) VALUES (1302, 'unlogged') "
              "INSERT INTO plain (id, v) VALUES (1303, 'no semicolon') APPLY BATCH")
    c.execute("begin batch using timestamp %d insert into plain (id, v) values (1304, 'stamped') "
              "apply batch" % (STAMP + 4))
    text = c.prepare("BEGIN BATCH INSERT INTO plain (id, v) VALUES (?, ?); "
                     "UPDATE plain SET w = ? WHERE id = ?; APPLY BATCH")
    c.execute(text, (1305, "prepared text", 5, 1306))
    text = c.prepare("BEGIN UNLOGGED BATCH USING TIMESTAMP ? INSERT INTO plain (id, v) "
                     "VALUES (?, ?) APPLY BATCH")
    c.execute(text, (STAMP + 7, 1307, "bound stamp"))
    equal(len(c.rows("SELECT id FROM plain WHERE id IN (1300,1301,1302,1303,1304,1305,1306,1307)")),
          8)
    equal(c.rows("SELECT writetime(v) FROM plain WHERE id IN (1200, 1304, 1307)"),
          [(STAMP,), (STAMP + 4,), (STAMP + 7,)])


@step
def using_timestamp(c):
    c.execute("INSERT INTO plain (id, v) VALUES (2000, 'x') USING TIMESTAMP %d" % STAMP)
    c.execute("UPDATE plain USING TIMESTAMP %d SET v = 'old' WHERE id = 2000" % (STAMP - 5))
    c.execute("insert into plain (id, v) values (2001, 'x') using ttl 9000 and timestamp %d" % STAMP)
    c.execute("INSERT INTO plain (id, v) VALUES (2002, 'x') USING/**/TIMESTAMP %d AND TTL 9000"
              % STAMP)
    bound = c.prepare("INSERT INTO plain (id, v) VALUES (?, ?) USING TIMESTAMP ?")
    c.execute(bound, (2003, "bound", STAMP + 3))
    bound = c.prepare("UPDATE plain USING TIMESTAMP :stamp SET v = :v WHERE id = :id")
    c.execute(bound, {"stamp": STAMP + 4, "v": "named", "id": 2004})
    if c.has_unset():
        bound = c.prepare("INSERT INTO plain (id, v) VALUES (?, ?) USING TIMESTAMP ? AND TTL ?")
        c.execute(bound, (2005, "unset", UNSET_VALUE, UNSET_VALUE))
        check(c.rows("SELECT writetime(v) FROM plain WHERE id = 2005")[0][0] > STAMP, "unset stamp")
    c.execute("DELETE FROM plain USING TIMESTAMP %d WHERE id = 2000" % (STAMP - 9))
    equal(c.rows("SELECT v, writetime(v) FROM plain WHERE id = 2000"), [("x", STAMP)])
    c.execute("INSERT INTO plain (id, v) VALUES (2006, 'negative') USING TIMESTAMP -5")
    future = 4_000_000_000_000_000
    c.execute("INSERT INTO plain (id, v) VALUES (2007, 'future') USING TIMESTAMP %d" % future)
    c.execute("INSERT INTO plain (id, v) VALUES (2007, 'loses')")
    equal(c.rows("SELECT v FROM plain WHERE id = 2007"), [("future",)])


@step
def stamps_win_in_order(c):
    """The last of many quick writes to one cell wins, at both clusters."""
    update = c.prepare("UPDATE plain SET v = ?, w = ? WHERE id = ?")
    for i in range(200):
        c.execute(update, ("round %d" % i, i, 2100))
    equal(c.rows("SELECT w FROM plain WHERE id = 2100"), [(199,)])
    before = c.rows("SELECT writetime(v) FROM plain WHERE id = 2100")[0][0]
    check(abs(before / 1e6 - time.time()) < 300, "the stamp is far from the clock", before)


@step
def ttl(c):
    c.execute("INSERT INTO expiring (id, v, w) VALUES (1, 'default', 1)")
    c.execute("INSERT INTO expiring (id, v) VALUES (2, 'own') USING TTL 5000")
    c.execute("INSERT INTO expiring (id, v) VALUES (3, 'none') USING TTL 0")
    c.execute("UPDATE expiring USING TTL 6000 SET v = 'update' WHERE id = 4")
    bound = c.prepare("INSERT INTO expiring (id, v) VALUES (?, ?) USING TTL ?")
    c.execute(bound, (5, "bound", 7000))
    c.execute(bound, (6, "bound zero", 0))
    c.execute(bound, (7, "null", None))
    prepared_default = c.prepare("UPDATE expiring SET v = ?, w = ? WHERE id = ?")
    c.execute(prepared_default, ("prepared default", 2, 8))
    c.execute("INSERT INTO expiring (id, v) VALUES (9, 'gone') USING TTL 1")
    c.execute("INSERT INTO plain (id, v) VALUES (3000, 'plain') USING TTL 4000")
    left = c.rows("SELECT ttl(v) FROM expiring WHERE id IN (1, 2, 3, 5)")
    check(7190 <= left[0][0] <= 7200 and 4990 <= left[1][0] <= 5000 and left[2][0] is None
          and 6990 <= left[3][0] <= 7000, left)
    time.sleep(1.2)
    equal(c.rows("SELECT v FROM expiring WHERE id = 9"), [])


@step
def deletes(c):
    insert = c.prepare("INSERT INTO wide (pk, ck, cl, v, w) VALUES (?, ?, ?, ?, ?)")
    for pk in range(1, 7):
        for ck in range(10):
            for cl in ("a", "b"):
                c.execute(insert, (pk, ck, cl, "v%d" % ck, ck))
        c.execute("INSERT INTO wide (pk, s) VALUES (%s, %s)", (pk, "static %d" % pk))
    c.execute("DELETE v FROM wide WHERE pk = 1 AND ck = 1 AND cl = 'a'")
    c.execute("DELETE v, w FROM wide WHERE pk = 1 AND ck = 2 AND cl = 'b'")
    c.execute("DELETE FROM wide WHERE pk = 1 AND ck = 3 AND cl = 'a'")
    c.execute("DELETE FROM wide WHERE pk = 2 AND ck = 4")
    c.execute("DELETE FROM wide WHERE pk = 2 AND ck > 6")
    c.execute("DELETE FROM wide WHERE pk = 2 AND ck >= 1 AND ck < 3")
    c.execute("DELETE FROM wide WHERE pk = 2 AND (ck, cl) > (5, 'a') AND (ck, cl) <= (6, 'a')")
    c.execute("DELETE FROM wide WHERE pk = 3")
    c.execute("DELETE s FROM wide WHERE pk = 4")
    c.execute("DELETE FROM wide WHERE pk IN (5) AND ck IN (1, 2) AND cl IN ('a', 'b')")
    c.execute(c.prepare("DELETE FROM wide WHERE pk = ? AND ck >= ?"), (6, 5))
    c.execute(c.prepare("DELETE w FROM wide WHERE pk = ? AND ck = ? AND cl = ?"), (6, 1, "a"))
    c.execute("DELETE FROM wide USING TIMESTAMP %d WHERE pk = 6" % STAMP)
    counts = [c.rows("SELECT count(*) FROM wide WHERE pk = %d" % pk)[0][0] for pk in range(1, 7)]
    equal(counts, [19, 6, 0, 20, 16, 10])


@step
def statics(c):
    c.execute("INSERT INTO wide (pk, s) VALUES (50, 'only static')")
    c.execute("UPDATE wide SET s = 'updated' WHERE pk = 51")
    c.execute("INSERT INTO wide (pk, ck, cl, s, v) VALUES (52, 1, 'x', 'both', 'row')")
    both = c.prepare("UPDATE wide SET s = ?, v = ? WHERE pk = ? AND ck = ? AND cl = ?")
    c.execute(both, ("prepared", "row", 53, 2, "y"))
    equal(c.rows("SELECT s, v FROM wide WHERE pk = 53"), [("prepared", "row")])
    equal(c.rows("SELECT s FROM wide WHERE pk = 50"), [("only static",)])


COLUMNS = ("id a b bl bo d de dbl du f i n si t ti ts tu ty u vi tup fudt fl fs fm").split()


def kinds_rows(address):
    day = datetime.datetime(2024, 2, 29, 12, 30, 15, 123000)
    full = (1, "ascii", -(1 << 63), b"\x00\xffblob", True, Date(19782), decimal.Decimal("-1.23E-30"),
            1e300, Duration(3, 2, 5_000_000_001), 1.5, "192.168.1.254", -(1 << 31), -32768,
            "t漢字\U0001f600", Time(86_399_999_999_999), day,
            uuid.UUID("d2177dd0-eaa2-11de-a572-001b779c76e3"), -128,
            uuid.UUID("b3f2c1d0-0000-4000-8000-00000000abcd"), -(1 << 200), (7, "seven", [1, 2]),
            address("Main 1", 12345, {"x", "y"}), [3, 1, 2], {"b", "a"}, {"k": 1, "j": 2})
    low = (2, "", 0, b"", False, Date(0), decimal.Decimal(0), -0.0, Duration(0, 0, 0), 0.0, "::1",
           0, 0, "", Time(0), datetime.datetime(1969, 12, 31, 23, 59, 59), full[16], 0, full[18], 0,
           (None, None, None), address(None, None, None), [], set(), {})
    inf = (3,) + full[1:7] + (float("inf"), Duration(-1, -1, -1), float("-inf"), "fe80::1:2:3:4") \
        + full[11:]
    return [full, low, inf, (4,) + (None,) * (len(full) - 1)]


@step
def every_type(c):
    address = c.session.cluster.metadata.keyspaces[KS].user_types["address"]
    check(address, "the type is known")
    make = std_collections.namedtuple("Address", "street zip tags")
    c.session.cluster.register_user_type(KS, "address", make)
    insert = c.prepare("INSERT INTO kinds (%s) VALUES (%s)" % (
        ", ".join(COLUMNS), ", ".join("?" * len(COLUMNS))))
    rows = kinds_rows(make)
    for row in rows:
        c.execute(insert, row)
    for row in rows[:3]:
        got = c.rows("SELECT %s FROM kinds WHERE id = %d" % (", ".join(COLUMNS), row[0]))[0]
        for name, have, want in zip(COLUMNS, got, row):
            if name in ("fl", "fs", "fm") and not want:
                check(not have, name, have)
            elif name == "tup":
                equal(tuple(have)[:2], want[:2])
            elif name == "fudt":
                equal(have[:2], want[:2])
            elif name in ("fs", "fm"):
                equal(type(want)(have), want)
            else:
                equal(have, want)
    c.execute("INSERT INTO kinds (id, a, b, bl, bo, d, de, dbl, du, f, i, n, si, t, ti, ts, tu, ty, "
              "u, vi, tup, fudt, fl, fs, fm) VALUES (5, 'x', 1, 0xCAFE, true, '2024-01-31', 1.50, "
              "NaN, 1y2mo3w4d5h6m7s8ms9us10ns, Infinity, '10.0.0.1', -7, 3, 'it''s', "
              "'13:14:15.123456789', '2024-01-31 10:00:00.123+0200', "
              "d2177dd0-eaa2-11de-a572-001b779c76e3, -3, b3f2c1d0-0000-4000-8000-00000000abcd, "
              "123456789012345678901234567890, (1, 'a', [1]), {street: 'S', zip: 1, tags: {'q'}}, "
              "[1, 2], {'s'}, {'m': 1})")
    equal(c.rows("SELECT tup, fl FROM kinds WHERE id = 5"), [((1, "a", [1]), [1, 2])])


@step
def json_text(c):
    c.execute("""INSERT INTO plain JSON '{"id": 4000, "v": "json", "w": 7}'""")
    c.execute("""INSERT INTO plain JSON '{"id": 4001, "v": "unset"}' DEFAULT UNSET""")
    c.execute("""INSERT INTO plain JSON '{"id": 4002, "v": "stamp"}' USING TIMESTAMP %d""" % STAMP)
    c.execute(c.prepare("INSERT INTO plain JSON ?"), ('{"id": 4003, "v": "bound \\"quote\\""}',))
    c.execute(c.prepare("INSERT INTO plain (id, v) VALUES (fromJson(?), ?)"), ("4004", "from"))
    equal(c.rows("SELECT v, w FROM plain WHERE id = 4000"), [("json", 7)])
    equal(c.rows("SELECT v FROM plain WHERE id = 4004"), [("from",)])


@step
def collections(c):
    c.execute("INSERT INTO gathered (id, s, m, l, v) VALUES (1, {'a', 'b'}, {'k': 1, 'z': 26}, "
              "[1, 2, 3], 'literal')")
    bound = c.prepare("INSERT INTO gathered (id, s, m, l, u, nested, v) VALUES (?,?,?,?,?,?,?)")
    make = std_collections.namedtuple("Address", "street zip tags")
    row = ({"x", "y"}, {"p": 1}, [9, 8, 7], make("S", 9, {"t"}), {"n": [1, 2]}, "bound")
    c.execute(bound, (2,) + row)
    c.execute(bound, (3,) + row)
    c.execute(bound, (4, set(), {}, [], None, {}, "empty"))
    for text in (
            "UPDATE gathered SET s = s + {'c'}, v = 'add' WHERE id = 1",
            "UPDATE gathered SET s = s - {'a'} WHERE id = 1",
            "UPDATE gathered SET m = m + {'new': 5} WHERE id = 1",
            "UPDATE gathered SET m['k'] = 11, m['q'] = 12 WHERE id = 1",
            "UPDATE gathered SET m = m - {'z'} WHERE id = 1",
            "DELETE m['q'] FROM gathered WHERE id = 1",
            "UPDATE gathered SET l = l + [4, 5] WHERE id = 1",
            "UPDATE gathered SET l = [0] + l WHERE id = 1",
            "UPDATE gathered SET l[2] = 22 WHERE id = 1",
            "UPDATE gathered SET l = l - [5] WHERE id = 1",
            "DELETE l[0] FROM gathered WHERE id = 1",
            "UPDATE gathered SET u.zip = 777 WHERE id = 2",
            "UPDATE gathered SET u = {street: 'new', zip: 5} WHERE id = 3",
            "DELETE u.street FROM gathered WHERE id = 3",
            "UPDATE gathered USING TTL 5000 SET s = s + {'ttl'}, m['ttl'] = 1 WHERE id = 2",
            "UPDATE gathered USING TIMESTAMP %d SET s = {'old'} WHERE id = 5" % STAMP,
            "UPDATE gathered SET s = s + {'fresh'} WHERE id = 5",
            "UPDATE gathered SET nested['n'] = [5], nested['o'] = [] WHERE id = 2",
            "DELETE s, m, l FROM gathered WHERE id = 3"):
        c.execute(text)
    ops = (("UPDATE gathered SET s = s + ? WHERE id = ?", {"p1", "p2"}),
           ("UPDATE gathered SET m = m + ? WHERE id = ?", {"pm": 1}),
           ("UPDATE gathered SET l = l + ? WHERE id = ?", [100]),
           ("UPDATE gathered SET l = ? + l WHERE id = ?", [-1, -2]),
           ("UPDATE gathered SET l = l - ? WHERE id = ?", [8]),
           ("UPDATE gathered SET s = s - ? WHERE id = ?", {"p1"}))
    for text, value in ops:
        c.execute(c.prepare(text), (value, 2))
    c.execute(c.prepare("UPDATE gathered SET m[?] = ? WHERE id = ?"), ("idx", 3, 2))
    c.execute(c.prepare("UPDATE gathered SET l[?] = ? WHERE id = ?"), (0, 42, 2))
    got = c.rows("SELECT s, m, l FROM gathered WHERE id = 1")[0]
    equal((set(got[0]), dict(got[1]), got[2]), ({"b", "c"}, {"k": 11, "new": 5}, [1, 22, 3, 4]))
    equal(c.rows("SELECT l FROM gathered WHERE id = 2"), [([42, -2, 9, 7, 100],)])


@step
def quoted_names(c):
    c.execute("INSERT INTO \"QuotedTable\" (\"Id\", \"select\", \"a \"\"b\"\" c\") "
              "VALUES (1, 'x', 'y')")
    c.execute("UPDATE %s.\"QuotedTable\" SET \"select\" = 'z' WHERE \"Id\" = 2" % KS)
    c.execute(c.prepare("INSERT INTO \"QuotedTable\" (\"Id\", \"a \"\"b\"\" c\") VALUES (?, ?)"),
              (3, "prepared"))
    c.execute("DELETE \"select\" FROM \"QuotedTable\" WHERE \"Id\" = 1")
    equal(len(c.rows("SELECT * FROM \"QuotedTable\"")), 3)


@step
def use_keyspace(c):
    session = open_session(ENV["contact"], None)
    session.execute("INSERT INTO %s.plain (id, v) VALUES (5000, 'qualified')" % KS)
    session.set_keyspace(KS)
    session.execute("INSERT INTO plain (id, v) VALUES (5001, 'after USE')")
    insert = session.prepare("INSERT INTO plain (id, v) VALUES (?, ?)")
    session.execute("USE \"%s\"" % KS)
    session.execute(insert, (5002, "prepared"))
    session.execute("USE system")
    session.execute(insert, (5003, "keeps the keyspace of its PREPARE"))
    session.set_keyspace(KS)
    batch = BatchStatement()
    batch.add(insert, (5004, "batch after USE"))
    session.execute(batch)
    equal(len(c.rows("SELECT id FROM plain WHERE id IN (5000,5001,5002,5003,5004)")), 5)
    session.cluster.shutdown()


@step
def counters(c):
    for _ in range(5):
        c.execute("UPDATE counted SET n = n + 3 WHERE id = 'a'")
    update = c.prepare("UPDATE counted SET n = n + ?, m = m - ? WHERE id = ?")
    for i in range(20):
        c.execute(update, (i, 1, "b"))
    batch = BatchStatement(batch_type=BatchType.COUNTER)
    for i in range(4):
        batch.add(update, (1, 1, "c"))
    c.execute(batch)
    c.execute("BEGIN COUNTER BATCH UPDATE counted SET n = n + 1 WHERE id = 'd'; "
              "UPDATE counted SET n = n - 2 WHERE id = 'd'; APPLY BATCH")
    c.execute("UPDATE counted SET n = n + 1 WHERE id = 'e'")
    c.execute("DELETE FROM counted WHERE id = 'e'")
    equal(c.rows("SELECT n, m FROM counted WHERE id = 'b'"), [(190, -20)])


@step
def lightweight(c):
    run = lambda text, args=None: c.execute(text, args).one()[0]
    check(run("INSERT INTO lwt_plain (id, v) VALUES (1, 'a') IF NOT EXISTS"), "first insert")
    check(not run("INSERT INTO lwt_plain (id, v) VALUES (1, 'b') IF NOT EXISTS"), "second insert")
    check(run("UPDATE lwt_plain SET v = 'c', w = 1 WHERE id = 1 IF v = 'a'"), "matching update")
    check(not run("UPDATE lwt_plain SET v = 'd' WHERE id = 1 IF v = 'a'"), "stale update")
    update = c.prepare("UPDATE lwt_plain SET w = ? WHERE id = ? IF w = ?")
    check(run(update, (2, 1, 1)), "prepared")
    refused = c.execute(update, (9, 1, 1)).one()
    equal(tuple(refused), (False, 2))
    batch = BatchStatement()
    batch.add("INSERT INTO lwt_plain (id, v) VALUES (2, 'batch') IF NOT EXISTS")
    check(c.execute(batch).one()[0], "batch")
    check(not run("DELETE FROM lwt_plain WHERE id = 2 IF v = 'other'"), "stale delete")
    check(run("DELETE FROM lwt_plain WHERE id = 2 IF EXISTS"), "delete")
    equal([tuple(r) for r in c.direct.execute("SELECT * FROM lwt_plain")], [(1, "c", 2)])


@step
def paging(c):
    insert = c.prepare("INSERT INTO paged (pk, ck, v) VALUES (?, ?, ?)")
    futures = []
    for i in range(5200):
        futures.append(c.session.execute_async(insert, (i % 3, i, "row %d" % i)))
        if len(futures) == 200:
            [f.result() for f in futures]
            futures = []
    [f.result() for f in futures]
    for size in (37, 1000, 5000):
        rows = list(c.execute(SimpleStatement("SELECT pk, ck, v FROM paged", fetch_size=size)))
        equal(len({(r.pk, r.ck) for r in rows}), 5200)
    select = c.prepare("SELECT ck FROM paged WHERE pk = ?")
    select.fetch_size = 100
    equal([r.ck for r in c.execute(select, (1,))], list(range(1, 5200, 3)))


@step
def other_sessions(c):
    """Prepared on one session: the driver prepares again elsewhere only when it is told to."""
    insert = c.prepare("INSERT INTO plain (id, v, w) VALUES (?, ?, 42)")
    sessions = [open_session(ENV["contact"]) for _ in range(4)]
    for n, session in enumerate(sessions):
        for i in range(25):
            session.execute(insert, (6000 + n * 100 + i, "elsewhere"))
    equal(c.rows("SELECT count(*) FROM plain WHERE w = 42 ALLOW FILTERING"), [(100,)])
    for session in sessions:
        session.cluster.shutdown()


@step
def large_values(c):
    insert = c.prepare("INSERT INTO large (id, v) VALUES (?, ?)")
    mixed = bytes((x * 7 + x // 251) & 255 for x in range(4096))
    for n, size in enumerate((1 << 16, 1 << 20, 3 << 20)):
        for key, value in ((2 * n, bytes(size)), (2 * n + 1, mixed * (size // 4096))):
            c.execute(insert, (key, value))
            equal(c.execute("SELECT v FROM large WHERE id = %d" % key).one()[0], value)
    c.execute("INSERT INTO large (id, v) VALUES (100, 0x%s)" % ("ab" * (1 << 20)))


@step
def truncate(c):
    insert = c.prepare("INSERT INTO truncated (id, v) VALUES (?, ?)")
    for i in range(50):
        c.execute(insert, (i, "before"))
    c.execute("TRUNCATE truncated")
    for i in range(5):
        c.execute(insert, (i, "after"))
    c.execute("TRUNCATE TABLE %s.truncated" % KS)
    for i in range(3):
        c.execute(insert, (100 + i, "at the end"))
    equal(c.rows("SELECT count(*) FROM truncated"), [(3,)])


@step
def schema_changes(c):
    if ENV.get("schema") == "present":
        return
    c.execute("CREATE TABLE IF NOT EXISTS changing (id int PRIMARY KEY, v text)")
    c.execute("INSERT INTO changing (id, v) VALUES (1, 'at once')")
    c.execute("ALTER TABLE changing ADD extra int")
    c.execute("INSERT INTO changing (id, v, extra) VALUES (2, 'new column', 5)")
    c.execute("ALTER TABLE changing DROP v")
    c.execute("CREATE INDEX changing_extra ON %s.changing (extra)" % KS)
    c.execute("CREATE TABLE short_lived (id int PRIMARY KEY)")
    c.execute("INSERT INTO short_lived (id) VALUES (1)")
    c.execute("DROP TABLE short_lived")
    c.execute("CREATE TYPE colour (r int, g int)")
    c.execute("ALTER TYPE colour ADD b int")
    c.execute("CREATE TABLE painted (id int PRIMARY KEY, c frozen<colour>)")
    c.execute("INSERT INTO painted (id, c) VALUES (1, {r: 1, g: 2, b: 3})")


@step
def vector(c):
    if ENV.get("vector") != "1":
        return
    c.execute("INSERT INTO vectors (id, e, v) VALUES (1, [1.0, 2.5, -3], 'literal')")
    insert = c.prepare("INSERT INTO vectors (id, e, v) VALUES (?, ?, ?)")
    c.execute(insert, (2, [0.5, 0.25, 1e10], "bound"))
    equal(list(c.rows("SELECT e FROM vectors WHERE id = 2")[0][0]), [0.5, 0.25, 1e10])


@step
def generated_values(c):
    """Functions whose value the cluster makes: they must at least be accepted and readable."""
    c.execute("INSERT INTO gen_plain (id, u, t, ts, v) VALUES (1, uuid(), now(), "
              "toTimestamp(now()), 'text')")
    c.execute(c.prepare("INSERT INTO gen_plain (id, t, v) VALUES (?, now(), ?)"), (2, "prepared"))
    c.execute("BEGIN BATCH INSERT INTO gen_plain (id, u) VALUES (3, uuid()); APPLY BATCH")
    equal(len(c.rows("SELECT * FROM gen_plain")), 3)


def describe(error):
    """What a client can tell of an error: its class and its words."""
    return "%s: %s" % (type(error).__name__, error)


@step
def errors(c):
    too_large = bytes(5 << 20)
    cases = [
        "SELECT * FROM nowhere", "INSERT INTO nowhere (id) VALUES (1)", "SELEC 1",
        "INSERT INTO plain (id v) VALUES (1)", "INSERT INTO plain (id, v) VALUES (1, 2)",
        "INSERT INTO plain (v) VALUES ('no key')", "UPDATE plain SET nope = 1 WHERE id = 1",
        "INSERT INTO plain (id, v) VALUES (1, 'x') USING TIMESTAMP 'a'",
        "DELETE FROM wide WHERE ck = 1", "CREATE TABLE plain (id int PRIMARY KEY)",
        "CREATE KEYSPACE %s WITH replication = {'class': 'SimpleStrategy', "
        "'replication_factor': 1}" % KS, "USE nowhere", "DROP TABLE nowhere", "TRUNCATE nowhere",
        "INSERT INTO nowhere.plain (id) VALUES (1)", "UPDATE counted SET n = 5 WHERE id = 'x'",
        "BEGIN BATCH INSERT INTO plain (id) VALUES (1); UPDATE counted SET n = n + 1 "
        "WHERE id = 'x'; APPLY BATCH", "INSERT INTO plain (id, v) VALUES (1, 'x') USING TTL -1",
        "SELECT nofunction(v) FROM plain", "", ";", "GRANT nothing",
        SimpleStatement("INSERT INTO plain (id, v) VALUES (1, 'x')", consistency_level=CL.THREE),
        SimpleStatement("SELECT * FROM plain", consistency_level=CL.THREE),
    ]

    def outcome(session, act):
        try:
            act(session)
        except Exception as error:  # every class is an outcome here
            return describe(error)
        return "no error"

    def prepare_bad(session):
        session.prepare("INSERT INTO plain (id, nope) VALUES (?, ?)")

    def write_too_large(session):
        session.execute(session.prepare("INSERT INTO large (id, v) VALUES (?, ?)"),
                        (200, too_large))

    def wrong_bytes(session):
        insert = session.prepare("INSERT INTO plain (id, w) VALUES (?, ?)")
        insert.column_metadata[1] = insert.column_metadata[1]._replace(
            type=cassandra.cqltypes.UTF8Type)
        session.execute(insert, (1, "five!"))

    acts = [lambda s, q=q: s.execute(q) for q in cases] + [prepare_bad, write_too_large,
                                                           wrong_bytes]
    for n, act in enumerate(acts):
        here, there = outcome(c.session, act), outcome(c.direct, act)
        if ENV.get("stamps") == "server":  # the proxy's stamp makes the request eight bytes longer
            here, there = (re.sub(r"size \d+ bytes", "size N bytes", said) for said in (here, there))
        check(here == there, "case", n, "differs:", here[:300], "directly:", there[:300])
        check(there != "no error", "case", n, "made no error")
    equal(c.rows("SELECT v FROM plain WHERE id = 1"), [("one",)])


@step
def tracing_and_warnings(c):
    result = c.execute("INSERT INTO plain (id, v) VALUES (7000, 'traced')", trace=True)
    check(result.get_query_trace(max_wait_sec=20).trace_id, "no trace")
    text = "BEGIN UNLOGGED BATCH %s APPLY BATCH" % "".join(
        "INSERT INTO plain (id, v) VALUES (%d, '%s');" % (7100 + i, "x" * 500) for i in range(30))
    future = c.session.execute_async(text)
    future.result()
    if c.has_unset():  # warnings came with v4
        check(any("atch" in w for w in future.warnings or []), "no warning", future.warnings)


def main():
    c, failed = Run(), []
    only = ENV.get("only", "").split(",")
    for function in STEPS:
        if only != [""] and function.__name__ not in only + ["schema"]:
            continue
        began, problem = time.monotonic(), None
        try:
            function(c)
        except Exception:
            problem = traceback.format_exc(limit=-3)
            failed.append(function.__name__)
        print(json.dumps({"step": function.__name__, "ok": problem is None, "problem": problem,
                          "ms": int(1000 * (time.monotonic() - began))}), flush=True)
    print(json.dumps({"suite": "python", "protocol": c.session.cluster.protocol_version,
                      "steps": len(STEPS), "failed": failed}), flush=True)
    c.session.cluster.shutdown()
    c.direct.cluster.shutdown()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
