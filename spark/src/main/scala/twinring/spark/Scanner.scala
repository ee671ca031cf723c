package twinring.spark

import java.nio.ByteBuffer
import java.util.concurrent.{CompletionStage, ExecutionException}

import com.datastax.oss.driver.api.core.cql.{AsyncResultSet, Row => DriverRow}

import scala.collection.JavaConverters._

import Stages._

/** Rows that came in one answer. Partitions without rows, or rows of partitions of which only
  * static cells are left, count in `size` and are not among `rows`.
  */
final case class Page(rows: Vector[Row], size: Int, bytes: Long)

/** Reads one pass over a table from one cluster. */
final class Scanner(val cluster: Cluster, val select: Select, throttle: Throttle) {
  private val range = cluster.prepare(select.rangeText)
  private val one = cluster.prepare(select.oneText)

  /** Reads a token range page by page; the next page is under way while one is worked on. */
  def pages(tokens: TokenRange): Pages = new Pages(tokens)

  /** Reads one row (or the statics of one partition) by its key; none if it is not there. A
    * partition without static cells is none.
    */
  def one(key: Vector[ByteBuffer]): CompletionStage[Option[Row]] = {
    val readS = Now.s()
    cluster.send(cluster.bind(one, key)).handled {
      case Right(answer) =>
        page(answer, readS).rows.find(row => select.pass == Pass.Rows || row.cells.nonEmpty)
      // Rows are looked at on both sides at once: whose failure it is must not get lost.
      case Left(error) => throw Failure.of(cluster.side, error)
    }
  }

  private def page(answer: AsyncResultSet, readS: Long): Page = {
    val rows = Vector.newBuilder[Row]
    var (size, bytes) = (0, 0L)
    for (row: DriverRow <- answer.currentPage.asScala) {
      val columns = new Array[ByteBuffer](row.size)
      var at = 0
      while (at < columns.length) {
        columns(at) = row.getBytesUnsafe(at)
        bytes += 4 + (if (columns(at) == null) 0 else columns(at).remaining)
        at += 1
      }
      size += 1
      rows ++= Row.decode(select, columns, readS)
    }
    Page(rows.result(), size, bytes)
  }

  final class Pages private[Scanner] (tokens: TokenRange) {
    private var pageRows = Limits.ScanFirstPageRows
    private var state: ByteBuffer = _
    private var underWay: Option[(Long, CompletionStage[AsyncResultSet])] = Some(ask())

    /** The next page; none after the last. Throws a [[Failure]]. */
    def next(): Option[Page] = underWay.map { first =>
      var (asked, tries, beganNs) = (first, 0, System.nanoTime())
      var answer: AsyncResultSet = null
      while (answer == null)
        try answer = asked._2.toCompletableFuture.get()
        catch {
          case e: ExecutionException =>
            val failure = Failure.of(cluster.side, e.getCause)
            val isLate = System.nanoTime() - beganNs > Limits.GiveUpMs * 1000000
            if (failure.isFinal || isLate) throw failure
            tries += 1
            throttle.failed(failure, tries)
            Thread.sleep(failure.waitMs.getOrElse(Failure.backoffMs(tries)))
            // A page that timed out may have been too much work.
            pageRows = (pageRows / 2).max(1)
            asked = ask()
        }
      throttle.succeeded()
      val read =
        try page(answer, asked._1)
        catch { case e: IllegalArgumentException => throw Failure.of(cluster.side, e) }
      state = answer.getExecutionInfo.getPagingState
      adapt(read)
      throttle.rows(read.size)
      underWay = if (state == null) None else Some(ask())
      read
    }

    private def ask(): (Long, CompletionStage[AsyncResultSet]) = {
      val bounds = Vector(Bytes.ofLong(tokens.after), Bytes.ofLong(tokens.upTo))
      val statement = cluster.bind(range, bounds).setPageSize(pageRows).setPagingState(state)
      val routed = cluster.tokenOf(tokens.upTo).fold(statement)(statement.setRoutingToken)
      (Now.s(), cluster.send(routed))
    }

    private def adapt(page: Page): Unit = if (page.size > 0) {
      val rowBytes = (page.bytes / page.size).max(1)
      // Rows further on may be larger: grow step by step.
      val most = Limits.ScanPageRowsMax.toLong.min(pageRows * 4L)
      pageRows = (Limits.ScanPageBytes / rowBytes).max(1).min(most).toInt
    }
  }
}
