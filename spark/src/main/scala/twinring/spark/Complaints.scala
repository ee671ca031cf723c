package twinring.spark

import java.util.concurrent.ConcurrentHashMap

/** Says what the requests for a table fail of while they are tried again: once for each side, in
  * the words of the cluster, so that nobody waits for minutes without knowing for what. An executor
  * says it in its log after some tries, the driver when a token range has failed of it.
  *
  * `run` tells runs apart that have their executors in common.
  */
private[spark] final case class Complaints(run: Long = Now.us()) {

  /** A request has failed so many times and will be sent again. */
  def request(table: Table, failure: Failure, tries: Int): Unit =
    if (tries >= Limits.ComplaintTries) say(table, failure)

  /** A token range has failed and will be tried again. What was refused is reported at the end. */
  def range(table: Table, failure: Failure): Unit = if (!failure.isFinal) say(table, failure)

  private def say(table: Table, failure: Failure): Unit =
    if (Complaints.said.add((run, table.shown, failure.side)))
      Program.say(Complaints.line(table, failure))
}

private[spark] object Complaints {

  /** What this process has said: run, table, side. */
  private val said = ConcurrentHashMap.newKeySet[(Long, String, String)]()

  def line(table: Table, failure: Failure): String = {
    val advice =
      if (failure.lacksReplicas)
        s"; if these replicas stay away, choose a --${failure.side}-consistency that needs fewer " +
          "of them, such as local-one"
      else ""
    s"${table.shown}: ${failure.words}; trying again$advice"
  }
}
