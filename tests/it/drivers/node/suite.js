// The statement matrix with the Node.js driver, default discovery, one contact point. Reads its
// orders from TWINRING_* variables (tests/README.md), prints one JSON object per step, leaves with
// 1 when a step failed. Every value is fixed, so that two runs leave equal tables.
'use strict';
const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const cassandra = require('cassandra-driver');
const { types } = cassandra;

const { env, login, tls } = require('./access');

const KS = env('KEYSPACE');
const STAMP = 1700000000000000;
const PREPARED = { prepare: true };

function open(address, keyspace, version = Number(env('PROTOCOL'))) {
  const [host, port] = address.split(':');
  const options = {
    contactPoints: [host], localDataCenter: 'datacenter1', keyspace,
    protocolOptions: { port: Number(port) }, socketOptions: { readTimeout: 60000 },
    policies: { retry: new cassandra.policies.retry.FallthroughRetryPolicy() },
    encoding: { map: Map, set: Set },
  };
  if (version) options.protocolOptions.maxVersion = version;
  Object.assign(options, login(), address === env('CONTACT') ? tls() : {});
  if (env('STAMPS') === 'server') options.policies.timestampGeneration = null;
  return new cassandra.Client(options);
}

const client = open(env('CONTACT'), KS);
let direct; // at the source itself
const run = (text, params, options) => client.execute(text, params, options);
const hasUnset = () => client.controlConnection.protocolVersion >= 4;

async function cells(text, params, options) {
  const result = await run(text, params, options);
  return result.rows.map((row) => row.values());
}

async function expect(text, want) {
  assert.deepStrictEqual(await cells(text), want, text);
}

function statements(name) {
  return fs.readFileSync(path.join(__dirname, '..', name), 'utf8').split('\n')
    .filter((line) => !line.startsWith('--')).join('\n')
    .split(';\n').map((text) => text.trim()).filter(Boolean);
}

