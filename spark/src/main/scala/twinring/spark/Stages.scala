package twinring.spark

import java.util.concurrent.{CompletableFuture, CompletionException, CompletionStage}

/** Answers that are still to come, as the driver gives them. */
private[spark] object Stages {

  def done[T](value: T): CompletionStage[T] = CompletableFuture.completedFuture(value)

  implicit final class Ops[A](private val stage: CompletionStage[A]) extends AnyVal {
    def map[B](f: A => B): CompletionStage[B] = stage.thenApply[B](a => f(a))

    def flatMap[B](f: A => CompletionStage[B]): CompletionStage[B] =
      stage.thenCompose[B](a => f(a))

    def zip[B](other: CompletionStage[B]): CompletionStage[(A, B)] =
      flatMap(a => new Ops(other).map(b => (a, b)))

    /** Also takes what went wrong; what it throws goes on. */
    def handled[B](f: Either[Throwable, A] => B): CompletionStage[B] =
      stage.handle[B]((answer, error) =>
        f(if (error == null) Right(answer) else Left(error)))
  }

  /** Passes what went wrong on. */
  def raise(error: Throwable): Nothing = error match {
    case e: CompletionException => throw e
    case e                      => throw new CompletionException(e)
  }
}
