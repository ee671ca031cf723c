//! Every bound of the program, in one place, with the relations between them checked when it is
//! compiled. A length on the wire is compared with a bound from here before memory is taken.

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const MIB_U64: u64 = 1 << 20;
const GIB_U64: u64 = 1 << 30;

// ---- protocol ------------------------------------------------------------------------------

/// Length of an envelope header of protocol v3 and later, in bytes (native_protocol_v4.spec, 2).
pub const ENVELOPE_HEADER_BYTES: usize = 9;
/// Largest envelope body that any protocol version allows, in bytes (native_protocol_v4.spec, 2.5).
pub const ENVELOPE_BODY_MAX_BYTES: usize = 256 * MIB;
/// Largest envelope body accepted unless configured: what Cassandra 4.1 accepts by default.
pub const ENVELOPE_BODY_DEFAULT_BYTES: usize = 16 * MIB;
/// Largest body accepted from a client that is not yet authenticated (CASSANDRA-20052).
pub const PRE_AUTH_BODY_MAX_BYTES: usize = 128 * KIB;
/// Stream ids of one connection: the non-negative half of an `i16`.
pub const STREAMS_PER_CONNECTION: usize = 1 << 15;

// ---- shards and connections -----------------------------------------------------------------

/// Most shards of one process.
pub const SHARDS_MAX: usize = 256;
/// Most client connections of one process unless configured.
pub const CONNECTIONS_DEFAULT: usize = 10_000;
/// Most client connections that may be configured for one process.
pub const CONNECTIONS_MAX: usize = 1_000_000;
/// Requests of one client connection that may be without an answer; more stop the reading.
pub const IN_FLIGHT_PER_CONNECTION: usize = 4096;
/// Unsent bytes towards one peer at which reading from the other side stops, unless configured.
pub const OUT_HIGH_WATER_DEFAULT_BYTES: usize = MIB;
/// Smallest and largest high-water mark that may be configured, in bytes.
pub const OUT_HIGH_WATER_RANGE_BYTES: (usize, usize) = (16 * KIB, 64 * MIB);
/// The low-water mark, at which reading goes on, is the high-water mark divided by this.
pub const OUT_LOW_WATER_DIVISOR: usize = 4;
/// One buffer that the kernel fills with received bytes.
pub const RECEIVE_BUFFER_BYTES: usize = 16 * KIB;
/// Receive buffers that the sockets of one shard share; the ring wants a power of two.
pub const RECEIVE_BUFFERS_PER_SHARD: usize = 512;
/// A buffer that grew for one large envelope is given back when it is empty and above this size.
pub const BUFFER_KEEP_BYTES: usize = 64 * KIB;

/// Bytes from a peer until the TLS handshake has ended: certificates are the most of it.
pub const TLS_HANDSHAKE_MAX_BYTES: usize = 128 * KIB;
/// Certificates are looked at for changes every so many seconds.
pub const TLS_LOOK_TICKS: u32 = 5;
/// TLS sessions with nodes of a cluster that a shard remembers, to resume them.
pub const TLS_SESSIONS: usize = 256;

/// Largest secure connect bundle, a zip file, in bytes; those of Astra DB have 12 KiB.
pub const BUNDLE_MAX_BYTES: u64 = MIB as u64;
/// Largest file in it that is read, unpacked, in bytes.
pub const BUNDLE_PART_MAX_BYTES: u64 = 64 * KIB as u64;
/// Largest answer of the service that a bundle names, in bytes.
pub const BUNDLE_ANSWER_MAX_BYTES: u64 = 64 * KIB as u64;
/// Most nodes that it may name.
pub const BUNDLE_NODES_MAX: usize = 256;
/// The service must have answered after this, in ms.
pub const BUNDLE_ANSWER_TIMEOUT_MS: u64 = 10_000;

// ---- knowledge of one shard -----------------------------------------------------------------

