#!/usr/bin/env python3
"""Real Apache Cassandra nodes for the tests: jars from Maven Central, loopback addresses only.

  node.py fetch VERSION...          resolve the jars of these versions (once; safe to run in parallel)
  node.py resolve POM               print the class path that this pom asks for
  node.py run [options]             one node in the foreground; it dies with this process

`run` starts the node, prints `ready ADDRESS PORT PID SECONDS`, and then obeys lines on its standard
input, answering each with a `ready` line or with `ok`:

  kill      SIGKILL the node            start     start it again on the data it has
  stop      SIGTERM, then wait          pause     SIGSTOP          resume    SIGCONT

At the end of its standard input it stops the node and leaves; with `--keep` the data stays.
By hand: `node.py run --dir /tmp/n1` and Ctrl-D to end it. Only the standard library is used.
"""
import argparse
import ctypes
import fcntl
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
VAR = HERE / "var"
DEFAULT_VERSION = "4.1.10"
START_TIMEOUT_S = 180
MEMORY_DISK = pathlib.Path("/dev/shm")
MEMORY_DISK_FREE = 4 << 30

# What Cassandra needs of a JDK 17 or 21 beyond its public interfaces.
EXPORTS = ["java.base/jdk.internal.misc", "java.management.rmi/com.sun.jmx.remote.internal.rmi",
           "java.rmi/sun.rmi.registry", "java.rmi/sun.rmi.server"]
OPENS = ["java.base/" + p for p in (
    "java.io", "java.lang", "java.net", "java.nio", "java.util", "java.util.concurrent",
    "java.util.concurrent.atomic", "jdk.internal.ref", "sun.nio.ch")]

