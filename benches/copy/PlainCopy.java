import com.datastax.oss.driver.api.core.CqlSession;
import com.datastax.oss.driver.api.core.cql.AsyncResultSet;
import com.datastax.oss.driver.api.core.cql.PreparedStatement;
import com.datastax.oss.driver.api.core.cql.SimpleStatement;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Random;
import java.util.concurrent.CompletionStage;
import org.apache.spark.sql.SparkSession;

/**
 * The other side of the comparison, and what both need: a table, and a copy of it as the Spark
 * connector makes it. One writetime for all; no TTLs; nothing of the cells' stamps is kept.
 *
 * <p>create NODE | fill NODE ROWS PER_PARTITION | truncate NODE | copy SOURCE TARGET TIMES
 */
public final class PlainCopy {
  private static final String KEYSPACE = "bench";
  private static final String TABLE = "history";
  private static final int AT_ONCE = 256;

  public static void main(String[] words) throws Exception {
    switch (words[0]) {
      case "create" -> onNode(words[1], PlainCopy::create);
      case "fill" -> {
        int rows = Integer.parseInt(words[2]);
        int perPartition = Integer.parseInt(words[3]);
        onNode(words[1], session -> fill(session, rows, perPartition));
      }
      case "truncate" -> onNode(words[1], PlainCopy::truncate);
      case "copy" -> copy(words[1], words[2], Integer.parseInt(words[3]));
      default -> throw new IllegalArgumentException(words[0]);
    }
  }

  private interface Work {
    void with(CqlSession session) throws Exception;
  }

  private static void onNode(String node, Work work) throws Exception {
    try (CqlSession session =
        CqlSession.builder()
            .addContactPoint(new InetSocketAddress(node, 9042))
            .withLocalDatacenter("datacenter1")
            .build()) {
      work.with(session);
    }
  }

  private static void run(CqlSession session, String text) {
    session.execute(SimpleStatement.newInstance(text).setTimeout(Duration.ofMinutes(1)));
  }

  private static void create(CqlSession session) {
    run(
        session,
        "CREATE KEYSPACE " + KEYSPACE + " WITH replication = "
            + "{'class': 'SimpleStrategy', 'replication_factor': 1}");
    run(
        session,
        "CREATE TABLE " + KEYSPACE + "." + TABLE + " (p bigint, c int, name text, note text, "
            + "amount bigint, ratio double, seen timestamp, raw blob, PRIMARY KEY (p, c))");
  }

  /** One INSERT for each row: about 200 bytes in six cells with one stamp. */
  private static void fill(CqlSession session, int rows, int perPartition) throws Exception {
    PreparedStatement insert =
        session.prepare(
            "INSERT INTO " + KEYSPACE + "." + TABLE + " (p, c, name, note, amount, ratio, seen, "
                + "raw) VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
    Random random = new Random(1);
    ArrayDeque<CompletionStage<AsyncResultSet>> underWay = new ArrayDeque<>();
    for (int row = 0; row < rows; row++) {
      byte[] raw = new byte[100];
      random.nextBytes(raw);
      underWay.add(
          session.executeAsync(
              insert.bind(
                  (long) row / perPartition,
                  row % perPartition,
                  "name " + row,
                  "a note of some words, number " + random.nextLong(),
                  random.nextLong(),
                  random.nextDouble(),
                  java.time.Instant.ofEpochMilli(1_700_000_000_000L + row),
                  ByteBuffer.wrap(raw))));
      if (underWay.size() >= AT_ONCE) {
        underWay.remove().toCompletableFuture().get();
      }
    }
    while (!underWay.isEmpty()) {
      underWay.remove().toCompletableFuture().get();
    }
  }

  private static void truncate(CqlSession session) {
    run(session, "TRUNCATE " + KEYSPACE + "." + TABLE);
  }

  /** As its documentation has it; the second time the virtual machine is warm. */
  private static void copy(String source, String target, int times) throws Exception {
    SparkSession spark =
        SparkSession.builder()
            .master("local[2]")
            .appName("plain copy")
            .config("spark.ui.enabled", "false")
            .config("spark.driver.host", "127.0.0.1")
            .config("spark.driver.bindAddress", "127.0.0.1")
            .config("source/spark.cassandra.connection.host", source)
            .config("target/spark.cassandra.connection.host", target)
            .getOrCreate();
    for (int time = 0; time < times; time++) {
      onNode(target, PlainCopy::truncate);
      long began = System.nanoTime();
      spark
          .read()
          .format("org.apache.spark.sql.cassandra")
          .option("cluster", "source")
          .option("keyspace", KEYSPACE)
          .option("table", TABLE)
          .load()
          .write()
          .format("org.apache.spark.sql.cassandra")
          .option("cluster", "target")
          .option("keyspace", KEYSPACE)
          .option("table", TABLE)
          .mode("append")
          .save();
      System.out.printf("copied %.3f%n", (System.nanoTime() - began) / 1e9);
    }
    spark.stop();
  }
}