/// Prepared statements that one shard remembers; the oldest unused is forgotten first, and its
/// next EXECUTE gets UNPREPARED, which every driver answers by preparing again.
pub const PREPARED_PER_SHARD: usize = 32_768;
/// Memory for the prepared statements of one shard, in bytes: some 12,000 of usual length. It
/// leaves a process of two shards below 64 MiB when clients prepare whatever they like.
pub const PREPARED_PER_SHARD_BYTES: usize = 12 * MIB;
/// Memory for the classification of statement texts that one shard remembers, in bytes: some
/// thousand texts come again and again, those with values in them do not.
pub const CLASSIFIED_PER_SHARD_BYTES: usize = 4 * MIB;
/// Longest statement text whose classification is remembered, in bytes.
pub const CLASSIFIED_TEXT_MAX_BYTES: usize = 4 * KIB;
/// Tables with lists or counters that one shard remembers: far more than a cluster can have, which
/// grows slow beyond some hundred tables. Of more, the schema says whether they are such.
pub const SENSITIVE_TABLES: usize = 4_096;
/// Stamps of list writes that one shard remembers: at 10,000 of them a second for longer than a
/// conditional write waits to be read back.
pub const LIST_STAMPS: usize = 32_768;
/// Questions of shards that may wait for the control plane.
pub const ASKS: usize = 65_536;

// ---- mirror ---------------------------------------------------------------------------------

/// Mirrored writes of one shard that may be without the target's answer, unless configured.
pub const MIRROR_IN_FLIGHT_DEFAULT: usize = 1024;
/// Largest value of `--mirror-inflight`.
pub const MIRROR_IN_FLIGHT_MAX: usize = STREAMS_PER_CONNECTION - PREPARES_IN_FLIGHT;
/// So many tables with refused writes are named in the log.
pub const TABLES_NAMED: usize = 1_024;
/// Live writes of one shard that wait in memory for the target; more go to the spill.
pub const PENDING_WRITES_PER_SHARD: usize = 16_384;
/// Memory of how many writes that are done a shard keeps for those to come: as many as are on their
/// way at once when all goes well.
pub const SPARE_WRITES_PER_SHARD: usize = 1024;
/// Longest parameters whose memory is kept (bytes); with the above, at most 2 MiB per shard.
pub const SPARE_PARAMS_MAX_BYTES: usize = 2048;
/// Bytes of writes that wait in one shard's memory for the target; more go to the spill.
pub const PENDING_MIRROR_PER_SHARD_BYTES: usize = 24 * MIB;
/// Statements that may be in preparation on one connection of a shard, beside its writes.
pub const PREPARES_IN_FLIGHT: usize = 64;
/// How long a mirrored write may wait for company unless configured, in µs. Each answer of the
/// target wakes a sleeping shard: at 4,000 writes a second 1 ms costs 56 µs of processor time per
/// write, 2 ms 49 and 5 ms 50, but at 14,000 p99 is a quarter higher with 5 (`benches/README.md`,
/// "How long the mirror lingers").
pub const MIRROR_LINGER_DEFAULT_US: u64 = 2_000;
/// Longest configurable wait for company, in µs.
pub const MIRROR_LINGER_MAX_US: u64 = 100_000;
/// The longest that a shard may be told to look for work before it sleeps, in µs.
pub const BUSY_POLL_MAX_US: u64 = 10_000;
/// A mirrored write without an answer for this long counts as failed at the target.
pub const MIRROR_TIMEOUT_MS: u64 = 12_000;
/// A node with requests in flight that has not answered any for this long gets nothing more until
/// it does, in ms.
pub const STALL_MS: u64 = 2_000;
/// Writes in a row that a node could not take, after which it is given a rest.
pub const BREAKER_FAILURES: u32 = 5;
/// Writes that try whether a node is well again; as many good answers end its rest.
pub const BREAKER_PROBES: usize = 2;
/// Requests in flight with which a node begins after its rest; each window's worth of good answers
/// adds as many.
pub const RECOVERY_IN_FLIGHT: usize = 16;
/// Nodes of the target that one shard connects to; of more, each shard takes others.
pub const TARGET_NODES_PER_SHARD: usize = 16;
/// First and longest pause between attempts to reach a target that is down, in ms.
pub const RECONNECT_RANGE_MS: (u64, u64) = (100, 5_000);

