package twinring.spark

import org.apache.spark.SparkContext

import scala.collection.JavaConverters._

/** What was written before the proxy stood, cell by cell: `twinring copy` as a Spark job.
  *
  * Each cell keeps its own writetime and the second of its expiry; a row's maximum of either is
  * never used. So a copied cell loses against every later write and delete of the same cell, in
  * whatever order they reach the target, and the copy may run beside the proxy and as often as one
  * likes.
  */
object Copy {

  /** Exit codes: all was copied; some token ranges or counters were not. */
  val NotComplete = 3

  def main(args: Array[String]): Unit = Program.run("twinring copy") { sc =>
    val options = Options.copy(args)
    val summary = run(sc, options)
    if (options.dryRun || options.schemaOnly) 0
    else {
      println(if (options.ends.json) summary.toJson else summary.toString)
      if (summary.isComplete) 0 else NotComplete
    }
  }

  /** Copies. Throws when the copy could not be done or finished; starting it again goes on. */
  def run(sc: SparkContext, options: CopyOptions, secrets: Secrets = Secrets()): CopySummary = {
    val beganNs = System.nanoTime()
    val ends = options.ends
    val (sourceWay, targetWay) = Plan.ways(sc, ends, secrets)
    Task.withBoth(sourceWay, targetWay) { (source, target) =>
      if (options.dryRun) {
        describe(source, target, ends)
        return CopySummary()
      }
      if (options.createSchema || options.schemaOnly)
        create(source, target, options).foreach(what => Program.say(s"created $what"))
      val tables = Plan.tables(source, target, ends)
      if (options.schemaOnly) return CopySummary()
      Plan.refuseSpeculation(sc, tables)
      warnings(source, tables).foreach(Program.say)
      val checkpoint = Checkpoint.open(
        options.checkpoint,
        sc.hadoopConfiguration,
        identity(options),
        Now.us(),
        options.restart)
      val rules = options.rules.copy(beganUs = checkpoint.beganUs)
      val steps = Plan.steps(tables)
      val looks = steps.map(s => checkpoint.wasThere || hasRows(target, s.table))
      val jobs = Plan.jobs(steps, source.nodeTokens, ends, splits(ends, _), done(checkpoint, _))
      val complaints = Complaints()
      val task = CopyTask(
        sourceWay,
        targetWay,
        steps,
        looks,
        source.perElement,
        ends.condition,
        rules,
        options.counterQuietMs,
        Plan.limits(sc, ends, jobs.size),
        complaints)
      val earlier = checkpoint.done.map(_.tally).foldLeft(Tally())(_ + _)
      var summary = CopySummary(earlier, rangesResumed = checkpoint.done.size.toLong)
      val again = (job: Job, failure: Failure) => complaints.range(steps(job.step).table, failure)
      val failed = Jobs.run(sc, jobs, s"copy ${ends.keyspace}", again)(task(_, _)) { ended =>
        checkpoint.add(ended.map { case (job, tally) =>
          Done(steps(job.step).table.name, steps(job.step).pass.name, job.range, tally)
        })
        summary = summary.copy(
          tally = ended.map(_._2).foldLeft(summary.tally)(_ + _),
          rangesDone = summary.rangesDone + ended.size)
        Program.progress(jobs.size.toLong, summary.rangesDone, summary.tally("rows"))
      }
      summary.copy(
        rowsThisRun = summary.tally("rows") - earlier("rows"),
        elapsedMs = (System.nanoTime() - beganNs) / 1000000,
        failed = Plan.failed(steps, failed))
    }
  }

  private def done(checkpoint: Checkpoint, step: Step): Seq[TokenRange] =
    checkpoint.done.collect {
      case done if done.table == step.table.name && done.pass == step.pass.name => done.range
    }

  /** A row of counters waits until it is quiet, so few large ranges are faster there. */
  private def splits(ends: Ends, table: Table): Int =
    if (table.isCounter) ends.splits.min(Limits.CounterSplits) else ends.splits