DATA_DIRS = ("data", "commitlog", "hints", "saved_caches", "cdc")
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>twinring.tests</groupId><artifactId>cassandra</artifactId><version>{0}</version>
<packaging>pom</packaging><dependencies><dependency><groupId>org.apache.cassandra</groupId>
<artifactId>cassandra-all</artifactId><version>{0}</version></dependency></dependencies></project>
"""
CLASSPATH_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:build-classpath"


def fail(text):
    sys.exit("node.py: " + text)


def resolve(name, pom):
    """The class path that a pom asks for, from Maven's local repository; fetched where missing."""
    home = VAR / "jars" / name
    found = home / "classpath"
    home.mkdir(parents=True, exist_ok=True)
    with open(VAR / "jars" / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs of Maven must not fill one repository
        for attempt in range(3):
            same = (home / "pom.xml").exists() and (home / "pom.xml").read_text() == pom
            if same and found.exists() and all(map(os.path.exists, found.read_text().split(":"))):
                return found.read_text()
            found.unlink(missing_ok=True)
            (home / "pom.xml").write_text(pom)
            done = subprocess.run(
                ["mvn", "-q", "-B", "-Dstyle.color=never", "-f", home / "pom.xml", CLASSPATH_GOAL,
                 "-DincludeScope=runtime", "-Dmdep.outputFile=%s.new" % found],
                stdout=sys.stderr)
            if done.returncode == 0:
                os.replace("%s.new" % found, found)
            else:
                time.sleep(2 + 5 * attempt)
    fail("Maven could not resolve %s" % name)


def classpath(version):
    """The jars of one version of Cassandra."""
    return resolve(version, POM.format(version))


def named_as_before_41(conf):
    """The same settings by the names of Cassandra 4.0, which have the unit in them."""
    names = {"user_defined_functions_enabled": "enable_user_defined_functions",
             "materialized_views_enabled": "enable_materialized_views",
             "prepared_statements_cache_size": "prepared_statements_cache_size_mb"}
    old = {}
    for name, value in conf.items():
        number = str(value).removesuffix("MiB").removesuffix("s")
        if str(value).endswith("MiB"):
            old[names.get(name, name + "_in_mb")] = number
        elif str(value).endswith("s") and number.isdigit():
            old[name + "_in_ms"] = int(number) * 1000
        else:
            old[names.get(name, name)] = value
    return old


def settings(o, dirs):
    """cassandra.yaml as a dictionary: small caches, one token, nothing but loopback."""
    conf = {
        "cluster_name": o.cluster or o.name, "num_tokens": 1, "auto_bootstrap": "false",
        "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
        "endpoint_snitch": "GossipingPropertyFileSnitch", "dynamic_snitch": "false",
        "listen_address": o.address, "rpc_address": o.address,
        "native_transport_port": o.port, "storage_port": o.storage_port,
        "ssl_storage_port": o.storage_port + 1, "start_native_transport": "true",
        "data_file_directories": "['%s']" % dirs["data"],
        "commitlog_directory": dirs["commitlog"], "hints_directory": dirs["hints"],
        "saved_caches_directory": dirs["saved_caches"], "cdc_raw_directory": dirs["cdc"],
        "commitlog_segment_size": "8MiB", "commitlog_total_space": "256MiB",
        "memtable_heap_space": "128MiB", "memtable_offheap_space": "64MiB",
        "memtable_flush_writers": 1, "key_cache_size": "8MiB", "counter_cache_size": "4MiB",
        "concurrent_reads": 16, "concurrent_writes": 16, "concurrent_counter_writes": 8,
        "concurrent_compactors": 1, "native_transport_max_threads": 32,
        "auto_snapshot": "false", "disk_failure_policy": "stop",
        "commit_failure_policy": "stop", "user_defined_functions_enabled": "true",
        "materialized_views_enabled": "true",
        # Many tests share a node and prepare many texts; a full cache evicts the newest first.
        "prepared_statements_cache_size": "64MiB",
    }
    # A busy machine must not look like a broken node.
    conf.update(("%s_timeout" % name, "30s") for name in (
        "read_request", "range_request", "write_request", "counter_write_request", "cas_contention",
        "truncate_request", "request"))
    if int(o.version.split(".")[0]) >= 5:
        conf["native_transport_timeout"] = "60s"
    if o.durable:  # every acknowledged write is on disk: for nodes that get killed
        conf["commitlog_sync"] = "batch"
    else:
        conf.update({"commitlog_sync": "periodic", "commitlog_sync_period": "10s",
                     "periodic_commitlog_sync_lag_block": "600s"})
    if o.version.startswith(("3.", "4.0.")):
        conf = named_as_before_41(conf)
    if o.auth:
        conf.update({"authenticator": "PasswordAuthenticator", "authorizer": "CassandraAuthorizer"})
    conf.update(line.split(":", 1) for line in o.yaml)
    seeds = "seed_provider:\n- class_name: org.apache.cassandra.locator.SimpleSeedProvider\n" \
            "  parameters: [{seeds: '%s'}]\n" % (o.seed or o.address)
    return seeds + "".join("%s: %s\n" % (k, str(v).strip()) for k, v in conf.items())


def command_line(o, home, jars):
    java = shutil.which("java") or fail("no java on the path")
    agent = next(j for j in jars.split(":") if os.path.basename(j).startswith("jamm-"))
    args = [java, "-Xms64M", "-Xmx%s" % o.heap, "-XX:+UseSerialGC", "-XX:MaxDirectMemorySize=256M",
            "-XX:-UsePerfData", "-XX:+ExitOnOutOfMemoryError", "-XX:TieredStopAtLevel=%d" % o.tier,
            "-Djava.security.manager=allow", "-Djdk.attach.allowAttachSelf=true",
            "-Dio.netty.tryReflectionSetAccessible=true", "-javaagent:" + agent]
    args += ["--add-exports=%s=ALL-UNNAMED" % p for p in EXPORTS]
    args += ["--add-opens=%s=ALL-UNNAMED" % p for p in OPENS]
    props = {
        "cassandra.config": "file://%s/cassandra.yaml" % home,
        "cassandra-rackdc.properties": "file://%s/rackdc" % home, "cassandra.logdir": home / "log",
        "logback.configurationFile": HERE / "logback.xml", "cassandra.storagedir": home,
        "java.io.tmpdir": home / "tmp", "jna.tmpdir": home / "tmp", "file.encoding": "UTF-8",
        "java.net.preferIPv4Stack": "true", "java.awt.headless": "true",
        "cassandra-foreground": "yes", "cassandra.skip_wait_for_gossip_to_settle": 0,
        "cassandra.superuser_setup_delay_ms": 0,
        # one that joins others gives them time to answer, which they may need on a busy machine
        "cassandra.ring_delay_ms": 20_000 if o.seed not in (None, o.address) else 0,
        "cassandra.shutdown_announce_in_ms": 0, "cassandra.disable_mlock": "true",
        "cassandra.available_processors": 2, "cassandra.triggers_dir": home / "triggers",
    }
    if not o.durable:  # schema changes then wait for no disk; a killed node may lose them
        props["cassandra.unsafesystem"] = "true"
    args += ["-D%s=%s" % kv for kv in props.items()]
    return args + ["-cp", jars, "org.apache.cassandra.service.CassandraDaemon"]


def recv_exact(sock, count):
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        if not part:
            raise OSError("closed")
        data += part
    return data


def answers_cql(o):
    """One native-protocol handshake, with the default superuser when the node asks for one."""
    with socket.create_connection((o.address, o.port), timeout=5) as sock:
        def call(opcode, body):
            sock.sendall(struct.pack(">BBhBi", 4, 0, 0, opcode, len(body)) + body)
            head = struct.unpack(">BBhBi", recv_exact(sock, 9))
            return head[3], recv_exact(sock, head[4])
        opcode, _ = call(1, b"\0\1\0\x0bCQL_VERSION\0\x053.0.0")
        if opcode == 3:
            token = b"\0cassandra\0cassandra"
            opcode, _ = call(15, struct.pack(">i", len(token)) + token)
        if opcode not in (2, 16):
            raise OSError("not ready: opcode %d" % opcode)


def data_home(home):
    """Where data and commit log go: in memory where there is room, since a node syncs all the time
    and a busy disk makes it look hung. What is there survives the node, not the machine."""
    if not MEMORY_DISK.is_dir() or shutil.disk_usage(MEMORY_DISK).free < MEMORY_DISK_FREE:
        return home
    for old in MEMORY_DISK.glob("twinring-node-*"):  # of a run that was killed
        if not os.path.exists("/proc/%s" % old.name.split("-")[2]):
            shutil.rmtree(old, ignore_errors=True)
    return MEMORY_DISK / ("twinring-node-%d-%s" % (os.getpid(), home.name))


class Node:
    def __init__(self, options):
        self.o = options
        self.home = pathlib.Path(options.dir or VAR / "run" / options.name).resolve()
        self.process = None
        if not options.keep:
            shutil.rmtree(self.home, ignore_errors=True)
        self.data = self.home if options.keep else data_home(self.home)
        dirs = {name: self.data / name for name in DATA_DIRS}
        for path in (*dirs.values(), *(self.home / name for name in ("log", "tmp", "triggers"))):
            path.mkdir(parents=True, exist_ok=True)
        (self.home / "cassandra.yaml").write_text(settings(options, dirs))
        (self.home / "rackdc").write_text("dc=%s\nrack=%s\n" % (options.dc, options.rack))
        self.args = command_line(options, self.home, classpath(options.version))

    def start(self):
        began = time.monotonic()
        libc = ctypes.CDLL(None)
        with open(self.home / "log" / "stdout.log", "ab") as out:
            self.process = subprocess.Popen(
                self.args, cwd=self.home, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                # PR_SET_PDEATHSIG: even when this process is killed, the node goes with it
                preexec_fn=lambda: libc.prctl(1, signal.SIGKILL), start_new_session=True)
        why = None
        while time.monotonic() - began < START_TIMEOUT_S and self.process.poll() is None:
            try:
                answers_cql(self.o)
                return "ready %s %d %d %.1f" % (
                    self.o.address, self.o.port, self.process.pid, time.monotonic() - began)
            except OSError as error:
                why = error
                time.sleep(0.05)
        self.signal(signal.SIGKILL)
        for name in ("stdout.log", "system.log"):
            path = self.home / "log" / name
            tail = path.read_text(errors="replace").splitlines()[-15:] if path.exists() else []
            print("--- %s" % path, *tail, sep="\n", file=sys.stderr)
        fail("%s did not start: %s" % (self.o.name, why))

    def signal(self, number):
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)
            if number in (signal.SIGKILL, signal.SIGTERM):
                try:
                    self.process.wait(20)
                except subprocess.TimeoutExpired:
                    self.process.kill()
                    self.process.wait()
        return "ok"


