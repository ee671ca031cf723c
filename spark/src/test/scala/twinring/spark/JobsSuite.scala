package twinring.spark

import org.scalatest.funsuite.AnyFunSuite

/** Token ranges as Spark tasks, without a cluster. */
final class JobsSuite extends AnyFunSuite {
  private val jobs = Tokens.cut(Nil, 20).map(Job(0, _, 0))

  test("a poisoned token is narrowed down, and everything else is done once") {
    val poison = 12345L
    var done = Vector.empty[TokenRange]
    var again = Vector.empty[(Job, String)]
    val complain = (job: Job, failure: Failure) => again :+= ((job, failure.words))
    val failed = Jobs.run(Lab.spark.sparkContext, jobs, "test", complain) { (job, isAgain) =>
      if (job.range.after < poison && poison <= job.range.upTo)
        throw new Failure("source", "poison", true)
      (job.range, isAgain)
    } { ended =>
      ended.foreach { case (job, (range, isAgain)) =>
        assert(range == job.range && isAgain == job.attempt > 0)
        done :+= range
      }
    }
    val Vector((job, words)) = failed
    assert(words == "source: poison" && job.range.share < 0.01, failed)
    assert(again.map(_._1.attempt) == (0 until Limits.RangeAttemptsMax - 1))
    assert(again.forall { case (job, said) => job.range.upTo >= poison && said == words })
    assert(Tokens.subtract(Seq(TokenRange.All), done) == Seq(job.range))
    assert(done.map(_.share).sum + job.range.share < 1.000001, "twice")
  }

  test("it ends when nothing succeeds any more, and when what is done cannot be written down") {
    val sc = Lab.spark.sparkContext
    val ignore = (_: Job, _: Failure) => ()
    val nothing = intercept[UsageError] {
      Jobs.run[Int](sc, jobs, "test", ignore)((_, _) => throw new UsageError("down"))(_ => ())
    }
    assert(nothing.getMessage == "nothing succeeds any more; the last failure: down")
    val full = intercept[java.io.IOException] {
      Jobs.run(sc, jobs, "test", ignore)((_, _) => 1)(_ => throw new java.io.IOException("full"))
    }
    assert(full.getMessage == "full")
    assert(Jobs.run(sc, jobs, "test", ignore)((_, _) => 1)(_ => ()).isEmpty, "Spark goes on")
  }
}
