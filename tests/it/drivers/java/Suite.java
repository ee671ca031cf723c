// The statement matrix with the Java driver 4, default discovery, one contact point. Reads its
// orders from TWINRING_* variables (tests/README.md), prints one JSON object per step, leaves with
// 1 when a step failed. Every value is fixed, so that two runs leave equal tables.

import com.datastax.oss.driver.api.core.ConsistencyLevel;
import com.datastax.oss.driver.api.core.CqlIdentifier;
import com.datastax.oss.driver.api.core.CqlSession;
import com.datastax.oss.driver.api.core.CqlSessionBuilder;
import com.datastax.oss.driver.api.core.config.DefaultDriverOption;
import com.datastax.oss.driver.api.core.config.DriverConfigLoader;
import com.datastax.oss.driver.api.core.cql.*;
import com.datastax.oss.driver.api.core.data.CqlDuration;
import com.datastax.oss.driver.api.core.data.CqlVector;
import com.datastax.oss.driver.api.core.data.TupleValue;
import com.datastax.oss.driver.api.core.data.UdtValue;
import com.datastax.oss.driver.api.core.metadata.Node;
import com.datastax.oss.driver.api.core.ssl.ProgrammaticSslEngineFactory;
import com.datastax.oss.driver.api.core.type.TupleType;
import com.datastax.oss.driver.api.core.type.UserDefinedType;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalTime;
import java.util.*;
import java.util.concurrent.CompletionStage;
import java.util.stream.Collectors;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public class Suite {
  static final long STAMP = 1_750_000_000_000_000L;
  static final String KS = env("KEYSPACE");
  static CqlSession session, direct;

  interface Step {
    void run() throws Exception;
  }

  static String env(String name) {
    return System.getenv().getOrDefault("TWINRING_" + name, "");
  }

  static InetSocketAddress address(String text) {
    int colon = text.lastIndexOf(':');
    return new InetSocketAddress(text.substring(0, colon),
        Integer.parseInt(text.substring(colon + 1)));
  }

  static CqlSession open(String contact, String keyspace) {
    return open(contact, keyspace, env("PROTOCOL").replace("0", ""));
  }

  static CqlSession open(String contact, String keyspace, String protocol) {
    var config = DriverConfigLoader.programmaticBuilder()
        .withDuration(DefaultDriverOption.REQUEST_TIMEOUT, Duration.ofSeconds(60))
        .withDuration(DefaultDriverOption.CONNECTION_INIT_QUERY_TIMEOUT, Duration.ofSeconds(30))
        .withDuration(DefaultDriverOption.CONTROL_CONNECTION_TIMEOUT, Duration.ofSeconds(30))
        .withDuration(DefaultDriverOption.METADATA_SCHEMA_REQUEST_TIMEOUT, Duration.ofSeconds(30));
    if (!protocol.isEmpty())
      config.withString(DefaultDriverOption.PROTOCOL_VERSION, "V" + protocol);
    if (!env("COMPRESSION").isEmpty())
      config.withString(DefaultDriverOption.PROTOCOL_COMPRESSION, env("COMPRESSION"));
    if (env("STAMPS").equals("server"))
      config.withString(DefaultDriverOption.TIMESTAMP_GENERATOR_CLASS, "ServerSideTimestampGenerator");
    var builder = builder(contact).withConfigLoader(config.build());
    return keyspace == null ? builder.build() : builder.withKeyspace(keyspace).build();
  }

  /** A session to be, with a login and over TLS where the environment says so. */
  static CqlSessionBuilder builder(String contact) {
    var builder = CqlSession.builder().addContactPoint(address(contact))
        .withLocalDatacenter("datacenter1");
    if (!env("USER").isEmpty()) builder.withAuthCredentials(env("USER"), env("PASSWORD"));
    if (!env("TLS_CA").isEmpty() && contact.equals(env("CONTACT"))) // it checks names, too
      builder.withSslEngineFactory(new ProgrammaticSslEngineFactory(trusting(), null, true));
    return builder;
  }

  /** TLS with who is signed by TWINRING_TLS_CA. */
  static SSLContext trusting() {
    try (var pem = Files.newInputStream(Path.of(env("TLS_CA")))) {
      var store = KeyStore.getInstance(KeyStore.getDefaultType());
      store.load(null, null);
      var certificate = CertificateFactory.getInstance("X.509").generateCertificate(pem);
      store.setCertificateEntry("ca", certificate);
      var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
      trust.init(store);
      var context = SSLContext.getInstance("TLS");
      context.init(null, trust.getTrustManagers(), null);
      return context;
    } catch (Exception e) {
      throw new IllegalStateException(e);
    }
  }

  static ResultSet exec(String text, Object... values) {
    return session.execute(SimpleStatement.newInstance(text, values));
  }

  static ResultSet prepared(String text, Object... values) {
    return session.execute(session.prepare(text).bind(values));
  }

  static void check(boolean ok, Object... words) {
    if (!ok) throw new AssertionError(Arrays.toString(words));
  }

  /** The rows of an answer as text, one space between columns. */
  static List<String> rows(String text) {
    List<String> out = new ArrayList<>();
    for (Row row : exec(text)) {
      List<String> cells = new ArrayList<>();
      for (int i = 0; i < row.getColumnDefinitions().size(); i++)
        cells.add(String.valueOf(row.getObject(i)));
      out.add(String.join(" ", cells));
    }
    return out;
  }

  static void expect(String text, String... want) {
    check(rows(text).equals(List.of(want)), text, rows(text), List.of(want));
  }

  static List<String> statements(String name) throws Exception {
    String text = Files.readAllLines(Path.of(env("DRIVERS"), name)).stream()
        .filter(line -> !line.startsWith("--")).collect(Collectors.joining("\n"));
    return Arrays.stream((text + "\n").split(";\n")).map(String::strip)
        .filter(s -> !s.isEmpty()).collect(Collectors.toList());
  }

  static boolean hasUnset() {
    return session.getContext().getProtocolVersion().getCode() >= 4;
  }

  static void discovery() {
    for (Node node : session.getMetadata().getNodes().values())
      check(node.getEndPoint().resolve().equals(address(env("CONTACT"))), "a way around:", node);
    check(session.getMetadata().getNodes().size() == 1, session.getMetadata().getNodes());
    check(session.getMetadata().getTokenMap().isPresent(), "no token map");
  }

  static void schema() throws Exception {
    if (!env("SCHEMA").equals("present")) {
      for (String text : statements("schema.cql")) exec(text);
      if (env("VECTOR").equals("1"))
        for (String text : statements("schema-vector.cql")) exec(text);
    }
    session.refreshSchema();
    var tables = session.getMetadata().getKeyspace(KS).get().getTables();
    check(tables.containsKey(CqlIdentifier.fromInternal("QuotedTable")), tables.keySet());
  }

  static void simple() {
    exec("INSERT INTO plain (id, v, w) VALUES (1, 'one', 1)");
    exec("insert into " + KS + ".PLAIN (ID, V) values (2, 'it''s') ;");
    exec("-- lead\nUPDATE plain SET v = $$dollar's$$ /* mid */ WHERE id = 3 // end\n");
    session.execute(SimpleStatement.newInstance("INSERT INTO plain (id, v) VALUES (4, 'q')")
        .setConsistencyLevel(ConsistencyLevel.LOCAL_QUORUM));
    expect("SELECT v FROM plain WHERE id IN (1, 2, 3)", "one", "it's", "dollar's");
  }

  static void bound() {
    exec("INSERT INTO plain (id, v, w) VALUES (?, ?, ?)", 50, "by position 漢", 5);
    exec("INSERT INTO plain (id, v) VALUES (?, ?) USING TIMESTAMP ?", 51, "stamp", STAMP);
    session.execute(SimpleStatement.newInstance("INSERT INTO plain (id, v, w) VALUES (:i, :v, :w)",
        Map.of("i", 52, "v", "by name", "w", 7)));
    session.execute(SimpleStatement.newInstance("UPDATE plain SET w = :w WHERE id = :i",
        Map.of("i", 50, "w", 6)));
    exec("UPDATE plain SET v = ? WHERE id = ?", null, 52);
    expect("SELECT v, w FROM plain WHERE id IN (50, 51, 52)", "by position 漢 6", "stamp null",
        "null 7");
  }

  static void preparedStatements() throws Exception {
    PreparedStatement insert = session.prepare("INSERT INTO plain (id, v, w) VALUES (?, ?, ?)");
    List<CompletionStage<AsyncResultSet>> pending = new ArrayList<>();
    for (int i = 0; i < 400; i++)
      pending.add(session.executeAsync(insert.bind(100 + i, "p" + i, i)));
    for (var stage : pending) stage.toCompletableFuture().get();
    session.execute(insert.bind(600, null, 1));
    session.execute(insert.bind(601, "before", 1));
    if (hasUnset()) session.execute(insert.boundStatementBuilder().setInt(0, 601).setInt(2, 2).build());
    else exec("UPDATE plain SET w = 2 WHERE id = 601");
    prepared("UPDATE plain SET v = :value WHERE id = :id", "named", 602);
    expect("SELECT v, w FROM plain WHERE id IN (600, 601, 602)", "null 1", "before 2", "named null");
    expect("SELECT count(*) FROM plain WHERE id >= 100 AND id < 500 ALLOW FILTERING", "400");
  }

  static void batches() {
    PreparedStatement insert = session.prepare("INSERT INTO plain (id, v) VALUES (?, ?)");
    int base = 1000;
    for (BatchType kind : List.of(DefaultBatchType.LOGGED, DefaultBatchType.UNLOGGED)) {
      BatchStatementBuilder batch = BatchStatement.builder(kind);
      for (int i = 0; i < 10; i++) batch.addStatement(insert.bind(base + i, "prepared"));
      batch.addStatement(SimpleStatement.newInstance("DELETE FROM plain WHERE id = " + base));
      batch.addStatement(SimpleStatement.newInstance("UPDATE plain SET v = ? WHERE id = ?", "simple",
          base + 20));
      session.execute(batch.build());
      session.execute(BatchStatement.builder(kind).addStatement(insert.bind(base + 30, "s")).build()
          .setQueryTimestamp(STAMP + 1));
      base += 100;
    }
    exec("BEGIN BATCH INSERT INTO plain (id, v) VALUES (1300, 'a'); UPDATE plain SET w = 3 "
        + "WHERE id = 1301; APPLY BATCH");
    prepared("BEGIN UNLOGGED BATCH USING TIMESTAMP ? INSERT INTO plain (id, v) VALUES (?, ?); "
        + "APPLY BATCH", STAMP, 1302, "prepared text");
    expect("SELECT writetime(v) FROM plain WHERE id IN (1030, 1130, 1302)", "" + (STAMP + 1),
        "" + (STAMP + 1), "" + STAMP);
  }

  static void stampsAndTtl() {
    exec("INSERT INTO plain (id, v) VALUES (2000, 'x') USING TTL 8000 AND TIMESTAMP " + STAMP);
    prepared("UPDATE plain USING TIMESTAMP ? SET v = ? WHERE id = ?", STAMP, "bound", 2001);
    prepared("DELETE FROM plain USING TIMESTAMP ? WHERE id = ?", STAMP - 1, 2001);
    session.execute(SimpleStatement.newInstance("INSERT INTO plain (id, v) VALUES (2002, 'f')")
        .setQueryTimestamp(STAMP + 3));
    exec("INSERT INTO expiring (id, v) VALUES (1, 'default')");
    prepared("INSERT INTO expiring (id, v) VALUES (?, ?) USING TTL ?", 2, "bound", 7000);
    exec("UPDATE expiring USING TTL 0 SET v = 'none' WHERE id = 3");
    for (int i = 0; i < 100; i++) prepared("UPDATE plain SET w = ? WHERE id = 2003", i);
    expect("SELECT w FROM plain WHERE id = 2003", "99");
    expect("SELECT writetime(v) FROM plain WHERE id IN (2001, 2002)", "" + STAMP, "" + (STAMP + 3));
  }

  static void deletes() {
    for (int pk = 1; pk <= 3; pk++)
      for (int ck = 0; ck < 10; ck++)
        prepared("INSERT INTO wide (pk, ck, cl, s, v) VALUES (?, ?, 'a', ?, 'v')", pk, ck, "s" + pk);
    prepared("DELETE v FROM wide WHERE pk = ? AND ck = ? AND cl = ?", 1, 1, "a");
    exec("DELETE FROM wide WHERE pk = 1 AND ck = 2 AND cl = 'a'");
    prepared("DELETE FROM wide WHERE pk = ? AND ck > ? AND ck <= ?", 2, 3, 6);
    exec("DELETE FROM wide WHERE pk = 3");
    exec("UPDATE wide SET s = 'only static' WHERE pk = 4");
    expect("SELECT count(*) FROM wide", "17");
  }

  static UdtValue home(String street, int zip) {
    UserDefinedType type = session.getMetadata().getKeyspace(KS).get()
        .getUserDefinedType("address").get();
    return type.newValue(street, zip, Set.of("x"));
  }

  static void kinds() throws Exception {
    if (!hasUnset()) { // on v3 this driver has no codec for date, time, smallint and tinyint
      exec("INSERT INTO kinds (id, d, ti, si, ty) VALUES (1, '2024-02-29', '1:2:3', 5, 6)");
      return;
    }
    String names = "id a b bl bo d de dbl du f i n si t ti ts tu ty u vi tup fudt fl fs fm";
    String columns = names.replace(" ", ", ");
    String marks = names.replaceAll("[a-z]+", "?").replace(" ", ", ");
    PreparedStatement insert =
        session.prepare("INSERT INTO kinds (" + columns + ") VALUES (" + marks + ")");
    TupleType tuple = (TupleType) insert.getVariableDefinitions().get("tup").getType();
    TupleValue seven = tuple.newValue(7, "seven", List.of(1, 2));
    Object[] values = {1, "ascii", Long.MIN_VALUE, ByteBuffer.wrap(new byte[] {0, -1, 1}), true,
        LocalDate.of(2024, 2, 29), new BigDecimal("-1.23E-30"), 1e300, CqlDuration.from("3mo2d5ns"),
        1.5f, InetAddress.getByName("fe80::1:2:3:4"), Integer.MIN_VALUE, (short) -32768,
        "t漢字\ud83d\ude00", LocalTime.ofNanoOfDay(86_399_999_999_999L),
        Instant.ofEpochMilli(1_709_209_815_123L),
        UUID.fromString("d2177dd0-eaa2-11de-a572-001b779c76e3"), (byte) -128,
        UUID.fromString("b3f2c1d0-0000-4000-8000-00000000abcd"), BigInteger.TWO.pow(200).negate(),
        seven, home("Main 1", 12345), List.of(3, 1, 2), new TreeSet<>(List.of("a", "b")),
        Map.of("k", 1)};
    session.execute(insert.bind(values));
    Object[] nothing = new Object[values.length];
    nothing[0] = 2;
    session.execute(insert.bind(nothing));
    Row row = exec("SELECT " + columns + " FROM kinds WHERE id = 1").one();
    for (int i = 0; i < values.length; i++)
      check(Objects.equals(row.getObject(i), values[i]), columns.split(", ")[i], row.getObject(i));
  }

  static void collections() {
    exec("INSERT INTO gathered (id, s, m, l) VALUES (1, {'a', 'b'}, {'k': 1}, [1, 2, 3])");
    prepared("INSERT INTO gathered (id, s, m, l, u) VALUES (?, ?, ?, ?, ?)", 2, Set.of("x"),
        Map.of("p", 1), List.of(9, 8), home("S", 9));
    for (String text : List.of("s = s + {'c'}, m['q'] = 2", "s = s - {'a'}", "l = l + [4]",
        "l = [0] + l", "l[1] = 11", "l = l - [2]"))
      exec("UPDATE gathered SET " + text + " WHERE id = 1");
    exec("DELETE l[0], m['k'] FROM gathered WHERE id = 1");
    exec("UPDATE gathered SET u.zip = 5 WHERE id = 2");
    prepared("UPDATE gathered SET s = s + ?, l = l + ? WHERE id = ?", Set.of("y"), List.of(7), 2);
    expect("SELECT s, m, l FROM gathered WHERE id = 1", "[b, c] {q=2} [11, 3, 4]");
  }

  static void namesAndKeyspaces() {
    exec("INSERT INTO \"QuotedTable\" (\"Id\", \"select\", \"a \"\"b\"\" c\") VALUES (1, 'x', 'y')");
    prepared("UPDATE " + KS + ".\"QuotedTable\" SET \"select\" = ? WHERE \"Id\" = ?", "z", 2);
    try (CqlSession other = open(env("CONTACT"), null)) {
      other.execute("INSERT INTO " + KS + ".plain (id, v) VALUES (5000, 'qualified')");
      other.execute("USE " + KS);
      other.execute("INSERT INTO plain (id, v) VALUES (5001, 'after USE')");
      PreparedStatement insert = other.prepare("INSERT INTO plain (id, v) VALUES (?, ?)");
      other.execute(insert.bind(5002, "prepared after USE"));
    }
    exec("INSERT INTO plain JSON '{\"id\": 4000, \"v\": \"json\"}'");
    prepared("INSERT INTO plain JSON ?", "{\"id\": 4001, \"v\": \"bound\"}");
    expect("SELECT v FROM plain WHERE id IN (4001, 5000, 5001, 5002)", "bound", "qualified",
        "after USE", "prepared after USE");
  }

  static void counters() {
    for (long i = 0; i < 10; i++)
      prepared("UPDATE counted SET n = n + ?, m = m - 1 WHERE id = ?", i, "a");
    session.execute(BatchStatement.builder(DefaultBatchType.COUNTER)
        .addStatement(SimpleStatement.newInstance("UPDATE counted SET n = n + 1 WHERE id = 'b'"))
        .addStatement(SimpleStatement.newInstance("UPDATE counted SET n = n + 4 WHERE id = 'b'"))
        .build());
    expect("SELECT n FROM counted WHERE id IN ('a', 'b')", "45", "5");
  }

  static void lightweight() {
    check(exec("INSERT INTO lwt_plain (id, v) VALUES (1, 'a') IF NOT EXISTS").wasApplied(), "first");
    check(!prepared("INSERT INTO lwt_plain (id, v) VALUES (?, ?) IF NOT EXISTS", 1, "b").wasApplied(),
        "second");
    check(prepared("UPDATE lwt_plain SET v = ? WHERE id = ? IF v = ?", "c", 1, "a").wasApplied(),
        "update");
    check(!exec("DELETE FROM lwt_plain WHERE id = 1 IF v = 'a'").wasApplied(), "stale");
    Row row = direct.execute("SELECT v FROM lwt_plain WHERE id = 1").one();
    check(row.getString(0).equals("c"), row.getString(0));
  }

  static void paging() throws Exception {
    PreparedStatement insert = session.prepare("INSERT INTO paged (pk, ck, v) VALUES (?, ?, ?)");
    for (int base = 0; base < 5200; base += 200) {
      List<CompletionStage<AsyncResultSet>> pending = new ArrayList<>();
      for (int i = base; i < base + 200; i++)
        pending.add(session.executeAsync(insert.bind(i % 3, i, "row " + i)));
      for (var stage : pending) stage.toCompletableFuture().get();
    }
    for (int size : List.of(370, 5000)) {
      Set<Integer> seen = new HashSet<>();
      var select = SimpleStatement.newInstance("SELECT ck FROM paged").setPageSize(size);
      for (Row row : session.execute(select)) seen.add(row.getInt(0));
      check(seen.size() == 5200, size, seen.size());
    }
  }

  static void otherSessions() {
    for (int n = 0; n < 3; n++) {
      try (CqlSession other = open(env("CONTACT"), KS)) {
        PreparedStatement insert = session.prepare("INSERT INTO plain (id, v) VALUES (?, ?)");
        for (int i = 0; i < 10; i++) other.execute(insert.bind(6000 + 10 * n + i, "elsewhere"));
      }
    }
    expect("SELECT count(*) FROM plain WHERE v = 'elsewhere' ALLOW FILTERING", "30");
  }

  static void large() {
    int n = 0;
    for (int size : List.of(1 << 20, 3 << 20)) {
      byte[] value = new byte[size];
      for (int i = 0; i < size; i++) value[i] = (byte) (i * 7 + i / 251);
      prepared("INSERT INTO large (id, v) VALUES (?, ?)", n, ByteBuffer.wrap(value));
      Row row = exec("SELECT v FROM large WHERE id = " + n++).one();
      check(row.getByteBuffer(0).equals(ByteBuffer.wrap(value)), "a large value changed");
    }
  }

  static void truncate() {
    for (int i = 0; i < 30; i++) exec("INSERT INTO truncated (id, v) VALUES (?, 'before')", i);
    exec("TRUNCATE truncated");
    exec("INSERT INTO truncated (id, v) VALUES (1, 'after')");
    expect("SELECT id FROM truncated", "1");
  }

  static void vector() {
    if (!env("VECTOR").equals("1")) return;
    prepared("INSERT INTO vectors (id, e) VALUES (?, ?)", 1, CqlVector.newInstance(1f, 2.5f, -3f));
    expect("SELECT e FROM vectors WHERE id = 1", "[1.0, 2.5, -3.0]");
  }

  static String outcome(CqlSession s, java.util.function.Consumer<CqlSession> act) {
    try {
      act.accept(s);
      return "no error";
    } catch (RuntimeException e) {
      return e.getClass().getName() + ": " + e.getMessage();
    }
  }

  static void errors() {
    List<java.util.function.Consumer<CqlSession>> acts = new ArrayList<>();
    for (String text : List.of("SELECT * FROM nowhere", "SELEC 1",
        "INSERT INTO plain (id, v) VALUES (1, 2)", "INSERT INTO plain (v) VALUES ('no key')",
        "CREATE TABLE plain (id int PRIMARY KEY)", "INSERT INTO nowhere.plain (id) VALUES (1)",
        "UPDATE counted SET n = 5 WHERE id = 'x'", "DROP TABLE nowhere",
        "INSERT INTO plain (id, v) VALUES (1, 'x') USING TTL -1"))
      acts.add(s -> s.execute(text));
    acts.add(s -> s.prepare("INSERT INTO plain (id, nope) VALUES (?, ?)"));
    acts.add(s -> s.execute(s.prepare("INSERT INTO large (id, v) VALUES (?, ?)")
        .bind(9, ByteBuffer.allocate(5 << 20))));
    acts.add(s -> s.execute(SimpleStatement.newInstance("SELECT * FROM plain WHERE id = 1")
        .setConsistencyLevel(ConsistencyLevel.THREE).setIdempotent(false)));
    for (int n = 0; n < acts.size(); n++) {
      // some messages name the node, by its address and its id
      String here = outcome(session, acts.get(n)).replaceAll("Node\\([^)]*\\)", "NODE");
      String there = outcome(direct, acts.get(n)).replaceAll("Node\\([^)]*\\)", "NODE");
      if ("server".equals(env("STAMPS"))) {  // the proxy's stamp makes the request longer
        here = here.replaceAll("size \\d+ bytes", "size N bytes");
        there = there.replaceAll("size \\d+ bytes", "size N bytes");
      }
      check(!there.equals("no error"), "case", n, "made no error");
      check(here.equals(there), "case", n, "differs:", here, "directly:", there);
    }
  }

  static String quote(String text) {
    StringBuilder out = new StringBuilder("\"");
    for (char c : text.toCharArray()) {
      if (c == '"' || c == '\\') out.append('\\').append(c);
      else if (c == '\n') out.append("\\n");
      else if (c >= ' ') out.append(c);
    }
    return out.append('"').toString();
  }

  public static void main(String[] args) {
    session = open(env("CONTACT"), KS);
    // some errors depend on the version of the protocol
    direct = open(env("DIRECT"), KS, "" + session.getContext().getProtocolVersion().getCode());
    Map<String, Step> steps = new LinkedHashMap<>();
    steps.put("discovery", Suite::discovery);
    steps.put("schema", Suite::schema);
    steps.put("simple", Suite::simple);
    steps.put("bound", Suite::bound);
    steps.put("prepared", Suite::preparedStatements);
    steps.put("batches", Suite::batches);
    steps.put("stamps_and_ttl", Suite::stampsAndTtl);
    steps.put("deletes", Suite::deletes);
    steps.put("kinds", Suite::kinds);
    steps.put("collections", Suite::collections);
    steps.put("names_and_keyspaces", Suite::namesAndKeyspaces);
    steps.put("counters", Suite::counters);
    steps.put("lightweight", Suite::lightweight);
    steps.put("paging", Suite::paging);
    steps.put("other_sessions", Suite::otherSessions);
    steps.put("large", Suite::large);
    steps.put("truncate", Suite::truncate);
    steps.put("vector", Suite::vector);
    steps.put("errors", Suite::errors);
    List<String> failed = new ArrayList<>();
    for (var step : steps.entrySet()) {
      long began = System.nanoTime();
      String problem = null;
      try {
        step.getValue().run();
      } catch (Throwable e) {
        problem = e + " at " + Arrays.toString(e.getStackTrace());
        failed.add(quote(step.getKey()));
      }
      System.out.printf("{\"step\": \"%s\", \"ok\": %s, \"problem\": %s, \"ms\": %d}%n", step.getKey(),
          problem == null, problem == null ? "null" : quote(problem),
          (System.nanoTime() - began) / 1_000_000);
    }
    System.out.printf("{\"suite\": \"java\", \"steps\": %d, \"failed\": %s}%n", steps.size(), failed);
    session.close();
    direct.close();
    System.exit(failed.isEmpty() ? 0 : 1);
  }
}
