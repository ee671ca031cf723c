package twinring.spark

import java.util.concurrent.{LinkedBlockingQueue, TimeUnit}

import org.apache.spark.{SparkContext, TaskContext}

import scala.reflect.ClassTag
import scala.util.Random
import scala.util.control.NonFatal

/** One pass over one table. */
final case class Step(table: Table, pass: Pass)

/** A token range of one step; `attempt` 0 is the first. */
final case class Job(step: Int, range: TokenRange, attempt: Int) {

  /** What to try in place of a range that failed: its halves, so that what is wrong is narrowed
    * down; none after enough tries.
    */
  def again: Option[Seq[Job]] =
    if (attempt + 1 >= Limits.RangeAttemptsMax) None
    else
      Some(range.halves.getOrElse(Seq(range)).map(Job(step, _, attempt + 1)))
}

/** Works through token ranges as Spark tasks, one each; what fails is split and tried again. */
object Jobs {

  /** Runs `work` on all jobs and `finished`, on the driver and one at a time, on what came of them;
    * it is called every second with what there is. Gives the jobs that could not be done.
    *
    * `work` is told whether another try of its range may have done a part of it already, `again`
    * which jobs have failed and are tried again. Throws when nothing succeeds any more, or when
    * `finished` does.
    */
  def run[T: ClassTag](
      sc: SparkContext,
      jobs: Seq[Job],
      what: String,
      again: (Job, Failure) => Unit)(
      work: (Job, Boolean) => T)(
      finished: Seq[(Job, T)] => Unit): Vector[(Job, String)] = {
    var open = jobs.toVector
    var failed = Vector.empty[(Job, String)]
    var (round, failuresInARow) = (1, 0)
    while (open.nonEmpty) {
      sc.setJobDescription(s"twinring: $what" + (if (round > 1) s", try $round" else ""))
      var next = Vector.empty[Job]
      once(sc, open)(work) { results =>
        finished(results.collect { case (job, Right(result)) => (job, result) })
        results.foreach {
          case (job, Left(failure)) =>
            failuresInARow += 1
            if (failuresInARow > sc.defaultParallelism * Limits.RangeAttemptsMax)
              throw new UsageError(s"nothing succeeds any more; the last failure: ${failure.words}")
            job.again match {
              case Some(jobs) =>
                again(job, failure)
                next ++= jobs
              case None => failed :+= ((job, failure.words))
            }
          case _ => failuresInARow = 0
        }
      }
      open = next
      round += 1
    }
    sc.setJobDescription(null)
    failed
  }

  private def once[T: ClassTag](sc: SparkContext, jobs: Vector[Job])(
      work: (Job, Boolean) => T)(
      each: Seq[(Job, Either[Failure, T])] => Unit): Unit = {
    // Neighbours lie on the same nodes: what runs at once shall not.
    val mixed = new Random(1).shuffle(jobs)
    val ended = new LinkedBlockingQueue[(Job, Either[Failure, T])]
    val rdd = sc.makeRDD(mixed, mixed.size)
    val action = sc.submitJob[Job, Either[Failure, T], Unit](
      rdd,
      (jobs: Iterator[Job]) => {
        val job = jobs.next()
        val isAgain = job.attempt > 0 || TaskContext.get().attemptNumber() > 0
        try Right(work(job, isAgain))
        catch { case NonFatal(error) => Left(Failure.ofRange(error)) }
      },
      mixed.indices,
      (index: Int, result: Either[Failure, T]) => ended.put((mixed(index), result)),
      ())
    try {
      while (!(action.isCompleted && ended.isEmpty)) {
        val first = Option(ended.poll(Limits.CheckpointEveryMs, TimeUnit.MILLISECONDS))
        val results = Vector.newBuilder[(Job, Either[Failure, T])]
        first.foreach { one =>
          results += one
          if (!action.isCompleted) Thread.sleep(Limits.CheckpointEveryMs / 4)
          Iterator.continually(ended.poll()).takeWhile(_ != null).foreach(results += _)
          each(results.result())
        }
      }
      action.get()
    } catch {
      case e: Throwable =>
        action.cancel()
        throw e
    }
  }
}
