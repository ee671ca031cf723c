package twinring.spark

import java.nio.ByteBuffer

/** What a repair may do. */
private[spark] final case class RepairRules(
    write: Boolean,
    delete: Boolean,
    counters: Boolean,
    settleMs: Long)

/** What a repair did. */
private[spark] final case class Tried(wrote: Boolean = false, deleted: Boolean = false)

/** Makes a row at the target what it is at the source, with the source's own stamps. What the
  * target holds with a newer stamp stays: it is reported, never overruled.
  */
private[spark] final class Repair(
    allowed: RepairRules,
    table: Table,
    source: Scanner,
    target: Scanner,
    throttle: Throttle) {
  private val cluster = target.cluster
  private val select = source.select
  private val rules = Rules(beganUs = Now.us())
  private val write = allowed.write && !table.isCounter

  private lazy val plan = new WritePlan(table, select)
  private lazy val sender = new Sender(cluster, throttle, plan.texts)
  private lazy val lists =
    new Lists(sender, table, select, plan, rules.beganUs, isExact = true)
  private lazy val counters = {
    val adder = new Sender(cluster, throttle, Vector(Counters.text(table, select)))
    new Counters(source, target, adder, allowed.settleMs)
  }

  /** Repairs one row. */
  def row(key: Vector[ByteBuffer], atSource: Option[Row], difference: RowDifference): Tried =
    if (allowed.counters && table.isCounter) {
      counters.settleKey(key)
      Tried(wrote = true)
    } else {
      val lacks = difference match {
        case RowDifference.Missing => true
        case RowDifference.Extra   => false
        case RowDifference.Cells(cells) =>
          cells.exists(cell => cell.kind != Kind.Extra || isList(cell))
      }
      if (write && lacks) atSource.foreach(copy)
      val deleted = allowed.delete && delete(key, difference)
      Tried(write && lacks, deleted)
    }

  private def isList(cell: CellDifference) =
    select.columns(cell.place.column).shape == Shape.OfList

  private def copy(row: Row): Unit = {
    val writes = plan.writes(row, rules, Now.s())
    sender.send(writes.plain)
    lists.copy(writes.lists, look = true)
    ()
  }

  /** Deletes what only the target has, at the stamp that it has there. */
  private def delete(key: Vector[ByteBuffer], difference: RowDifference): Boolean =
    difference match {
      case RowDifference.Missing => false
      case RowDifference.Extra =>
        val what = if (select.pass == Pass.Statics) Select.list(select.columns) else ""
        // A row marker's writetime is not told: now is later than all that was seen. A write that
        // comes meanwhile is younger still.
        run(what, Now.us(), None, key)
        true
      case RowDifference.Cells(cells) =>
        cells.filter(_.kind == Kind.Extra).map(deleteCell(key, _)).contains(true)
    }

  private def deleteCell(key: Vector[ByteBuffer], cell: CellDifference): Boolean = {
    val column = select.columns(cell.place.column)
    val name = column.quoted
    val what = column.shape match {
      case Shape.Single                => Some((name, None))
      case Shape.OfMap | Shape.OfSet => Some((s"$name[?]", cell.place.element))
      case Shape.Udt(fields) =>
        val field = cell.place.element.map(Bytes.int).flatMap(fields.lift)
        field.map(field => (s"$name.${Schema.quote(field)}", None))
      // A list is written whole; a counter that was deleted must not be counted again.
      case Shape.OfList if cell.source.isEmpty && write => None
      case Shape.OfList                                 => Some((name, None))
      case Shape.Counter                                => None
    }
    what.foreach { case (what, bound) =>
      run(what, cell.target.flatMap(_.writetimeUs).getOrElse(Now.us()), bound, key)
    }
    what.isDefined
  }

  /** Executes a delete: markers are numbered as they stand, what is deleted comes first. */
  private def run(
      what: String,
      stampUs: Long,
      bound: Option[ByteBuffer],
      key: Vector[ByteBuffer]): Unit = {
    val at = Select.conditions(select.key)
    val text = s"DELETE $what FROM ${table.quoted} USING TIMESTAMP ? WHERE $at"
    val prepared = cluster.prepare(text)
    throttle.all(cluster.side, Seq(bound.toVector ++ (Bytes.ofLong(stampUs) +: key))) {
      (values, _) => cluster.send(cluster.bind(prepared, values))
    }
    ()
  }
}