def run(o):
    if not o.address.startswith("127."):
        fail("loopback only: %s" % o.address)
    node = Node(o)
    # A person's Ctrl-C, or the end of whoever holds our input, both end the node.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    verbs = {
        "start": node.start, "stop": lambda: node.signal(signal.SIGTERM),
        "kill": lambda: node.signal(signal.SIGKILL), "pause": lambda: node.signal(signal.SIGSTOP),
        "resume": lambda: node.signal(signal.SIGCONT),
    }
    try:
        print(node.start(), flush=True)
        for line in sys.stdin:
            verb = verbs.get(line.strip()) or fail("unknown command %r" % line)
            print(verb(), flush=True)
    except KeyboardInterrupt:
        pass
    finally:
        node.signal(signal.SIGKILL)
        if not o.keep:
            for path in (*(node.data / name for name in DATA_DIRS), node.home / "tmp"):
                shutil.rmtree(path, ignore_errors=True)
            if node.data != node.home:
                shutil.rmtree(node.data, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("fetch").add_argument("version", nargs="+")
    commands.add_parser("resolve").add_argument("pom", type=pathlib.Path)
    r = commands.add_parser("run", help="see above")
    r.add_argument("--name", default="node", help="cluster_name, and the directory under var/run")
    r.add_argument("--dir", help="where the node keeps its state (default var/run/NAME)")
    r.add_argument("--cluster", help="cluster_name, when several nodes make one cluster")
    r.add_argument("--seed", help="address of the cluster's first node")
    r.add_argument("--dc", default="datacenter1")
    r.add_argument("--rack", default="rack1")
    r.add_argument("--version", default=DEFAULT_VERSION)
    r.add_argument("--address", default="127.0.0.1")
    r.add_argument("--port", type=int, default=9042)
    r.add_argument("--storage-port", type=int, default=7000)
    r.add_argument("--heap", default="512M")
    r.add_argument("--tier", type=int, default=4, choices=(1, 4), help="1: only the fast compiler")
    r.add_argument("--auth", action="store_true", help="user and password: cassandra")
    r.add_argument("--durable", action="store_true", help="survives SIGKILL without loss")
    r.add_argument("--keep", action="store_true", help="start on, and leave, what is in DIR")
    r.add_argument("--yaml", action="append", default=[], metavar="'KEY: VALUE'")
    options = parser.parse_args()
    if options.command == "fetch":
        for version in options.version:
            jars = classpath(version)
            print("%s: %d jars" % (version, jars.count(":") + 1))
    elif options.command == "resolve":
        print(resolve(options.pom.resolve().parent.name, options.pom.read_text()))
    else:
        run(options)


if __name__ == "__main__":
    main()
