package twinring.spark

import org.apache.spark.SparkContext
import org.apache.spark.sql.SparkSession

/** How both jobs begin and end as programs. */
private[spark] object Program {
  private var lastLineNs = 0L

  /** Runs `job` and leaves with its exit code; 1 when it could not be done. */
  def run(name: String)(job: SparkContext => Int): Unit = {
    var session: Option[SparkSession] = None
    val code =
      try {
        session = Some(SparkSession.builder.appName(name).getOrCreate())
        job(session.get.sparkContext)
      } catch {
        case help: Options.Help =>
          println(help.getMessage)
          0
        case e: UsageError => fail(name, e.getMessage)
        case e: Failure    => fail(name, e.words)
      } finally session.foreach(_.stop())
    // Where the platform takes an exit for a crash, a normal end is success and a throw is not.
    if (code != 0 && sys.env.contains("DATABRICKS_RUNTIME_VERSION"))
      throw new IllegalStateException(s"$name: exit code $code")
    if (code != 0) sys.exit(code)
  }

  private def fail(name: String, words: String): Int = {
    say(s"$name: $words")
    1
  }

  def say(line: String): Unit = Console.err.println(line)

  /** A line every few seconds. */
  def progress(ranges: Long, done: Long, rows: Long): Unit = {
    val now = System.nanoTime()
    if (now - lastLineNs > 5000000000L) {
      lastLineNs = now
      say(s"$done of $ranges token ranges, $rows rows")
    }
  }
}
