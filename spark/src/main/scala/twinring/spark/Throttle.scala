package twinring.spark

import java.util.concurrent.{CompletionStage, LinkedBlockingQueue}
import java.util.function.BiConsumer

/** How many requests of a task may be under way, and how many rows a second: fewer while the
  * cluster times out or says that it is overloaded, slowly more again afterwards. `complain` is
  * told what requests fail of, and how often, when they are sent again.
  */
final class Throttle(
    max: Int,
    rate: Option[Double],
    complain: (Failure, Int) => Unit,
    nowNs: () => Long = () => System.nanoTime()) {
  private var limit = max
  private var out = 0
  private var successes = 0
  private var lastCutNs: Option[Long] = None
  private var nextNs = nowNs()

  private[spark] def limitNow: Int = synchronized(limit)

  /** Waits for leave to send a request. */
  def acquire(): Unit = synchronized {
    while (out >= limit) wait()
    out += 1
  }

  def release(): Unit = synchronized {
    out -= 1
    notifyAll()
  }

  /** A request was answered. */
  def succeeded(): Unit = synchronized {
    successes += 1
    if (limit < max && successes >= limit) {
      successes = 0
      limit += 1
      notifyAll()
    }
  }

  /** The cluster did not keep up. */
  def pushedBack(): Unit = synchronized {
    val now = nowNs()
    if (lastCutNs.forall(last => now - last >= Limits.CutEveryMs * 1000000)) {
      lastCutNs = Some(now)
      successes = 0
      limit = (limit / 2).max(1)
    }
  }

  /** A request has failed so many times and will be sent again. */
  def failed(failure: Failure, tries: Int): Unit = {
    pushedBack()
    complain(failure, tries)
  }

  /** Waits until this many rows more are within the rate. */
  def rows(count: Int): Unit = rate.foreach { rate =>
    val waitNs = synchronized {
      val now = nowNs()
      val at = nextNs.max(now)
      nextNs = at + (count * 1e9 / rate).toLong
      at - now
    }
    if (waitNs > 0) Thread.sleep(waitNs / 1000000, (waitNs % 1000000).toInt)
  }

  /** Sends a request for each item, as many at once as allowed, again after a failure that may
    * pass, and gives the answers in the items' order. `send` is told how often the item was tried
    * before.
    *
    * Throws a [[Failure]] when one fails for good, or for too long.
    */
  def all[A, B](side: String, items: Seq[A])(send: (A, Int) => CompletionStage[B]): Vector[B] = {
    val answers = new Array[Any](items.size)
    var open = items.toVector.zipWithIndex
    val beganNs = nowNs()
    var tries = 0
    while (open.nonEmpty) {
      val again = once(side, open, tries, answers)(send)
      again.collectFirst { case (_, failure) if failure.isFinal => throw failure }
      again.headOption.foreach { case (_, failure) =>
        if (nowNs() - beganNs > Limits.GiveUpMs * 1000000) throw failure
        tries += 1
        failed(failure, tries)
        Thread.sleep(again.flatMap(_._2.waitMs).foldLeft(Failure.backoffMs(tries))(_ max _))
      }
      open = again.map(_._1).sortBy(_._2)
    }
    answers.toVector.asInstanceOf[Vector[B]]
  }

  private def once[A, B](
      side: String,
      open: Vector[(A, Int)],
      tries: Int,
      answers: Array[Any])(
      send: (A, Int) => CompletionStage[B]): Vector[((A, Int), Failure)] = {
    val ended = new LinkedBlockingQueue[((A, Int), Either[Throwable, B])]
    open.foreach { item =>
      acquire()
      val sent =
        try Right(send(item._1, tries))
        catch { case scala.util.control.NonFatal(e) => Left(e) }
      sent match {
        case Left(error) =>
          release()
          ended.put((item, Left(error)))
        case Right(stage) =>
          stage.whenComplete(new BiConsumer[B, Throwable] {
            override def accept(answer: B, error: Throwable): Unit = {
              release()
              ended.put((item, if (error == null) Right(answer) else Left(error)))
            }
          })
      }
    }
    open.flatMap { _ =>
      ended.take() match {
        case (item, Right(answer)) =>
          succeeded()
          answers(item._2) = answer
          None
        case (item, Left(error)) => Some((item, Failure.of(side, error)))
      }
    }
  }
}
