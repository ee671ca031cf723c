package twinring.spark

import java.util.concurrent.CompletionStage

import com.datastax.oss.driver.api.core.cql._

import Stages._

/** Brings writes to one table: bound as raw bytes, several in one unlogged batch, again until the
  * target answers.
  */
final class Sender(val cluster: Cluster, val throttle: Throttle, texts: Vector[String]) {
  private val prepared = texts.map(cluster.prepare)

  /** Tokens of the nodes: between two neighbours all partitions have the same replicas. */
  private val nodeTokens = cluster.nodeTokens.toArray

  /** Puts writes that may travel together into batches; they keep their order. */
  def batches(writes: Vector[Write]): Vector[Vector[Write]] =
    Sender.batches(writes, segment)

  private def segment(token: Long): Int =
    if (nodeTokens.length <= 1) 0
    else {
      val at = java.util.Arrays.binarySearch(nodeTokens, token)
      if (at < 0) -at - 1 else at
    }

  /** Sends writes that may be sent again, until the target has taken them. */
  def send(writes: Vector[Write]): Unit = {
    val tooLarge = throttle.all(cluster.side, batches(writes)) { (batch, _) =>
      once(batch, isIdempotent = true).handled[Option[Vector[Write]]] {
        case Right(_)                                                       => None
        // Refused for its size; one by one its statements may pass.
        case Left(error) if batch.size > 1 && Failure.isInvalid(error) => Some(batch)
        case Left(error)                                                    => raise(error)
      }
    }
    throttle.all(cluster.side, tooLarge.flatten.flatten) { (write, _) =>
      once(Vector(write), isIdempotent = true)
    }
    ()
  }

  /** Sends writes once. */
  def once(writes: Vector[Write], isIdempotent: Boolean): CompletionStage[AsyncResultSet] = {
    val nowS = Now.s()
    val bound = writes.map { write =>
      val stamp = Vector(
        Bytes.ofLong(write.stamp.writetimeUs),
        Bytes.ofInt(WritePlan.ttlLeftS(write.stamp, nowS)))
      val values = if (write.stampFirst) stamp ++ write.values else write.values ++ stamp
      cluster.bind(prepared(write.text), values)
    }
    val statement: Statement[_] = bound match {
      case Vector(one) => one.setIdempotent(isIdempotent)
      case several =>
        val batch = BatchStatement.builder(BatchType.UNLOGGED)
        several.foreach(batch.addStatement)
        batch.setConsistencyLevel(cluster.endpoint.level).setIdempotence(isIdempotent).build()
    }
    cluster.send(statement)
  }

  /** Executes one of the texts with these values, once; it must not be sent again by itself. */
  def raw(text: Int, values: Vector[java.nio.ByteBuffer]): CompletionStage[AsyncResultSet] =
    cluster.send(cluster.bind(prepared(text), values).setIdempotent(false))
}

object Sender {

  private[spark] def batches(
      writes: Vector[Write],
      segment: Long => Int): Vector[Vector[Write]] = {
    val batches = Vector.newBuilder[Vector[Write]]
    var batch = Vector.newBuilder[Write]
    var last: Option[Write] = None
    var (bytes, partitions) = (0, 0)
    for (write <- writes) {
      val more = if (last.exists(_.token == write.token)) 0 else 1
      val fits = last.forall { last =>
        bytes + write.bytes <= Limits.CopyBatchBytes &&
        partitions + more <= Limits.CopyBatchPartitions &&
        segment(last.token) == segment(write.token)
      }
      if (!fits) {
        batches += batch.result()
        batch = Vector.newBuilder[Write]
        bytes = 0
        partitions = 0
      }
      bytes += write.bytes
      partitions += (if (fits) more else 1)
      batch += write
      last = Some(write)
    }
    if (last.isDefined) batches += batch.result()
    batches.result()
  }
}
