"""Records what the suites of tests/it/drivers and a real Cassandra node say to each other.

    python drivers.py NODE_ADDRESS NODE_PORT CASSANDRA_VERSION OUT_DIR

The relay listens at the node's own address, so that a driver that connects to what `system.local`
names comes through it too. Writes OUT_DIR/DRIVER-CASSANDRA_VERSION-vN-COMPRESSION.bin.
"""

import os
import pathlib
import subprocess
import sys

from cassandra.cluster import Cluster

from recorder import Recorder

SUITES = pathlib.Path(__file__).resolve().parent.parent / "it" / "drivers"
PORT = 21000
# Protocol and compression that each driver speaks; node.js knows neither v5 nor LZ4.
WAYS = [("go", 4, "none"), ("go", 4, "lz4"), ("go", 5, "none"), ("go", 5, "lz4"),
        ("java", 3, "none"), ("java", 4, "lz4"), ("java", 5, "none"), ("java", 5, "lz4"),
        ("node", 3, "none"), ("node", 4, "none"),
        ("python", 5, "none"), ("python", 5, "lz4")]


def main():
    address, port, version, out = sys.argv[1:]
    recorder = Recorder((address, PORT), (address, int(port)))
    cluster = Cluster([address], port=int(port))
    session = cluster.connect()
    for driver, protocol, compression in WAYS:
        keyspace = f"gold_{driver}_{protocol}_{compression}"
        session.execute(f"DROP KEYSPACE IF EXISTS {keyspace}")
        session.execute(f"CREATE KEYSPACE {keyspace} WITH replication = "
                        "{'class': 'SimpleStrategy', 'replication_factor': 1}")
        environment = os.environ | {
            "TWINRING_DRIVERS": str(SUITES), "TWINRING_CONTACT": f"{address}:{PORT}",
            "TWINRING_DIRECT": f"{address}:{port}", "TWINRING_KEYSPACE": keyspace,
            "TWINRING_PROTOCOL": str(protocol), "TWINRING_COMPRESSION": compression,
            "TWINRING_STAMPS": "client", "TWINRING_VECTOR": "1" if version[0] == "5" else "0"}
        done = subprocess.run([SUITES / driver / "run"], env=environment, check=False,
                              stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise SystemExit(f"{driver} v{protocol} {compression}:\n{done.stdout}")
        recorder.save(pathlib.Path(out) / f"{driver}-{version}-v{protocol}-{compression}.bin",
                      longest=2048)
        session.execute(f"DROP KEYSPACE {keyspace}")
    cluster.shutdown()


if __name__ == "__main__":
    main()