  /** Whether a table with lists holds anything at the target. */
  private def hasRows(target: Cluster, table: Table): Boolean = table.hasLists && {
    val key = Select.list(table.partitionKey)
    target.session.execute(s"SELECT token($key) FROM ${table.quoted} LIMIT 1").one() != null
  }

  private def identity(options: CopyOptions): Identity = {
    val rules = options.rules
    val words = Seq(
      rules.writetime,
      rules.marker,
      rules.collections,
      "after",
      rules.writtenAfterUs,
      "before",
      rules.writtenBeforeUs,
      "where",
      options.ends.condition).mkString(" ")
    val ends = options.ends
    Identity(ends.source.contacts, ends.target.contacts, ends.keyspace, words)
  }

  /** What an operator should know before it is too late. */
  private[spark] def warnings(source: Cluster, tables: Seq[Table]): Seq[String] =
    tables.flatMap { table =>
      val names = (table.regulars ++ table.statics).filter(_.isMultiCell).map(_.name)
      val untold =
        if (source.perElement || names.isEmpty) None
        else
          Some(
            s"${table.shown}: this source does not tell writetime and TTL of " +
              s"${names.mkString(", ")}; --collection-writetime decides, and elements get the " +
              "expiry that all other cells of their row share")
      val forgetful =
        if (table.gcGraceS >= Limits.CopyGraceMinS || table.isCounter) None
        else
          Some(
            s"${table.shown}: gc_grace_seconds is ${table.gcGraceS}: a delete that the target " +
              "forgets before the copy comes by lets old data back in; raise it until the copy " +
              "is done")
      untold ++ forgetful
    }

  /** `--create-schema`: gives what was created. */
  private def create(source: Cluster, target: Cluster, options: CopyOptions): Seq[String] = {
    val keyspace = options.ends.keyspace
    val described =
      try source.session.execute(s"DESCRIBE KEYSPACE ${Schema.quote(keyspace)}").asScala.toVector
      catch {
        case e: com.datastax.oss.driver.api.core.DriverException =>
          throw new UsageError(
            "the source does not describe its schema (Cassandra does since 4.0): create the " +
              s"tables at the target by hand; it said: ${e.getMessage}")
      }
    described.flatMap { row =>
      val (kind, name, text) = (row.getString(1), row.getString(2), row.getString(3))
      val wanted = kind match {
        case "keyspace" | "type" | "function" | "aggregate" => true
        case "table" =>
          options.ends.tables.isEmpty ||
            options.ends.tables.exists(t => t == name || Schema.quote(t) == name)
        case _ => options.ends.tables.isEmpty // views and indexes come with their tables
      }
      val statement = (options.targetReplication, kind) match {
        case (Some(map), "keyspace") =>
          s"CREATE KEYSPACE ${Schema.quote(keyspace)} WITH replication = $map"
        case _ => text
      }
      if (!wanted) None
      else
        try {
          target.session.execute(statement)
          target.session.checkSchemaAgreement()
          Some(s"$kind $name")
        } catch {
          case e: com.datastax.oss.driver.api.core.DriverException
              if String.valueOf(e.getMessage).contains("already exist") =>
            None
          case e: com.datastax.oss.driver.api.core.DriverException =>
            throw new UsageError(
              s"the target refuses $kind $name: ${e.getMessage}; it was: $statement")
        }
    }
  }

  /** `--dry-run`. */
  private def describe(source: Cluster, target: Cluster, ends: Ends): Unit = {
    val others = target.tables(ends.keyspace)
    for (table <- Plan.chosen(source.tables(ends.keyspace), ends)) {
      val there = others.get(table.name) match {
        case None        => "missing at the target"
        case Some(other) => table.differsFrom(other).getOrElse("the same at the target")
      }
      println(s"${table.shown}: $there")
      for (pass <- Pass.of(table)) {
        val select = Select(table, pass, source.perElement, ends.condition)
        println(s"  reads   ${select.rangeText}")
        if (table.isCounter) println("  adds the difference of each counter that is quiet")
        else new WritePlan(table, select).texts.foreach(text => println(s"  writes  $text"))
      }
    }
  }
}
