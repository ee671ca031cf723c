package twinring.spark

import java.nio.charset.StandardCharsets.UTF_8
import java.nio.file.{Files, Paths}

import com.datastax.oss.driver.api.core.{ConsistencyLevel, DefaultConsistencyLevel}

import scala.util.Try

/** What is wrong with the options, or with what they name. */
final class UsageError(message: String) extends RuntimeException(message)

/** Passwords that are handed over by a program, as a notebook does; otherwise they come from their
  * files or from the environment.
  */
final case class Secrets(source: Option[String] = None, target: Option[String] = None) {
  override def toString: String = "Secrets(…)"
}

/** One cluster: contact points (`-`: as `spark.twinring.<side>.*` says), user, consistency. */
final case class Endpoint(
    side: String,
    contacts: String,
    port: Int,
    username: Option[String],
    passwordFile: Option[String],
    consistency: String) {

  def level: ConsistencyLevel =
    DefaultConsistencyLevel.valueOf(consistency.toUpperCase.replace('-', '_'))

  /** The password: the one handed over, or that of the file, or of `TWINRING_<SIDE>_PASSWORD`. */
  def password(given: Option[String]): Option[String] = {
    val variable = s"TWINRING_${side.toUpperCase}_PASSWORD"
    def ofFile = passwordFile.map { file =>
      try new String(Files.readAllBytes(Paths.get(file)), UTF_8).stripLineEnd
      catch {
        case e: java.io.IOException =>
          throw new UsageError(s"cannot read the password from $file: $e")
      }
    }
    val found = given.orElse(ofFile).orElse(sys.env.get(variable))
    if (username.isDefined && found.isEmpty)
      throw new UsageError(s"--$side-username needs --$side-password-file or $variable")
    found.filter(_ => username.isDefined)
  }
}

/** What both jobs are told: the two clusters, and which data. */
final case class Ends(
    source: Endpoint,
    target: Endpoint,
    keyspace: String,
    tables: Vector[String],
    window: TokenRange,
    condition: Option[String],
    splits: Int,
    tasksAtOnce: Option[Int],
    readRate: Option[Int],
    writeRate: Option[Int],
    writeConcurrency: Int,
    json: Boolean)

/** `Copy`'s options. */
final case class CopyOptions(
    ends: Ends,
    checkpoint: String,
    restart: Boolean,
    rules: Rules,
    createSchema: Boolean,
    schemaOnly: Boolean,
    targetReplication: Option[String],
    counterQuietMs: Long,
    dryRun: Boolean)

/** `Verify`'s options. */
final case class VerifyOptions(
    ends: Ends,
    tolerance: Tolerance,
    failuresToFetch: Int,
    report: Option[String],
    settleMs: Long,
    repair: Boolean,
    repairCounters: Boolean,
    deleteExtra: Boolean)

/** The words of a command line, by option. */
private final class Words(words: Seq[String], known: Seq[(String, String)]) {
  private val takesValue = known.toMap.mapValues(_.startsWith("=")).map(identity)

  val (positional: Vector[String], values: Map[String, Vector[String]]) = {
    var positional = Vector.empty[String]
    var values = Map.empty[String, Vector[String]].withDefaultValue(Vector.empty)
    val left = words.iterator.buffered
    while (left.hasNext) {
      val word = left.next()
      if (word.startsWith("--")) {
        val (name, given) = word.drop(2).span(_ != '=')
        val wantsValue = takesValue.getOrElse(name, Options.unknown(name))
        val value =
          if (!wantsValue && given.isEmpty) "true"
          else if (!wantsValue) throw new UsageError(s"--$name takes no value")
          else if (given.nonEmpty) given.drop(1)
          else if (left.hasNext) left.next()
          else throw new UsageError(s"--$name needs a value")
        values = values.updated(name, values(name) :+ value)
      } else positional :+= word
    }
    (positional, values)
  }

  def text(name: String): Option[String] = values(name).lastOption

  def flag(name: String): Boolean = values(name).nonEmpty

  def choice[T](name: String, of: Seq[(String, T)]): T = {
    val word = text(name).getOrElse(of.head._1)
    of.collectFirst { case (`word`, value) => value }.getOrElse {
      throw new UsageError(s"--$name $word: one of ${of.map(_._1).mkString(", ")}")
    }
  }

  def long(name: String, least: Long, most: Long): Option[Long] = text(name).map { word =>
    Try(word.toLong).filter(n => n >= least && n <= most).getOrElse {
      throw new UsageError(s"--$name $word: not a number from $least to $most")
    }
  }

