package twinring.spark

import org.apache.spark.SparkContext
import org.apache.spark.util.SerializableConfiguration

/** Both clusters cell by cell, and what differs made equal: `twinring verify` as a Spark job.
  *
  * Values, writetimes and absolute expiry are compared; deletes that both sides hide cannot be. It
  * may run beside live traffic: what the mirror has not brought yet is there at the second or third
  * look.
  */
object Verify {

  /** Exit codes: differences are left; nothing differs, but not everything could be compared. */
  val NotEqual = 4
  val NotComplete = 3

  def main(args: Array[String]): Unit = Program.run("twinring verify") { sc =>
    val options = Options.verify(args)
    val summary = run(sc, options)
    println(if (options.ends.json) summary.toJson else summary.toString)
    if (!summary.isEqual) NotEqual else if (summary.failed.nonEmpty) NotComplete else 0
  }

  /** Compares. Throws when the comparison could not be done. */
  def run(sc: SparkContext, options: VerifyOptions, secrets: Secrets = Secrets()): VerifySummary = {
    val beganNs = System.nanoTime()
    val ends = options.ends
    val (sourceWay, targetWay) = Plan.ways(sc, ends, secrets)
    val hadoop = new SerializableConfiguration(sc.hadoopConfiguration)
    val report = options.report.map(new Report(_, hadoop))
    Task.withBoth(sourceWay, targetWay) { (source, target) =>
      report.foreach(_.empty())
      val tables = Plan.tables(source, target, ends)
      if (options.repair || options.repairCounters) Plan.refuseSpeculation(sc, tables)
      if (ends.tables.isEmpty)
        (target.tables(ends.keyspace).keySet -- tables.map(_.name)).foreach { name =>
          Program.say(s"table $name is only at the target")
        }
      val steps = Plan.steps(tables)
      val jobs = Plan.jobs(steps, source.nodeTokens, ends, _ => ends.splits, _ => Nil)
      val perElement = source.perElement && target.perElement
      val limits = Plan.limits(sc, ends, jobs.size)
      val complaints = Complaints()
      val task =
        VerifyTask(sourceWay, targetWay, steps, perElement, options, limits, report, complaints)
      val again = (job: Job, failure: Failure) => complaints.range(steps(job.step).table, failure)
      var summary = VerifySummary(tables.size.toLong)
      var ranges = 0L
      val what = s"verify ${ends.keyspace}"
      val failed = Jobs.run(sc, jobs, what, again)((job, _) => task(job)) { ended =>
        summary = ended.map(_._2).foldLeft(summary)(add(options.failuresToFetch))
        ranges += ended.size
        Program.progress(jobs.size.toLong, ranges, summary.equal)
      }
      summary.copy(
        failed = Plan.failed(steps, failed),
        elapsedMs = (System.nanoTime() - beganNs) / 1000000)
    }
  }

  private def add(toShow: Int)(summary: VerifySummary, range: RangeFound): VerifySummary =
    summary.copy(
      equal = summary.equal + range.rows.equal,
      settled = summary.settled + range.rows.settled,
      rowsDiffering = summary.rowsDiffering + range.rows.rowsDiffering,
      differences = range.differences.foldLeft(summary.differences) { case (sum, (kind, count)) =>
        sum.updated(kind, sum.getOrElse(kind, 0L) + count)
      },
      repaired = summary.repaired + range.repaired,
      shown = (summary.shown ++ range.shown).take(toShow))
}

/** What the driver is told of a range; of its differences only some are shown. */
private[spark] final case class RangeFound(
    rows: Found,
    differences: Map[Kind, Long],
    repaired: Long,
    shown: Vector[Difference])

/** What a task of a comparison is sent. */
private[spark] final case class VerifyTask(
    source: Way,
    target: Way,
    steps: Vector[Step],
    perElement: Boolean,
    options: VerifyOptions,
    limits: TaskLimits,
    report: Option[Report],
    complaints: Complaints) {

  /** Compares a token range. */
  def apply(job: Job): RangeFound = {
    val step = steps(job.step)
    val differences =
      new Differences(options.failuresToFetch, report.map(_.file(step, job.range)))
    differences.whole(Task.withBoth(source, target)(compare(step, job.range, differences)))
  }

  private def compare(step: Step, range: TokenRange, differences: Differences)(
      source: Cluster,
      target: Cluster): Found = {
    val select = Select(step.table, step.pass, perElement, options.ends.condition)
    val complain = complaints.request(step.table, _: Failure, _: Int)
    val here = new Scanner(source, select, limits.reads(complain))
    val there = new Scanner(target, select, limits.reads(complain))
    val rules =
      RepairRules(options.repair, options.deleteExtra, options.repairCounters, options.settleMs)
    val repair = new Repair(rules, step.table, here, there, limits.writes(complain))
    val looks = limits.copy(writeRate = None).writes(complain)
    new TableVerify(
      step.table,
      here,
      there,
      options.tolerance,
      options.settleMs,
      repair,
      looks,
      differences.add).range(range)
  }
}
