"""Small jobs with the Python driver, over TLS and with a login where the environment says so.

  small.py write FROM COUNT      rows into the table `small`, prepared and as text, and reads them
  small.py hold                  connects, prints `held`, and for each line that it gets writes a row

Orders as for suite.py, and TWINRING_TLS_CA, _TLS_CERT, _TLS_KEY (PEM), _USER, _PASSWORD. What goes
wrong is printed, and ends it with 1.
"""
import os
import ssl
import sys

ENV = {k[9:].lower(): v for k, v in os.environ.items() if k.startswith("TWINRING_")}


def access():
    """What a Cluster needs to be let in."""
    from cassandra.auth import PlainTextAuthProvider
    options = {}
    if ENV.get("user"):
        options["auth_provider"] = PlainTextAuthProvider(ENV["user"], ENV["password"])
    if ENV.get("tls_ca"):
        context = ssl.create_default_context(cafile=ENV["tls_ca"])
        if ENV.get("tls_cert"):
            context.load_cert_chain(ENV["tls_cert"], ENV["tls_key"])
        options["ssl_context"] = context
    return options


def connect():
    from cassandra.cluster import Cluster
    host, port = ENV["contact"].rsplit(":", 1)
    protocol = {"protocol_version": int(ENV["protocol"])} if ENV.get("protocol") else {}
    cluster = Cluster([host], port=int(port), connect_timeout=30, control_connection_timeout=30,
                      **protocol, **access())
    return cluster.connect(ENV["keyspace"])


def write(first, count):
    session = connect()
    insert = session.prepare("INSERT INTO small (id, v) VALUES (?, ?)")
    for n in range(first, first + count):
        if n % 2:
            session.execute(insert, (n, "x" * (n * 997 % 40000)))
        else:
            session.execute("INSERT INTO small (id, v) VALUES (%s, %s)", (n, "text %d" % n))
    found = {row.id for row in session.execute("SELECT id FROM small")}
    missing = set(range(first, first + count)) - found
    if missing:
        sys.exit("not found: %s" % sorted(missing))


def hold():
    session = connect()
    print("held", flush=True)
    for line in sys.stdin:
        session.execute("INSERT INTO small (id, v) VALUES (%s, 'held')", (int(line),))
        print("written", flush=True)


def main():
    try:
        {"write": write, "hold": hold}[sys.argv[1]](*map(int, sys.argv[2:]))
    except Exception as error:  # whatever the driver makes of it
        sys.exit("%s: %s" % (type(error).__name__, error))


if __name__ == "__main__":
    main()
