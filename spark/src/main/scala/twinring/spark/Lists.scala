package twinring.spark

import java.nio.ByteBuffer
import java.util.concurrent.CompletionStage

import com.datastax.oss.driver.api.core.cql.AsyncResultSet

import Stages._

/** What became of a list; `name` is its count in a [[Tally]]. */
sealed abstract class ListOutcome(val name: String)

object ListOutcome {
  case object Written extends ListOutcome("lists")

  /** It was at the target. */
  case object There extends ListOutcome("lists_there")

  /** Another list was there; now it is this one, 1 µs younger. */
  case object Replaced extends ListOutcome("lists_replaced")
}

/** An element at the target. */
private[spark] final case class ListElement(bytes: ByteBuffer, writetimeUs: Option[Long])

/** Lists that are not frozen. Whoever writes an element makes a new one, whatever its stamp, so a
  * list is written only when it is known not to be at the target: read back first, unless the table
  * was empty there when the copy began and this is the first try.
  *
  * `isExact`: for repairs, the target's list shall be the source's, and no element is the proxy's.
  */
final class Lists(
    sender: Sender,
    table: Table,
    select: Select,
    plan: WritePlan,
    beganUs: Long,
    isExact: Boolean) {
  private val cluster = sender.cluster
  private val readBack = plan.listTexts.map { case (column, _) =>
    val name = select.columns(column).quoted
    val stamps = if (cluster.perElement) s", writetime($name)" else ""
    val at = Select.conditions(select.key)
    column -> cluster.prepare(s"SELECT $name$stamps FROM ${table.quoted} WHERE $at")
  }

  /** Brings lists to the target; `look`: they may be there already. */
  def copy(lists: Vector[ListWrite], look: Boolean): Vector[ListOutcome] =
    sender.throttle.all(cluster.side, lists) { (list, tries) =>
      if (look || tries > 0)
        cluster
          .send(cluster.bind(readBack(list.column), list.key))
          .flatMap(answer => compared(list, Lists.elements(answer)))
      else write(Lists.written(plan.listTexts(list.column), list), ListOutcome.Written)
    }

  private def compared(
      list: ListWrite,
      there: Vector[ListElement]): CompletionStage[ListOutcome] = {
    val old = there.filter(_.writetimeUs.forall(_ < beganUs))
    val texts = plan.listTexts(list.column)
    if (old.isEmpty) write(Lists.written(texts, list), ListOutcome.Written)
    else if (Lists.holds(old, list) && (!isExact || Lists.isSame(there, list)))
      done(ListOutcome.There)
    else {
      val stamps = old.flatMap(_.writetimeUs) ++ list.runs.map(_._1.writetimeUs)
      val aboveUs = stamps.reduceOption(_ max _).fold(beganUs)(_ + 1)
      write(Lists.replaced(texts, list, aboveUs), ListOutcome.Replaced)
    }
  }

  private def write(
      writes: Vector[Write],
      outcome: ListOutcome): CompletionStage[ListOutcome] =
    sender.once(writes, isIdempotent = false).map(_ => outcome)
}

object Lists {

  private def elements(answer: AsyncResultSet): Vector[ListElement] = Option(answer.one()) match {
    case Some(row) if row.getBytesUnsafe(0) != null =>
      val (count, elements) = Elements.ofCollection(row.getBytesUnsafe(0))
      val stamps =
        if (row.size > 1) Option(row.getBytesUnsafe(1)).map(Elements.ofCollection(_)._2) else None
      Vector.fill(count) {
        ListElement(elements.nextPresent(), stamps.flatMap(_.next()).map(Bytes.long))
      }
    case _ => Vector.empty
  }

  /** Whether the list stands there in one piece. */
  private[spark] def holds(there: Vector[ListElement], list: ListWrite): Boolean =
    there.map(_.bytes).containsSlice(list.runs.flatMap(_._2))

  /** Whether the target has this list and nothing more, with stamps that a comparison accepts. */
  private[spark] def isSame(there: Vector[ListElement], list: ListWrite): Boolean = {
    val stamps = list.runs.flatMap { case (stamp, run) => run.map(_ => stamp.writetimeUs) }
    there.size == stamps.size && there.zip(stamps).forall { case (element, us) =>
      element.writetimeUs.forall(there => math.abs(there - us) <= Limits.ListStampSlackUs)
    }
  }

  /** Writes the runs, each with its own stamp, in an order that keeps theirs: to the front, from
    * the last to the first, so that they stand before what the proxy has appended since.
    */
  private[spark] def written(texts: ListTexts, list: ListWrite): Vector[Write] =
    if (list.atTheEnd) list.runs.map { case (stamp, run) => write(texts.append, list, stamp, run) }
    else list.runs.reverse.map { case (stamp, run) => write(texts.prepend, list, stamp, run) }

  /** Writes the whole list in place of what is there. */
  private[spark] def replaced(
      texts: ListTexts,
      list: ListWrite,
      writetimeUs: Long): Vector[Write] =
    list.runs.zipWithIndex.map { case ((stamp, run), at) =>
      val text = if (at == 0) texts.replace else texts.append
      write(text, list, stamp.copy(writetimeUs = writetimeUs), run)
    }

  private def write(text: Int, list: ListWrite, stamp: Stamp, run: Vector[ByteBuffer]): Write =
    Write(text, list.token, stamp, Bytes.collection(run.size, run) +: list.key, stampFirst = true)
}