const steps = {
  async discovery() {
    const seen = client.getState().getConnectedHosts().map((host) => host.address);
    assert.deepStrictEqual(seen, [env('CONTACT')]);
    assert.deepStrictEqual([...client.hosts.keys()], [env('CONTACT')]);
  },

  async schema() {
    if (env('SCHEMA') !== 'present') {
      for (const text of statements('schema.cql')) await run(text);
      if (env('VECTOR') === '1') for (const text of statements('schema-vector.cql')) await run(text);
    }
    const table = await client.metadata.getTable(KS, 'QuotedTable');
    assert.ok(table.columnsByName['a "b" c'], 'columns of QuotedTable');
  },

  async simple() {
    await run("INSERT INTO plain (id, v, w) VALUES (1, 'one', 1)");
    await run(`insert into ${KS}.PLAIN (ID, V) values (2, 'it''s') ;`);
    await run("-- lead\nUPDATE plain SET v = $$dollar's$$ /* mid */ WHERE id = 3");
    await run("INSERT INTO plain (id, v) VALUES (4, 'q')", [],
      { consistency: types.consistencies.localQuorum });
    await expect('SELECT v FROM plain WHERE id IN (1, 2, 3)', [['one'], ["it's"], ["dollar's"]]);
  },

  async bound() { // values in a QUERY: by position, and by name
    const hints = ['int', 'text', 'int'];
    await run('INSERT INTO plain (id, v, w) VALUES (?, ?, ?)', [50, 'hinted 漢', 5], { hints });
    await run('INSERT INTO plain (id, v) VALUES (?, ?) USING TIMESTAMP ?',
      [51, 'bound stamp', types.Long.fromNumber(STAMP)], { hints: ['int', 'text', 'bigint'] });
    await run('INSERT INTO plain (id, v, w) VALUES (:id, :v, :w)', { id: 52, v: 'named', w: 7 },
      { hints: { id: 'int', v: 'text', w: 'int' } });
    await run('UPDATE plain SET v = ? WHERE id = ?', [null, 50], { hints: ['text', 'int'] });
    await expect('SELECT v, w FROM plain WHERE id IN (50, 51, 52)',
      [[null, 5], ['bound stamp', null], ['named', 7]]);
  },

  async prepared() {
    const insert = 'INSERT INTO plain (id, v, w) VALUES (?, ?, ?)';
    await Promise.all([...Array(300).keys()].map((i) => run(insert, [100 + i, `p${i}`, i], PREPARED)));
    await run('UPDATE plain SET v = :value WHERE id = :id', { value: 'named', id: 500 }, PREPARED);
    await run(insert, [501, null, 1], PREPARED);
    await run(insert, [502, 'before', 1], PREPARED);
    if (hasUnset()) await run(insert, [502, types.unset, 2], PREPARED);
    else await run('UPDATE plain SET w = 2 WHERE id = 502');
    await expect('SELECT v, w FROM plain WHERE id IN (500, 501, 502)',
      [['named', null], [null, 1], ['before', 2]]);
  },

  async batches() {
    let base = 1000;
    for (const logged of [true, false]) {
      await client.batch([...Array(10).keys()].map((i) => ({
        query: 'INSERT INTO plain (id, v) VALUES (?, ?)', params: [base + i, 'prepared'],
      })).concat([{ query: 'DELETE FROM plain WHERE id = ?', params: [base] }]),
      { prepare: true, logged });
      await client.batch([`UPDATE plain SET v = 'text' WHERE id = ${base + 20}`,
        `INSERT INTO plain (id, v) VALUES (${base + 21}, 'own') USING TIMESTAMP ${STAMP}`], { logged });
      await client.batch([{ query: 'INSERT INTO plain (id, v) VALUES (?, ?)', params: [base + 30, 's'] }],
        { prepare: true, logged, timestamp: types.Long.fromNumber(STAMP + 1) });
      base += 100;
    }
    await run("BEGIN BATCH INSERT INTO plain (id, v) VALUES (1300, 'a'); " +
      'UPDATE plain SET w = 3 WHERE id = 1301; APPLY BATCH');
    await run('BEGIN UNLOGGED BATCH INSERT INTO plain (id, v) VALUES (?, ?); APPLY BATCH',
      [1302, 'prepared text'], PREPARED);
    const stamps = await cells('SELECT writetime(v) FROM plain WHERE id IN (1021, 1030, 1130)');
    assert.deepStrictEqual(stamps.map(([value]) => value.toNumber()), [STAMP, STAMP + 1, STAMP + 1]);
  },

  async stamps_and_ttl() {
    await run(`INSERT INTO plain (id, v) VALUES (2000, 'x') USING TTL 8000 AND TIMESTAMP ${STAMP}`);
    await run('UPDATE plain USING TIMESTAMP ? SET v = ? WHERE id = ?',
      [types.Long.fromNumber(STAMP), 'bound', 2001], PREPARED);
    await run('DELETE FROM plain USING TIMESTAMP ? WHERE id = ?',
      [types.Long.fromNumber(STAMP - 1), 2001], PREPARED);
    await run("INSERT INTO plain (id, v) VALUES (2002, 'f')", [],
      { timestamp: types.Long.fromNumber(STAMP + 3) });
    await run("INSERT INTO expiring (id, v) VALUES (1, 'default')");
    await run('INSERT INTO expiring (id, v) VALUES (?, ?) USING TTL ?', [2, 'bound', 7000], PREPARED);
    await run("UPDATE expiring USING TTL 0 SET v = 'none' WHERE id = 3");
    for (let i = 0; i < 100; i++) await run('UPDATE plain SET w = ? WHERE id = 2003', [i], PREPARED);
    await expect('SELECT w FROM plain WHERE id = 2003', [[99]]);
  },

  async deletes() {
    for (let pk = 1; pk <= 3; pk++) {
      for (let ck = 0; ck < 10; ck++) {
        await run("INSERT INTO wide (pk, ck, cl, s, v) VALUES (?, ?, 'a', ?, 'v')", [pk, ck, `s${pk}`],
          PREPARED);
      }
    }
    await run('DELETE v FROM wide WHERE pk = ? AND ck = ? AND cl = ?', [1, 1, 'a'], PREPARED);
    await run("DELETE FROM wide WHERE pk = 1 AND ck = 2 AND cl = 'a'");
    await run('DELETE FROM wide WHERE pk = ? AND ck > ? AND ck <= ?', [2, 3, 6], PREPARED);
    await run('DELETE FROM wide WHERE pk = 3');
    await run("UPDATE wide SET s = 'only static' WHERE pk = 4");
    const [[count]] = await cells('SELECT count(*) FROM wide');
    assert.strictEqual(count.toNumber(), 9 + 7 + 1);
  },

  async kinds() {
    const names = ['id', 'a', 'b', 'bl', 'bo', 'd', 'de', 'dbl', 'du', 'f', 'i', 'n', 'si', 't', 'ti',
      'ts', 'tu', 'ty', 'u', 'vi', 'tup', 'fudt', 'fl', 'fs', 'fm'];
    const values = [1, 'ascii', types.Long.MIN_VALUE, Buffer.from([0, 255, 1]), true,
      types.LocalDate.fromString('2024-02-29'), types.BigDecimal.fromString('-1234.5600'), 1e300,
       types.Duration.fromString('3mo2d5ns'), 1.5, types.InetAddress.fromString('192.168.1.254'),
      -(2 ** 31), -32768, 't漢字\u{1f600}', types.LocalTime.fromString('23:59:59.999999999'),
      new Date(Date.UTC(2024, 1, 29, 12, 30, 15, 123)),
      types.TimeUuid.fromString('d2177dd0-eaa2-11de-a572-001b779c76e3'), -128,
      types.Uuid.fromString('b3f2c1d0-0000-4000-8000-00000000abcd'),
      types.Integer.fromString('-1606938044258990275541962092341162602522202993782792835301376'),
      new types.Tuple(7, 'seven', [1, 2]), { street: 'Main 1', zip: 12345, tags: new Set(['x', 'y']) },
      [3, 1, 2], new Set(['a', 'b']), new Map([['k', 1]])];
    const insert = `INSERT INTO kinds (${names.join(', ')}) VALUES (${names.map(() => '?').join(', ')})`;
    if (!hasUnset()) { // on v3 this driver cannot encode date, time, smallint and tinyint
      await run("INSERT INTO kinds (id, d, ti, si, ty) VALUES (1, '2024-02-29', '1:2:3', 5, 6)");
      return;
    }
    await run(insert, values, PREPARED);
    await run(insert, [2, ...Array(names.length - 1).fill(null)], PREPARED);
    const [row] = await cells(`SELECT ${names.join(', ')} FROM kinds WHERE id = 1`);
    for (const [n, name] of names.entries()) {
      if (['fudt', 'tup', 'fs', 'fm', 'bl'].includes(name)) assert.ok(row[n], name);
      else assert.strictEqual(String(row[n]), String(values[n]), name);
    }
  },

  async collections() {
    await run("INSERT INTO gathered (id, s, m, l) VALUES (1, {'a', 'b'}, {'k': 1}, [1, 2, 3])");
    await run('INSERT INTO gathered (id, s, m, l, u) VALUES (?, ?, ?, ?, ?)', [2, new Set(['x']),
      new Map([['p', 1]]), [9, 8], { street: 'S', zip: 9, tags: new Set(['t']) }], PREPARED);
    for (const text of ["s = s + {'c'}, m['q'] = 2", "s = s - {'a'}", 'l = l + [4]', 'l = [0] + l',
      'l[1] = 11', 'l = l - [2]']) {
      await run(`UPDATE gathered SET ${text} WHERE id = 1`);
    }
    await run("DELETE l[0], m['k'] FROM gathered WHERE id = 1");
    await run('UPDATE gathered SET u.zip = 5 WHERE id = 2');
    await run('UPDATE gathered SET s = s + ?, l = l + ? WHERE id = ?', [new Set(['y']), [7], 2], PREPARED);
    const [[s, m, l]] = await cells('SELECT s, m, l FROM gathered WHERE id = 1');
    assert.deepStrictEqual([[...s], [...m], l], [['b', 'c'], [['q', 2]], [11, 3, 4]]);
  },

  async names_and_keyspaces() {
    await run('INSERT INTO "QuotedTable" ("Id", "select", "a ""b"" c") VALUES (1, \'x\', \'y\')');
    await run(`UPDATE ${KS}."QuotedTable" SET "select" = ? WHERE "Id" = ?`, ['z', 2], PREPARED);
    const other = open(env('CONTACT'), 'system');
    await other.execute(`INSERT INTO ${KS}.plain (id, v) VALUES (5000, 'from system')`);
    await other.shutdown();
    await run(`INSERT INTO plain JSON '{"id": 4000, "v": "json"}'`);
    await run('INSERT INTO plain JSON ?', ['{"id": 4001, "v": "bound"}'], PREPARED);
    await expect('SELECT v FROM plain WHERE id IN (4000, 4001, 5000)',
      [['json'], ['bound'], ['from system']]);
  },

  async counters() {
    for (let i = 0; i < 10; i++) {
      await run('UPDATE counted SET n = n + ?, m = m - 1 WHERE id = ?', [i, 'a'], PREPARED);
    }
    await client.batch(["UPDATE counted SET n = n + 1 WHERE id = 'b'",
      "UPDATE counted SET n = n + 4 WHERE id = 'b'"], { counter: true });
    const rows = await cells("SELECT n FROM counted WHERE id IN ('a', 'b')");
    assert.deepStrictEqual(rows.map(([n]) => n.toNumber()), [45, 5]);
  },

  async lightweight() {
    const applied = async (text, params) => (await run(text, params, PREPARED)).wasApplied();
    assert.ok(await applied("INSERT INTO lwt_plain (id, v) VALUES (1, 'a') IF NOT EXISTS", []));
    assert.ok(!await applied('INSERT INTO lwt_plain (id, v) VALUES (?, ?) IF NOT EXISTS', [1, 'b']));
    assert.ok(await applied('UPDATE lwt_plain SET v = ? WHERE id = ? IF v = ?', ['c', 1, 'a']));
    assert.ok(!await applied("DELETE FROM lwt_plain WHERE id = 1 IF v = 'a'", []));
    const result = await direct.execute('SELECT v FROM lwt_plain WHERE id = 1');
    assert.strictEqual(result.first().get('v'), 'c');
  },

  async paging() {
    const insert = 'INSERT INTO paged (pk, ck, v) VALUES (?, ?, ?)';
    for (let base = 0; base < 5200; base += 200) {
      await Promise.all([...Array(200).keys()].map(
        (i) => run(insert, [(base + i) % 3, base + i, `row ${base + i}`], PREPARED)));
    }
    for (const fetchSize of [370, 5000]) {
      const seen = new Set();
      for await (const row of await run('SELECT ck FROM paged', [], { prepare: true, fetchSize })) {
        seen.add(row.get('ck'));
      }
      assert.strictEqual(seen.size, 5200);
    }
  },

  async large() {
    for (const [n, size] of [1 << 20, 3 << 20].entries()) {
      const value = Buffer.alloc(size, 'twin');
      await run('INSERT INTO large (id, v) VALUES (?, ?)', [n, value], PREPARED);
      const [[back]] = await cells(`SELECT v FROM large WHERE id = ${n}`);
      assert.ok(back.equals(value), 'a large value changed');
    }
  },

  async truncate() {
    for (let i = 0; i < 30; i++) await run(`INSERT INTO truncated (id, v) VALUES (${i}, 'before')`);
    await run('TRUNCATE truncated');
    await run("INSERT INTO truncated (id, v) VALUES (1, 'after')");
    await expect('SELECT id FROM truncated', [[1]]);
  },

  async errors() {
    const texts = ['SELECT * FROM nowhere', 'SELEC 1', 'INSERT INTO plain (id, v) VALUES (1, 2)',
      "INSERT INTO plain (v) VALUES ('no key')", 'CREATE TABLE plain (id int PRIMARY KEY)',
      'INSERT INTO nowhere.plain (id) VALUES (1)', "UPDATE counted SET n = 5 WHERE id = 'x'",
      "INSERT INTO plain (id, v) VALUES (1, 'x') USING TTL -1", 'DROP TABLE nowhere'];
    const acts = texts.map((text) => (c) => c.execute(text));
    acts.push((c) => c.execute('INSERT INTO plain (id, nope) VALUES (?, ?)', [1, 2], PREPARED));
    acts.push((c) => c.execute('INSERT INTO large (id, v) VALUES (?, ?)', [9, Buffer.alloc(5 << 20)],
      PREPARED));
    acts.push((c) => c.execute("INSERT INTO plain (id, v) VALUES (1, 'x')", [],
      { consistency: types.consistencies.three }));
    const outcome = (c, act) => act(c).then(() => 'no error',
      (e) => `${e.name} ${e.code} ${e.message}`);
    for (const [n, act] of acts.entries()) {
      const there = await outcome(direct, act);
      assert.notStrictEqual(there, 'no error', `case ${n} made no error`);
      assert.strictEqual(await outcome(client, act), there, `case ${n} differs`);
    }
  },
};

async function main() {
  await client.connect();
  // some errors depend on the version of the protocol
  direct = open(env('DIRECT'), KS, client.controlConnection.protocolVersion);
  await direct.connect();
  const failed = [];
  for (const [step, act] of Object.entries(steps)) {
    const began = Date.now();
    let problem = null;
    try {
      await act();
    } catch (error) {
      problem = String(error.stack || error);
      failed.push(step);
    }
    const line = JSON.stringify({ step, problem, ms: Date.now() - began });
    console.log(`{"ok": ${problem === null}, ${line.slice(1)}`);
  }
  console.log(JSON.stringify({ suite: 'node', steps: Object.keys(steps).length, failed }));
  await client.shutdown();
  await direct.shutdown();
  process.exitCode = failed.length ? 1 : 0;
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
