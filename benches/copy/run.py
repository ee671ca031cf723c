#!/usr/bin/env python3
"""`twinring copy` beside others' plain copies, in turns, between two real nodes.

  benches/copy/run.py [-n ROWS] [-p ROWS_PER_PARTITION] [-r ROUNDS] [-t TWINRING] [-o DIR]
                      [--dsbulk COMMAND] [--no-spark]

Each round empties the target, copies with one of them, and does the same with each other. Spark
runs in local[2] (its jars: Maven, from spark/pom.xml) and copies twice in one process: the first
time with a cold virtual machine, the second time with a warm one. COMMAND is how dsbulk is started,
say `path/to/bin/dsbulk`: `unload … | load …` with its defaults, which keep no stamps, and once more
with those that do. After the last copy of each kind `twinring verify` looks whether all is there.
Only the standard library is used.
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
NODE = ROOT / "tests/cassandra/node.py"
GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:build-classpath"
VERSION = "5.0.9"
# What a copy without stamps is compared by.
PLAIN = ["--compare-timestamps", "false"]
# dsbulk then writes each cell in a statement of its own, the statements of a row in a batch.
KEEP_STAMPS = ["--schema.preserveTimestamp", "true", "--schema.preserveTtl", "true"]
# What Spark 3.5 needs of a JDK 17 beyond its public interfaces; spark-submit adds it itself.
OPENS = ["java.base/" + p for p in (
    "java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio",
    "java.util", "java.util.concurrent", "java.util.concurrent.atomic", "sun.nio.ch", "sun.nio.cs",
    "sun.security.action", "sun.util.calendar")]
QUIET = "rootLogger.level = error\nrootLogger.appenderRef.o.ref = o\n" \
        "appender.o.type = Console\nappender.o.name = o\nappender.o.target = SYSTEM_ERR\n" \
        "appender.o.layout.type = PatternLayout\nappender.o.layout.pattern = %d %p %c: %m%n\n"


class Node:
    """A Cassandra node that ends with this process."""

    def __init__(self, name):
        self.address = "127.%d.%d.%d" % (
            190 + os.getpid() % 50, os.getpid() // 50 % 250, 1 + (name == "target"))
        words = [NODE, "run", "--name", "bench-%s" % name, "--version", VERSION,
                 "--address", self.address, "--heap", "1G"]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ready(self):
        line = self.process.stdout.readline()
        if not line.startswith("ready "):
            sys.exit("no node")
        self.pid = int(line.split()[3])

    def cpu_s(self):
        """Processor time that it has had."""
        fields = pathlib.Path("/proc/%d/stat" % self.pid).read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.process.stdin.close()
        self.process.wait(60)


class Ended:
    """Processes that have ended: what the last one printed, and what they took together.

    They run at once; each reads what the one before it prints.
    """

    def __init__(self, *commands):
        began = time.monotonic()
        processes = []
        with tempfile.TemporaryFile("w+") as said:
            for words in commands:
                above = processes[-1].stdout if processes else None
                processes.append(subprocess.Popen(
                    words, stdin=above, stdout=subprocess.PIPE, stderr=said, text=True))
                if above:
                    above.close()  # only the reader has it now
            self.out = processes[-1].stdout.read()
            self.cpu_s = self.rss_mib = 0
            for process in processes:
                _, status, used = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
                self.cpu_s += used.ru_utime + used.ru_stime
                self.rss_mib += used.ru_maxrss / 1024
            self.wall_s = time.monotonic() - began
            for process in processes:
                if process.returncode:
                    said.seek(0)
                    sys.exit("%s: exit code %d\n%s%s" % (
                        process.args[:3], process.returncode, said.read()[-4000:], self.out))


class Bench:
    def __init__(self, o, work):
        self.o, self.work, self.rows = o, pathlib.Path(work), []
        jars = self.work / "classpath"
        subprocess.run(["mvn", "-q", "-B", "-f", ROOT / "spark/pom.xml", GOAL,
                        "-Dmdep.outputFile=%s" % jars], check=True)
        (self.work / "log4j2.properties").write_text(QUIET)
        opens = ["--add-opens=%s=ALL-UNNAMED" % name for name in OPENS]
        path = "%s:%s" % (self.work, jars.read_text())
        source = pathlib.Path(__file__).parent / "PlainCopy.java"
        subprocess.run(["javac", "-d", self.work, "-cp", path, source], check=True)
        self.java = ["java", "-Xmx1g", *opens,
                     "-Dlog4j2.configurationFile=file://%s/log4j2.properties" % self.work,
                     "-cp", path, "PlainCopy"]
        self.nodes = [Node("source"), Node("target")]
        for node in self.nodes:
            node.ready()
        self.ends = [node.address for node in self.nodes]

    def plain(self, *words):
        return Ended([*self.java, *map(str, words)])

    def cpu_s(self):
        return sum(node.cpu_s() for node in self.nodes)

    def note(self, round_, what, seconds, ended, nodes_s):
        row = {"round": round_, "what": what, "seconds": round(seconds, 2),
               "rows_per_s": round(self.o.rows / seconds), "own_cpu_s": round(ended.cpu_s, 1),
               "nodes_cpu_s": round(nodes_s, 1), "rss_mib": round(ended.rss_mib)}
        self.rows.append(row)
        print(" ".join("%s=%s" % item for item in row.items()), flush=True)

    def ours(self):
        ended = Ended([self.o.twinring, "copy", *self.ends, "--keyspace", "bench", "--restart",
                       "--checkpoint", str(self.work / "checkpoint"), "--json"])
        told = json.loads(ended.out)
        assert told["complete"] and told["rows"] == self.o.rows, told
        return ended

    def twinring(self, round_):
        self.plain("truncate", self.ends[1])
        before = self.cpu_s()
        ended = self.ours()
        self.note(round_, "twinring", ended.wall_s, ended, self.cpu_s() - before)

    def spark(self, round_):
        before = self.cpu_s()
        ended = self.plain("copy", *self.ends, 2)
        cold, warm = [float(line.split()[1]) for line in ended.out.splitlines()
                      if line.startswith("copied ")]
        nodes_s = (self.cpu_s() - before) / 2
        self.note(round_, "spark-cold", cold, ended, nodes_s)
        self.note(round_, "spark-warm", warm, ended, nodes_s)

    def dsbulk(self, round_, what, *more):
        self.plain("truncate", self.ends[1])
        before = self.cpu_s()
        more = ["-k", "bench", "-t", "history", "-logDir", self.work / "logs", *more]
        ended = Ended(*([*shlex.split(self.o.dsbulk), verb, "-h", end, *more]
                        for verb, end in zip(("unload", "load"), self.ends)))
        self.note(round_, what, ended.wall_s, ended, self.cpu_s() - before)

    def verify(self, *more):
        told = json.loads(Ended([self.o.twinring, "verify", *self.ends, "--keyspace", "bench",
                                 "--json", *more]).out)
        assert told["is_equal"] and told["equal"] == self.o.rows, told

    def run(self):
        for end in self.ends:
            self.plain("create", end)
        self.plain("fill", self.ends[0], self.o.rows, self.o.per_partition)
        self.ours()  # the nodes see its statements for the first time
        if self.o.spark:
            self.plain("copy", *self.ends, 1)
        for round_ in range(1, self.o.rounds + 1):
            is_last = round_ == self.o.rounds
            self.twinring(round_)
            if is_last:
                self.verify()
            if self.o.dsbulk:
                self.dsbulk(round_, "dsbulk")
                if is_last:
                    self.verify(*PLAIN)
                self.dsbulk(round_, "dsbulk-stamps", *KEEP_STAMPS)
                if is_last:
                    self.verify()
            if self.o.spark:
                self.spark(round_)
                if is_last:
                    self.verify(*PLAIN)

    def summary(self):
        def column(what, name):
            return [row[name] for row in self.rows if row["what"] == what]
        lines = ["%-13s %9s %18s %8s %8s %9s %7s" % (
            "", "rows/s", "min..max", "seconds", "cpu_s", "nodes_s", "rss_mib")]
        others = list(dict.fromkeys(row["what"] for row in self.rows if row["what"] != "twinring"))
        for what in (*others, "twinring"):
            rates = column(what, "rows_per_s")
            lines.append("%-13s %9d %18s %8.1f %8.1f %9.1f %7d" % (
                what, statistics.median(rates), "%d..%d" % (min(rates), max(rates)),
                *(statistics.median(column(what, name))
                  for name in ("seconds", "own_cpu_s", "nodes_cpu_s")),
                max(column(what, "rss_mib"))))
        for what in others:
            pairs = zip(column("twinring", "rows_per_s"), column(what, "rows_per_s"))
            ratios = sorted(ours / theirs for ours, theirs in pairs)
            lines.append("twinring to %s, round by round: %.2f (%.2f to %.2f)" % (
                what, statistics.median(ratios), ratios[0], ratios[-1]))
        if self.o.spark:
            lines.append("cpu_s and rss of a Spark process are of both of its copies")
        if self.o.dsbulk:
            lines.append("cpu_s and rss of dsbulk are of both of its processes, start included")
        return "\n".join(lines) + "\n"

    def host(self):
        info = pathlib.Path("/proc/cpuinfo").read_text()
        cpu = info.split("model name", 1)[1].split(": ", 1)[1].split("\n", 1)[0]
        commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"],
                                capture_output=True, text=True).stdout.strip()
        return ("kernel   %s\ncpu      %s, %d cores\ncommit   %s\n"
                "nodes    two, Cassandra %s, on the same cores\n"
                "rows     %d, %d in a partition, rounds %d\nload     %.1f at the end\n%s" % (
                    platform.release(), cpu, os.cpu_count(), commit, VERSION, self.o.rows,
                    self.o.per_partition, self.o.rounds, os.getloadavg()[0], self.dsbulk_version()))

    def dsbulk_version(self):
        if not self.o.dsbulk:
            return ""
        return "dsbulk   %s" % Ended([*shlex.split(self.o.dsbulk), "--version"]).out


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", "--rows", type=int, default=200_000)
    parser.add_argument("-p", "--per-partition", type=int, default=10)
    parser.add_argument("-r", "--rounds", type=int, default=3)
    parser.add_argument("--dsbulk", metavar="COMMAND")
    parser.add_argument("--no-spark", dest="spark", action="store_false")
    parser.add_argument("-t", "--twinring", default=str(ROOT / "target/release/twinring"))
    kernel = ".".join(platform.release().split(".")[:2])
    name = "%s-%s/copy" % (datetime.date.today(), kernel)
    parser.add_argument("-o", "--out", type=pathlib.Path, default=ROOT / "benches/runs" / name)
    o = parser.parse_args()
    subprocess.run([ROOT / "tests/cassandra/setup"], check=True)
    with tempfile.TemporaryDirectory() as work:
        bench = Bench(o, work)
        try:
            bench.run()
        finally:
            for node in bench.nodes:
                node.stop()
    o.out.mkdir(parents=True, exist_ok=True)
    lines = (" ".join("%s=%s" % item for item in row.items()) for row in bench.rows)
    (o.out / "lines.txt").write_text("\n".join(lines) + "\n")
    (o.out / "host.txt").write_text(bench.host())
    (o.out / "summary.txt").write_text(bench.summary())
    print(bench.summary(), end="")


if __name__ == "__main__":
    main()
