// An application's ordinary life behind several proxies: see tests/it/drivers/python/ring.py.
'use strict';
const readline = require('node:readline');
const cassandra = require('cassandra-driver');
const { env, login, tls } = require('./access');

const [host, port] = env('CONTACT').split(':');
const client = new cassandra.Client({
  ...login(), ...tls(), contactPoints: [host], localDataCenter: 'datacenter1',
  protocolOptions: { port: Number(port) },
  socketOptions: { readTimeout: 60000, connectTimeout: 30000 },
  policies: { reconnection: new cassandra.policies.reconnection.ConstantReconnectionPolicy(500) },
  queryOptions: {
    consistency: cassandra.types.consistencies.quorum, prepare: true, isIdempotent: true,
  },
});

async function write(keyspace, first, count) {
  const text = `INSERT INTO ${keyspace}.rows (k, v) VALUES (?, ?)`;
  const [failed, by] = [[], {}];
  let steady = 0;
  for (let key = first; key < first + count; key++) {
    const coordinators = new Set();
    for (const value of ['first', 'second']) {
      try {
        const { info } = await client.execute(text, [key, value]);
        const coordinator = info.queriedHost.split(':')[0];
        coordinators.add(coordinator);
        by[coordinator] = (by[coordinator] || 0) + 1;
      } catch (error) {
        failed.push(String(error));
      }
    }
    steady += coordinators.size === 1;
  }
  return { failed, by, steady };
}

async function main() {
  await client.connect();
  console.log('connected');
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [order, keyspace, first, count] = line.split(' ');
    const answer = order === 'hosts'
      ? [...client.hosts.keys()].sort()
      : await write(keyspace, Number(first), Number(count));
    console.log(JSON.stringify(answer));
  }
  await client.shutdown();
}

main();
