// An application's ordinary life behind several proxies: see tests/it/drivers/python/ring.py.

import com.datastax.oss.driver.api.core.CqlSession;
import com.datastax.oss.driver.api.core.config.DefaultDriverOption;
import com.datastax.oss.driver.api.core.config.DriverConfigLoader;
import com.datastax.oss.driver.api.core.cql.*;
import com.datastax.oss.driver.api.core.metadata.Node;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.util.*;

public class Ring {
  static CqlSession session;
  static final Map<String, PreparedStatement> PREPARED = new HashMap<>();

  public static void main(String[] args) throws Exception {
    var config = DriverConfigLoader.programmaticBuilder()
        .withDuration(DefaultDriverOption.REQUEST_TIMEOUT, Duration.ofSeconds(60))
        .withDuration(DefaultDriverOption.CONNECTION_INIT_QUERY_TIMEOUT, Duration.ofSeconds(30))
        .withDuration(DefaultDriverOption.CONTROL_CONNECTION_TIMEOUT, Duration.ofSeconds(30))
        .withDuration(DefaultDriverOption.METADATA_SCHEMA_REQUEST_TIMEOUT, Duration.ofSeconds(30))
        .withDuration(DefaultDriverOption.RECONNECTION_BASE_DELAY, Duration.ofMillis(500))
        .withDuration(DefaultDriverOption.RECONNECTION_MAX_DELAY, Duration.ofSeconds(1))
        .withString(DefaultDriverOption.REQUEST_CONSISTENCY, "QUORUM")
        .withBoolean(DefaultDriverOption.REQUEST_DEFAULT_IDEMPOTENCE, true);
    session = Suite.builder(Suite.env("CONTACT")).withConfigLoader(config.build()).build();
    System.out.println("connected");
    var lines = new BufferedReader(new InputStreamReader(System.in));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      String[] order = line.split(" ");
      System.out.println(order[0].equals("hosts") ? hosts()
          : write(order[1], Integer.parseInt(order[2]), Integer.parseInt(order[3])));
    }
    session.close();
  }

  static String hosts() {
    var hosts = new TreeSet<String>();
    for (Node node : session.getMetadata().getNodes().values()) hosts.add(quoted(where(node) + ":9042"));
    return hosts.toString();
  }

  static String where(Node node) {
    return ((InetSocketAddress) node.getEndPoint().resolve()).getAddress().getHostAddress();
  }

  static String quoted(String text) {
    return '"' + text.replaceAll("[\\\\\"\n]", " ") + '"';
  }

  static String write(String keyspace, int first, int count) {
    var insert = PREPARED.computeIfAbsent(keyspace, name ->
        session.prepare("INSERT INTO " + name + ".rows (k, v) VALUES (?, ?)"));
    var failed = new ArrayList<String>();
    var by = new TreeMap<String, Integer>();
    int steady = 0;
    for (int key = first; key < first + count; key++) {
      var coordinators = new HashSet<String>();
      for (String value : List.of("first", "second")) {
        try {
          Node node = session.execute(insert.bind(key, value)).getExecutionInfo().getCoordinator();
          coordinators.add(where(node));
          by.merge(quoted(where(node)), 1, Integer::sum);
        } catch (Exception error) {
          failed.add(quoted(error.toString()));
        }
      }
      if (coordinators.size() == 1) steady++;
    }
    return "{\"failed\": " + failed + ", \"by\": " + by.toString().replace('=', ':')
        + ", \"steady\": " + steady + "}";
  }
}