/// Rows of one conditional statement that are read back; more are in doubt.
pub const READ_BACK_ROWS: usize = 1_024;
/// Keys that conditional statements took out of one set or map and that the source is asked for one
/// by one; with more, the value is read as a whole.
pub const READ_BACK_KEYS: usize = 256;
/// Rows that wait in one shard to be read back; more are in doubt.
pub const READ_BACK_PENDING: usize = 65_536;
/// Bytes of conditional writes that wait in one shard to be read back; more are in doubt.
pub const READ_BACK_PENDING_BYTES: usize = 8 * MIB;

// ---- stamps ---------------------------------------------------------------------------------

/// How far the stamps of a shard may run ahead of the clock, in µs.
pub const STAMP_AHEAD_MAX_US: u64 = 1_000_000;
/// A client's own stamp further in the future than this is counted and named, in µs.
pub const STAMP_FAR_FUTURE_US: u64 = 60_000_000;

// ---- spill ----------------------------------------------------------------------------------

/// A spill segment is closed when it has grown to this size, in bytes.
pub const SPILL_SEGMENT_BYTES: u64 = 64 * MIB_U64;
/// Room in a record beside the envelope: statement text, keyspace, header.
pub const SPILL_RECORD_EXTRA_BYTES: usize = MIB;
/// Largest spill record, in bytes; a segment with such a record may exceed the segment size.
pub const SPILL_RECORD_MAX_BYTES: usize = ENVELOPE_BODY_MAX_BYTES + SPILL_RECORD_EXTRA_BYTES;
/// Bytes on disk that the spill of all shards may take, unless configured.
pub const SPILL_DEFAULT_BYTES: u64 = 10 * GIB_U64;
/// Space of its file system that the spill leaves free, unless configured, in bytes: progress,
/// stamps and dirty windows must still be written when the spill is full.
pub const SPILL_RESERVE_DEFAULT_BYTES: u64 = 64 * MIB_U64;
/// For how long tables keep their deletes unless configured or known: Cassandra's default, in s.
pub const GC_GRACE_DEFAULT_S: u64 = 10 * 24 * 3600;
/// Longest `--assume-gc-grace`, in s.
pub const GC_GRACE_MAX_S: u64 = 20 * 365 * 24 * 3600;
/// Smallest `--spill-max-bytes` for each shard: two segments, one being written, one drained.
pub const SPILL_MIN_PER_SHARD_BYTES: u64 = 2 * SPILL_SEGMENT_BYTES;

// ---- copy and verify ------------------------------------------------------------------------

/// Rows that the first page of a token range asks for; later ones adapt to the size of the rows.
pub const SCAN_FIRST_PAGE_ROWS: i32 = 200;
/// Most rows of one page.
pub const SCAN_PAGE_ROWS_MAX: i32 = 5_000;
/// Bytes that a page should have.
pub const SCAN_PAGE_BYTES: usize = MIB;
/// Bytes of values in one unlogged batch: below the 5 KiB at which Cassandra warns in its log.
pub const COPY_BATCH_BYTES: usize = 4 * KIB;
/// Partitions in one unlogged batch: Cassandra warns in its log above 10.
pub const COPY_BATCH_PARTITIONS: usize = 10;
/// Threads of a copy or comparison.
pub const COPY_THREADS: usize = 4;
/// Most token ranges that a table of counters is cut into.
pub const COUNTER_SPLITS: usize = 16;
/// A table that forgets deletes earlier than this is warned of before a copy, in s.
pub const COPY_GRACE_MIN_S: i64 = 24 * 3600;
/// Bytes of rows of one token range that may wait for the other side's while they are compared.
pub const JOIN_WAITING_BYTES: usize = 4 * MIB;
/// Rows that differ and are read again together.
pub const RECHECK_ROWS: usize = 512;
/// How often a row that differs is read before the difference counts.
pub const RECHECK_READS: usize = 3;
/// How far the writetimes of list elements may be apart, in µs: a list that had to be written
/// anew is younger than at the source, by 1 µs for each time.
pub const LIST_STAMP_SLACK_US: u64 = 16;
/// Tries of one request to a cluster after which it is said what they fail of.
pub const COMPLAINT_TRIES: u32 = 3;
/// How often a token range is tried, in halves after each failure, before it is reported.
pub const RANGE_ATTEMPTS_MAX: usize = 6;
/// Longest TTL that Cassandra takes, in s: 20 years.
pub const TTL_MAX_S: i64 = 20 * 365 * 24 * 3600;