  def int(name: String, least: Int, most: Int): Option[Int] =
    long(name, least.toLong, most.toLong).map(_.toInt)
}

object Options {

  /** Name → what it is; with `=` in front it takes a value. */
  private val ofEnds: Seq[(String, String)] = Seq(
    "keyspace" -> "=NAME: as it is named, without quotes, case counts; must be given",
    "table" -> "=NAME: only this table; may be given several times",
    "source-port" -> "=PORT: of contact points without one [9042]",
    "target-port" -> "=PORT: of contact points without one [9042]",
    "source-username" -> "=NAME [TWINRING_SOURCE_USERNAME]",
    "source-password-file" -> "=FILE: else TWINRING_SOURCE_PASSWORD",
    "target-username" -> "=NAME [TWINRING_TARGET_USERNAME]",
    "target-password-file" -> "=FILE: else TWINRING_TARGET_PASSWORD",
    "source-consistency" -> "=LEVEL: of reads at the source [local-quorum]",
    "target-consistency" -> "=LEVEL: of writes and reads at the target [local-quorum]",
    "token-range" -> "=AFTER:UP_TO: only partitions in it",
    "where" -> "=CONDITION: only rows that fulfil this CQL; statics come from all partitions",
    "splits" -> "=N: token ranges to cut the ring into, at least; a task each [256]",
    "tasks-at-once" -> "=N: tasks that share the rates [spark.default.parallelism]",
    "read-rate" -> "=N: rows a second from a cluster, all tasks together",
    "write-rate" -> "=N: rows a second to the target, all tasks together",
    "write-concurrency" -> "=N: requests at once of each task [64]",
    "json" -> "print the result as JSON")

  private val ofCopy: Seq[(String, String)] = ofEnds ++ Seq(
    "checkpoint" -> "=DIR: remembers what is done [twinring-copy-KEYSPACE.checkpoint]",
    "restart" -> "forget what an earlier copy did, and begin anew",
    "writetime" -> "=preserve|backdate",
    "row-marker" -> "=infer|always|never",
    "collection-writetime" -> "=backdate|row-min|row-max: where the source does not tell it",
    "written-after" -> "=MICROS: only cells written after this",
    "written-before" -> "=MICROS: only cells written before this",
    "create-schema" -> "create keyspace, types and tables at the target where missing",
    "schema-only" -> "as --create-schema, and copy no data",
    "target-replication" -> "=MAP: of a keyspace that is created",
    "counter-quiet-ms" -> "=MS: a counter must not change for so long [2000]",
    "dry-run" -> "say what would be done")

  private val ofVerify: Seq[(String, String)] = ofEnds ++ Seq(
    "compare-timestamps" -> "=true|false: writetimes and expiry too [true]",
    "ttl-tolerance-millis" -> "=MS: how far apart cells may expire [2000]",
    "writetime-tolerance-millis" -> "=MS: how far apart writetimes may be [0]",
    "floating-point-tolerance" -> "=X: of float and double; 0 compares bits [0]",
    "failures-to-fetch" -> "=N: differences that the summary spells out [100]",
    "report" -> "=DIR: for all differences, a line of JSON each",
    "settle-ms" -> "=MS: before a difference is read again [2000]",
    "repair" -> "write what the source has, with its stamps, where the target lacks it",
    "repair-counters" -> "add the difference of counters that keep still",
    "delete-extra" -> "delete what only the target has")

  private val elsewhere = Map(
    "read-concurrency" -> "as many ranges are read at once as Spark runs tasks",
    "data-dir" -> "the proxy's directory is on its machine: use `twinring verify` for its tables",
    "spill-key-file" -> "the proxy's directory is on its machine: use `twinring verify`")

  private[spark] def unknown(name: String): Nothing =
    throw new UsageError(elsewhere.get(name) match {
      case Some(why) => s"--$name is not an option of the Spark job: $why"
      case None      => s"unknown option --$name; --help lists all"
    })

  private def help(job: String, known: Seq[(String, String)]): String = {
    val lines = known.map { case (name, what) =>
      val value = if (what.startsWith("=")) " " + what.drop(1).takeWhile(!": [".contains(_)) else ""
      val words = if (what.startsWith("=")) what.dropWhile(!": [".contains(_)) else " " + what
      f"  ${s"--$name$value"}%-34s ${words.stripPrefix(":").trim}"
    }
    s"usage: twinring.spark.$job SOURCE TARGET --keyspace NAME [options]\n" +
      "SOURCE and TARGET: contact points, host or host:port, comma separated; -: as " +
      "spark.twinring.source.* and spark.twinring.target.* say\n" + lines.mkString("\n")
  }

