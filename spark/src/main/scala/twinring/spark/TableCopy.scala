package twinring.spark

/** Copies token ranges of one pass over one table, without counters: reads a page, writes it while
  * the next is read. `look`: its lists may be at the target already.
  */
final class TableCopy(
    scanner: Scanner,
    sender: Sender,
    lists: Lists,
    plan: WritePlan,
    rules: Rules,
    look: Boolean) {

  def range(tokens: TokenRange): Tally = {
    val pages = scanner.pages(tokens)
    Iterator.continually(pages.next()).takeWhile(_.isDefined).flatten.foldLeft(Tally())(_ + page(_))
  }

  private def page(page: Page): Tally = {
    sender.throttle.rows(page.size)
    val nowS = Now.s()
    val writes = page.rows.map(plan.writes(_, rules, nowS))
    val plain = writes.flatMap(_.plain)
    sender.send(plain)
    val outcomes = lists.copy(writes.flatMap(_.lists), look)
    val counts = Tally()
      .plus("rows", page.size.toLong)
      .plus("bytes", page.bytes)
      .plus("cells", writes.map(_.cells).sum)
      .plus("statements", plain.size.toLong)
      .plus("young_elements", writes.map(_.youngElements).sum)
    outcomes.foldLeft(counts)((tally, outcome) => tally.plus(outcome.name, 1))
  }
}

/** What a task of a copy is sent. `looks`: of each step, if its lists may be at the target. */
private[spark] final case class CopyTask(
    source: Way,
    target: Way,
    steps: Vector[Step],
    looks: Vector[Boolean],
    perElement: Boolean,
    condition: Option[String],
    rules: Rules,
    counterQuietMs: Long,
    limits: TaskLimits,
    complaints: Complaints) {

  /** Copies a token range; `isAgain`: another try may have done a part of it. */
  def apply(job: Job, isAgain: Boolean): Tally = {
    val Step(table, pass) = steps(job.step)
    val select = Select(table, pass, perElement, condition)
    val complain = complaints.request(table, _: Failure, _: Int)
    val writes = limits.writes(complain)
    Task.withBoth(source, target) { (source, target) =>
      val scanner = new Scanner(source, select, limits.reads(complain))
      if (table.isCounter) {
        val sender = new Sender(target, writes, Vector(Counters.text(table, select)))
        new Counters(scanner, new Scanner(target, select, writes), sender, counterQuietMs)
          .range(job.range)
      } else {
        val plan = new WritePlan(table, select)
        val sender = new Sender(target, writes, plan.texts)
        val lists = new Lists(sender, table, select, plan, rules.beganUs, isExact = false)
        val look = isAgain || looks(job.step)
        new TableCopy(scanner, sender, lists, plan, rules, look).range(job.range)
      }
    }
  }
}

/** A task's share of the limits. */
private[spark] final case class TaskLimits(
    concurrency: Int,
    readRate: Option[Double],
    writeRate: Option[Double]) {
  def reads(complain: (Failure, Int) => Unit): Throttle =
    new Throttle(concurrency, readRate, complain)
  def writes(complain: (Failure, Int) => Unit): Throttle =
    new Throttle(concurrency, writeRate, complain)
}

private[spark] object TaskLimits {

  /** `slots`: tasks that run at once. */
  def apply(ends: Ends, slots: Int): TaskLimits =
    TaskLimits(
      ends.writeConcurrency,
      ends.readRate.map(_.toDouble / slots),
      ends.writeRate.map(_.toDouble / slots))
}

private[spark] object Task {

  /** Opens both clusters, and closes them afterwards; the connector keeps the sessions. */
  def withBoth[T](source: Way, target: Way)(work: (Cluster, Cluster) => T): T = {
    val here = Cluster.open(source)
    try {
      val there = Cluster.open(target)
      try work(here, there)
      finally there.close()
    } finally here.close()
  }
}
