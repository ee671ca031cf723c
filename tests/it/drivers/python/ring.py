"""An application's ordinary life behind several proxies, with the Python driver.

Connects to TWINRING_CONTACT alone, over TLS and with a login where the environment says so, with default discovery and a token-aware policy, and prints
`connected`. Then obeys lines on its standard input and answers each with one JSON object:

  hosts                    the nodes that the driver knows
  write KEYSPACE FROM N    rows FROM to FROM+N, each twice: failures, requests by coordinator, and
                           how many keys had one coordinator for both

tests/it/drivers/go/ring.go and java/Ring.java do the same.
"""
import collections
import json
import sys

import small
from cassandra import ConsistencyLevel
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import (ConstantReconnectionPolicy, DCAwareRoundRobinPolicy,
                                TokenAwarePolicy)


def connect():
    host, port = small.ENV["contact"].rsplit(":", 1)
    profile = ExecutionProfile(
        load_balancing_policy=TokenAwarePolicy(DCAwareRoundRobinPolicy("datacenter1")),
        consistency_level=ConsistencyLevel.QUORUM, request_timeout=60)
    return Cluster([host], port=int(port), connect_timeout=30, control_connection_timeout=30,
                   reconnection_policy=ConstantReconnectionPolicy(0.5, None),
                   execution_profiles={EXEC_PROFILE_DEFAULT: profile}, **small.access()).connect()


def write(session, prepared, keyspace, first, count):
    if keyspace not in prepared:
        prepared[keyspace] = session.prepare("INSERT INTO %s.rows (k, v) VALUES (?, ?)" % keyspace)
        prepared[keyspace].is_idempotent = True
    failed, steady, by = [], 0, collections.Counter()
    for key in range(first, first + count):
        coordinators = set()
        for value in ("first", "second"):
            future = session.execute_async(prepared[keyspace], (key, value))
            try:
                future.result()
                coordinators.add(future.coordinator_host.address)
                by[future.coordinator_host.address] += 1
            except Exception as error:
                failed.append(repr(error))
        steady += len(coordinators) == 1
    return {"failed": failed, "by": by, "steady": steady}


def main():
    session = connect()
    print("connected", flush=True)
    prepared = {}
    for line in sys.stdin:
        order = line.split()
        if order[0] == "hosts":
            hosts = session.cluster.metadata.all_hosts()
            answer = sorted("%s:%d" % (host.address, host.endpoint.port) for host in hosts)
        else:
            answer = write(session, prepared, order[1], int(order[2]), int(order[3]))
        print(json.dumps(answer), flush=True)


main()
