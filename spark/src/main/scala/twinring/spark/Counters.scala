package twinring.spark

import java.nio.ByteBuffer
import java.util.concurrent.CompletionStage

import Stages._

/** Counters get the difference between source and target. An increment cannot be repeated and has
  * no stamp, so the rule is: read the row at both sides, wait, read both again; only where neither
  * has changed is the difference added. Whatever became of an increment that was not answered, the
  * next look finds out: the difference is computed anew, never sent again.
  */
final class Counters(source: Scanner, target: Scanner, sender: Sender, quietMs: Long) {
  import Counters._

  private val width = source.select.wanted.size

  /** Brings the counters of a range to the source's values. */
  def range(tokens: TokenRange): Tally = {
    val pages = source.pages(tokens)
    Iterator.continually(pages.next()).takeWhile(_.isDefined).flatten.foldLeft(Tally()) {
      (tally, page) =>
        val open = page.rows.map(row => Candidate(row.key, Some(values(Some(row))), None))
        tally.plus("rows", page.size.toLong).plus("bytes", page.bytes) + settle(open)
    }
  }

  /** Brings the row of this key to the source's values. */
  def settleKey(key: Vector[ByteBuffer]): Tally = settle(Vector(Candidate(key, None, None)))

  private def settle(rows: Vector[Candidate]): Tally = {
    var (open, round, added) = (rows, 0, 0L)
    while (open.nonEmpty && round <= Limits.CounterRounds) {
      if (round > 0) Thread.sleep(quietMs)
      val mayAdd = round > 0
      val looks = sender.throttle.all(sender.cluster.side, open)((row, _) => look(row, mayAdd))
      added += looks.count(_ == Added)
      open = looks.collect { case Again(candidate) => candidate }
      round += 1
    }
    Tally().plus("counters_added", added).plus("counters_busy", open.size.toLong)
  }

  /** Reads a row at both sides; `mayAdd`: enough time went by since it was read before. */
  private def look(before: Candidate, mayAdd: Boolean): CompletionStage[Look] = {
    val here = before.source match {
      case Some(known) if !mayAdd => done(known)
      case _                      => source.one(before.key).map(values)
    }
    val there = target.one(before.key).map(values)
    here.zip(there).flatMap { case (source, target) =>
      val now = Candidate(before.key, Some(source), Some(target))
      val missing = differences(source, target)
      if (missing.forall(_.isEmpty)) done[Look](Settled)
      else if (!mayAdd || now != before) done[Look](Again(now))
      else add(now, missing)
    }
  }

  private def add(now: Candidate, missing: Vector[Option[Long]]): CompletionStage[Look] = {
    val bound = missing.map(_.map(Bytes.ofLong).orNull) ++ now.key
    sender.raw(0, bound).handled[Look] {
      case Right(_) => Added
      case Left(error) =>
        val failure = Failure.of(sender.cluster.side, error)
        if (failure.isFinal) throw failure
        sender.throttle.pushedBack()
        // Not known to be as they were: they must be seen twice again.
        Again(now.copy(target = None))
    }
  }

  private def values(row: Option[Row]): Values = {
    val found = Array.fill[Option[Long]](width)(None)
    for (row <- row; cell <- row.cells) cell.content match {
      case Content.Whole(bytes) => found(cell.column) = Some(Bytes.long(bytes))
      case _                    =>
    }
    found.toVector
  }
}

object Counters {

  /** The counters of a row, by column; none: not set, which counts as 0. */
  type Values = Vector[Option[Long]]

  /** A row whose counters may differ, as it was read last. */
  private final case class Candidate(
      key: Vector[ByteBuffer],
      source: Option[Values],
      target: Option[Values])

  /** What a look at a row found. */
  private sealed trait Look
  private case object Settled extends Look
  private case object Added extends Look
  private final case class Again(candidate: Candidate) extends Look

  /** The text that adds to the counters of a row. */
  def text(table: Table, select: Select): String = {
    val add = select.columns.map(c => s"${c.quoted} = ${c.quoted} + ?").mkString(", ")
    s"UPDATE ${table.quoted} SET $add WHERE ${Select.conditions(select.key)}"
  }

  /** What must be added at the target, by column. A counter that stands at 0 is there, one that was
    * never counted is not.
    */
  private[spark] def differences(source: Values, target: Values): Vector[Option[Long]] =
    source.zip(target).map { case (source, target) =>
      val difference = source.getOrElse(0L) - target.getOrElse(0L)
      if (difference != 0 || (source.isDefined && target.isEmpty)) Some(difference) else None
    }
}