// ---- journal --------------------------------------------------------------------------------

/// A block of the journal, in bytes: a block is used again once all its records are done, so the
/// few that a busy shard goes round in stay in the second-level cache. With blocks of 1 MiB they do
/// not, which costs an eighth of a write (`benches/README.md`, "What the journal costs").
pub const JOURNAL_BLOCK_BYTES: usize = 64 * KIB;
/// What is left for writes that others wait for.
pub const JOURNAL_SPARE_BYTES: usize = MIB;
/// Address space of one shard's journal, unless configured; only what is used takes memory.
pub const JOURNAL_DEFAULT_BYTES: usize = 64 * MIB;
/// Smallest `--journal-bytes`.
pub const JOURNAL_MIN_BYTES: usize = 8 * MIB;
/// Largest `--journal-bytes`.
pub const JOURNAL_MAX_BYTES: usize = 4096 * MIB;
/// Blocks of a journal whose memory is taken at the start.
pub const JOURNAL_WARM_BLOCKS: usize = 64;

// ---- time -----------------------------------------------------------------------------------

/// A client must have finished its handshake after this, in ms.
pub const HANDSHAKE_TIMEOUT_MS: u64 = 10_000;
/// A connection to source or target must be open after this, in ms.
pub const CONNECT_TIMEOUT_MS: u64 = 5_000;
/// A client's connection to the source must be open after this where it can use another contact
/// point, in ms: drivers wait for 5 s and more, and one lost packet is sent again after one.
pub const SOURCE_CONNECT_TIMEOUT_MS: u64 = 2_000;
/// Period of a shard's housekeeping: heartbeat, counters handed over, timeouts, in ms.
pub const TICK_MS: u64 = 100;
/// A shard whose heartbeat is older than this is not healthy, in ms.
pub const HEARTBEAT_LIMIT_MS: u64 = 3_000;
/// The control thread's questions about a cluster's schema must be answered after this, in ms.
pub const SCHEMA_READ_TIMEOUT_MS: u64 = 10_000;
/// How long the target's nodes may take to agree on a schema that was changed there, in ms; after
/// that those that do not count as down.
pub const SCHEMA_AGREEMENT_MS: u64 = 10_000;
/// Rows of the schema that are asked for at once.
pub const SCHEMA_PAGE_ROWS: i32 = 1_000;
/// How long the admin thread waits for the shards' histograms, in ms.
pub const SNAPSHOT_WAIT_MS: u64 = 300;
/// How long a stop may take to drain unless configured, in ms.
pub const DRAIN_TIMEOUT_DEFAULT_MS: u64 = 30_000;
/// Longest configurable duration of a stop, in ms.
pub const DRAIN_TIMEOUT_MAX_MS: u64 = 3_600_000;
/// Longest `--tcp-idle-time-out`, in s.
pub const IDLE_TIMEOUT_MAX_S: u64 = 7 * 24 * 3600;

