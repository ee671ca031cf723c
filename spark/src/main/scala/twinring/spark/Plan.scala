package twinring.spark

import org.apache.spark.SparkContext

/** What both jobs do before their first task. */
private[spark] object Plan {

  /** Both ways. */
  def ways(sc: SparkContext, ends: Ends, secrets: Secrets): (Way, Way) = {
    val conf = sc.getConf
    def way(endpoint: Endpoint, given: Option[String]) =
      Way(conf, endpoint, endpoint.password(given))
    (way(ends.source, secrets.source), way(ends.target, secrets.target))
  }

  /** The tables of the source that are asked for. */
  def chosen(tables: Map[String, Table], ends: Ends): Vector[Table] = {
    if (tables.isEmpty)
      throw new UsageError(
        s"keyspace ${ends.keyspace} has no tables at the source (names are taken as they are, " +
          "case counts)")
    if (ends.tables.isEmpty) tables.values.toVector.sortBy(_.name)
    else
      ends.tables.map { name =>
        tables.getOrElse(
          name,
          throw new UsageError(s"no table $name in keyspace ${ends.keyspace} at the source"))
      }
  }

  /** The chosen tables; throws when one is not at the target, or is another table there. */
  def tables(source: Cluster, target: Cluster, ends: Ends): Vector[Table] = {
    val others = target.tables(ends.keyspace)
    val tables = chosen(source.tables(ends.keyspace), ends)
    tables.foreach { table =>
      others.get(table.name) match {
        case None =>
          throw new UsageError(
            s"table ${table.shown} is not at the target; create it, or let Copy --create-schema " +
              "do so")
        case Some(other) =>
          table.differsFrom(other).foreach { difference =>
            throw new UsageError(s"table ${table.shown} is not the same: $difference")
          }
      }
    }
    tables
  }

  /** The passes over these tables. */
  def steps(tables: Vector[Table]): Vector[Step] =
    tables.flatMap(table => Pass.of(table).map(Step(table, _)))

  /** Token ranges of each step, without those that are done. */
  def jobs(
      steps: Vector[Step],
      nodeTokens: Vector[Long],
      ends: Ends,
      splits: Table => Int,
      done: Step => Seq[TokenRange]): Vector[Job] =
    for {
      (step, place) <- steps.zipWithIndex
      ranges = Tokens.cut(nodeTokens, splits(step.table)).flatMap(_.intersection(ends.window))
      range <- Tokens.subtract(ranges, done(step))
    } yield Job(place, range, 0)

  /** Limits of each task. */
  def limits(sc: SparkContext, ends: Ends, jobs: Int): TaskLimits = {
    val slots = ends.tasksAtOnce.getOrElse(sc.defaultParallelism).min(jobs.max(1))
    TaskLimits(ends, slots)
  }

  /** A second try of a task that still runs could write a list or count a counter twice. */
  def refuseSpeculation(sc: SparkContext, tables: Seq[Table]): Unit =
    if (sc.getConf.getBoolean("spark.speculation", false))
      tables.find(table => table.isCounter || table.hasLists).foreach { table =>
        throw new UsageError(
          s"${table.shown} has lists or counters, which must not be written twice at once; " +
            "start Spark with --conf spark.speculation=false")
      }

  /** Reports failed jobs as ranges. */
  def failed(steps: Vector[Step], failed: Vector[(Job, String)]): Vector[FailedRange] =
    failed.map { case (job, words) =>
      val Step(table, pass) = steps(job.step)
      FailedRange(table.name, pass.name, job.range.toString, words)
    }
}