  /** Thrown for `--help`: its message is the text. */
  final class Help(text: String) extends RuntimeException(text)

  /** Reads a copy's command line. */
  def copy(args: Seq[String]): CopyOptions = {
    if (args.contains("--help")) throw new Help(help("Copy", ofCopy))
    val words = new Words(args, ofCopy)
    val ends = endsOf(words)
    val rules = Rules(
      words.choice("row-marker", Seq(
        "infer" -> RowMarker.Infer,
        "always" -> RowMarker.Always,
        "never" -> RowMarker.Never)),
      words.choice("writetime", Seq(
        "preserve" -> Writetime.Preserve,
        "backdate" -> Writetime.Backdate)),
      words.choice("collection-writetime", Seq(
        "backdate" -> CollectionWritetime.Backdate,
        "row-min" -> CollectionWritetime.RowMin,
        "row-max" -> CollectionWritetime.RowMax)),
      0,
      words.long("written-after", Long.MinValue, Long.MaxValue),
      words.long("written-before", Long.MinValue, Long.MaxValue))
    CopyOptions(
      ends,
      words.text("checkpoint").getOrElse(s"twinring-copy-${ends.keyspace}.checkpoint"),
      words.flag("restart"),
      rules,
      words.flag("create-schema"),
      words.flag("schema-only"),
      words.text("target-replication"),
      words.long("counter-quiet-ms", 0, 3600000).getOrElse(2000),
      words.flag("dry-run"))
  }

  /** Reads a comparison's command line. */
  def verify(args: Seq[String]): VerifyOptions = {
    if (args.contains("--help")) throw new Help(help("Verify", ofVerify))
    val words = new Words(args, ofVerify)
    def millis(name: String, default: Long) =
      words.long(name, 0, Long.MaxValue / 1000).getOrElse(default)
    val float = words.text("floating-point-tolerance").map { word =>
      Try(word.toDouble).filter(_ >= 0).getOrElse {
        throw new UsageError(s"--floating-point-tolerance $word: not a number from 0")
      }
    }
    VerifyOptions(
      endsOf(words),
      Tolerance(
        words.choice("compare-timestamps", Seq("true" -> true, "false" -> false)),
        millis("ttl-tolerance-millis", 2000),
        millis("writetime-tolerance-millis", 0) * 1000,
        float.getOrElse(0.0)),
      words.int("failures-to-fetch", 0, 1000000).getOrElse(100),
      words.text("report"),
      words.long("settle-ms", 0, 3600000).getOrElse(2000),
      words.flag("repair"),
      words.flag("repair-counters"),
      words.flag("delete-extra"))
  }

  private val levels =
    Seq("one", "two", "three", "quorum", "all", "local-one", "local-quorum", "each-quorum")

  private def endsOf(words: Words): Ends = {
    val (source, target) = words.positional match {
      case Vector(source, target) => (source, target)
      case other =>
        throw new UsageError(s"SOURCE and TARGET are needed, not ${other.size} names; see --help")
    }
    val keyspace =
      words.text("keyspace").getOrElse(throw new UsageError("--keyspace must be given"))
    if (keyspace.startsWith("system"))
      throw new UsageError(s"--keyspace $keyspace: a cluster's own keyspace")
    def endpoint(side: String, contacts: String) = Endpoint(
      side,
      contacts,
      words.int(s"$side-port", 1, 65535).getOrElse(9042),
      words.text(s"$side-username").orElse(sys.env.get(s"TWINRING_${side.toUpperCase}_USERNAME")),
      words.text(s"$side-password-file"),
      words.choice(s"$side-consistency", ("local-quorum" +: levels).map(l => l -> l)))
    val window = words.text("token-range").map { text =>
      TokenRange.parse(text).fold(wrong => throw new UsageError(s"--token-range $wrong"), identity)
    }
    Ends(
      endpoint("source", source),
      endpoint("target", target),
      keyspace,
      words.values("table"),
      window.getOrElse(TokenRange.All),
      words.text("where"),
      words.int("splits", 1, 65536).getOrElse(256),
      words.int("tasks-at-once", 1, 1000000),
      words.int("read-rate", 1, Int.MaxValue),
      words.int("write-rate", 1, Int.MaxValue),
      words.int("write-concurrency", 1, 4096).getOrElse(64),
      words.flag("json"))
  }
}
