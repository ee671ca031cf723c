package twinring.spark

/** Every bound of the two jobs; the same as those of `twinring copy` and `twinring verify`. */
object Limits {

  /** Rows that the first page of a token range asks for; later ones adapt to the rows' size. */
  val ScanFirstPageRows = 200

  /** Most rows of one page. */
  val ScanPageRowsMax = 5000

  /** Bytes that a page should have. */
  val ScanPageBytes: Int = 1 << 20

  /** Bytes of values in one unlogged batch: below the 5 KiB at which Cassandra warns. */
  val CopyBatchBytes: Int = 4 << 10

  /** Partitions in one unlogged batch: Cassandra warns above 10. */
  val CopyBatchPartitions = 10

  /** Most token ranges that a table of counters is cut into. */
  val CounterSplits = 16

  /** A table that forgets deletes earlier than this is warned of before a copy, in s. */
  val CopyGraceMinS: Long = 24L * 3600

  /** Bytes of rows of one token range that may wait for the other side's. */
  val JoinWaitingBytes: Long = 4L << 20

  /** Rows that differ and are read again together. */
  val RecheckRows = 512

  /** How often a row that differs is read before the difference counts. */
  val RecheckReads = 3

  /** How often a row of counters is looked at before it is left alone. */
  val CounterRounds = 5

  /** How far writetimes of list elements may be apart, in µs: a list that had to be written anew
    * is younger than at the source, by 1 µs for each time.
    */
  val ListStampSlackUs = 16L

  /** How often a token range is tried, in halves after each failure, before it is reported. */
  val RangeAttemptsMax = 6

  /** Longest TTL that Cassandra takes, in s: 20 years. */
  val TtlMaxS: Long = 20L * 365 * 24 * 3600

  /** How long a request is tried before its token range fails, in ms. */
  val GiveUpMs = 60000L

  /** How often a request has failed when that is said; it is tried on. */
  val ComplaintTries = 3

  /** Several requests fail of one cause: the limit is halved once in this time, in ms. */
  val CutEveryMs = 500L

  /** How long finished ranges may wait until the checkpoint is written, in ms. */
  val CheckpointEveryMs = 1000L
}