const _: () = {
    assert!(PRE_AUTH_BODY_MAX_BYTES < ENVELOPE_BODY_DEFAULT_BYTES);
    assert!(ENVELOPE_BODY_DEFAULT_BYTES <= ENVELOPE_BODY_MAX_BYTES);
    assert!(ENVELOPE_BODY_MAX_BYTES <= i32::MAX as usize); // the length on the wire is an [int]
    assert!(IN_FLIGHT_PER_CONNECTION <= STREAMS_PER_CONNECTION);
    assert!(MIRROR_IN_FLIGHT_DEFAULT <= MIRROR_IN_FLIGHT_MAX);
    assert!(CONNECTIONS_DEFAULT <= CONNECTIONS_MAX);
    assert!(OUT_HIGH_WATER_RANGE_BYTES.0 <= OUT_HIGH_WATER_DEFAULT_BYTES);
    assert!(OUT_HIGH_WATER_DEFAULT_BYTES <= OUT_HIGH_WATER_RANGE_BYTES.1);
    assert!(OUT_LOW_WATER_DIVISOR > 1);
    assert!(RECEIVE_BUFFERS_PER_SHARD.is_power_of_two());
    assert!(RECEIVE_BUFFERS_PER_SHARD <= STREAMS_PER_CONNECTION); // the ring's own bound is 2^15
    assert!(RECEIVE_BUFFER_BYTES >= ENVELOPE_HEADER_BYTES);
    assert!(BUFFER_KEEP_BYTES >= RECEIVE_BUFFER_BYTES);
    // One write of the largest default size must fit into what may wait for the target.
    assert!(PENDING_MIRROR_PER_SHARD_BYTES > ENVELOPE_BODY_DEFAULT_BYTES);
    assert!(CLASSIFIED_TEXT_MAX_BYTES * 100 <= CLASSIFIED_PER_SHARD_BYTES);
    assert!(SPILL_RECORD_MAX_BYTES <= u32::MAX as usize);
    assert!(SPILL_SEGMENT_BYTES > ENVELOPE_BODY_DEFAULT_BYTES as u64);
    assert!(SPILL_MIN_PER_SHARD_BYTES <= SPILL_DEFAULT_BYTES);
    assert!(JOURNAL_BLOCK_BYTES.is_power_of_two());
    assert!(JOURNAL_MIN_BYTES >= JOURNAL_WARM_BLOCKS * JOURNAL_BLOCK_BYTES);
    assert!(JOURNAL_MIN_BYTES <= JOURNAL_DEFAULT_BYTES);
    assert!(JOURNAL_DEFAULT_BYTES <= JOURNAL_MAX_BYTES);
    // One write of the largest default size leaves most of the journal to others.
    assert!(JOURNAL_DEFAULT_BYTES >= 3 * (ENVELOPE_BODY_DEFAULT_BYTES + SPILL_RECORD_EXTRA_BYTES));
    assert!(RECONNECT_RANGE_MS.0 < RECONNECT_RANGE_MS.1);
    assert!(STALL_MS < MIRROR_TIMEOUT_MS);
    assert!(BREAKER_PROBES <= RECOVERY_IN_FLIGHT);
    assert!(RECOVERY_IN_FLIGHT <= MIRROR_IN_FLIGHT_DEFAULT);
    assert!(MIRROR_IN_FLIGHT_DEFAULT <= PENDING_WRITES_PER_SHARD);
    assert!(MIRROR_IN_FLIGHT_MAX + PREPARES_IN_FLIGHT <= STREAMS_PER_CONNECTION);
    assert!(MIRROR_LINGER_DEFAULT_US <= MIRROR_LINGER_MAX_US);
    assert!(TICK_MS * 10 <= HEARTBEAT_LIMIT_MS);
    assert!(TICK_MS < SNAPSHOT_WAIT_MS);
    assert!(CONNECT_TIMEOUT_MS <= HANDSHAKE_TIMEOUT_MS);
    assert!(SOURCE_CONNECT_TIMEOUT_MS < CONNECT_TIMEOUT_MS);
    assert!(DRAIN_TIMEOUT_DEFAULT_MS <= DRAIN_TIMEOUT_MAX_MS);
};
