import java.lang.reflect.Field;
import java.lang.reflect.Modifier;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.*;
import org.apache.cassandra.cql3.CQLFragmentParser;
import org.apache.cassandra.cql3.CqlParser;

/**
 * Notes what Cassandra's own parser makes of each statement of a file: arguments are that file, the
 * file of verdicts, and the version that runs. Each line of verdicts has the versions that accept
 * the statement (or `none`), a summary of what they understand, and the statement, with tabs
 * between. A version that understands something else than another stops the program.
 *
 * Works with 3.11, 4.x and 5.0 by reading the parsed objects' fields by name. How to run it:
 * statements.md.
 */
public class CassandraVerdicts {
    public static void main(String[] args) throws Exception {
        try {
            Class.forName("org.apache.cassandra.config.DatabaseDescriptor")
                .getMethod("clientInitialization").invoke(null);
        } catch (NoSuchMethodException none) { /* 3.0 and older need none */ }
        Path verdicts = Path.of(args[1]);
        Map<String, String[]> before = new HashMap<>();
        if (Files.exists(verdicts))
            for (String line : Files.readAllLines(verdicts, StandardCharsets.UTF_8)) {
                String[] parts = line.split("\t", 3);
                before.put(parts[2], parts);
            }
        List<String> out = new ArrayList<>();
        for (String line : Files.readAllLines(Path.of(args[0]), StandardCharsets.UTF_8)) {
            if (line.isEmpty() || line.startsWith("#") || line.startsWith("    ")) continue;
            String[] old = before.getOrDefault(line, new String[] {"none", "refused", line});
            String verdict = verdict(unescape(line));
            if (!verdict.equals("refused")) {
                if (!old[1].equals("refused") && !old[1].equals(verdict))
                    throw new IllegalStateException(line + ": " + old[1] + ", here " + verdict);
                boolean first = old[0].equals("none");
                if (first || !Set.of(old[0].split(",")).contains(args[2]))
                    old[0] = first ? args[2] : old[0] + "," + args[2];
                old[1] = verdict;
            }
            out.add(String.join("\t", old));
        }
        Files.write(verdicts, out, StandardCharsets.UTF_8);
        System.exit(0);
    }

    static String unescape(String line) {
        String[] parts = line.split("\\\\\\\\", -1);
        for (int i = 0; i < parts.length; i++)
            parts[i] = parts[i].replace("\\n", "\n").replace("\\r", "\r").replace("\\t", "\t")
                .replace("\\u00a0", "\u00a0");
        return String.join("\\", parts);
    }

    static String verdict(String text) {
        Object parsed;
        try {
            parsed = CQLFragmentParser.parseAnyUnhandled(CqlParser::query, text);
        } catch (Exception refused) {
            return "refused";
        }
        try {
            return parsed == null ? "refused" : summary(parsed);
        } catch (Exception e) {
            throw new IllegalStateException(text, e);
        }
    }

    static String summary(Object parsed) throws Exception {
        StringBuilder out = new StringBuilder(kind(parsed));
        if (kind(parsed).startsWith("batch")) {
            out.append(attributes(get(parsed, "attrs")));
            for (Object child : (List<?>) get(parsed, "parsedStatements"))
                out.append(" | ").append(mutation(child));
        } else if (parsed.getClass().getName().contains("ModificationStatement")
                || parsed.getClass().getSuperclass().getName().contains("ModificationStatement")) {
            out.setLength(0);
            out.append(mutation(parsed));
        } else {
            out.append(names(parsed));
        }
        List<String> markers = markers(parsed);
        if (!markers.isEmpty()) out.append(" markers=").append(String.join(",", markers));
        List<String> functions = new ArrayList<>();
        if (kind(parsed).matches("(insert|update|delete|batch).*"))
            functions(parsed, functions, Collections.newSetFromMap(new IdentityHashMap<>()));
        Collections.sort(functions);
        for (String function : functions) out.append(" ").append(function).append("()");
        return out.toString().replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r");
    }

    /** Class name to the words that the statement begins with. */
    static String kind(Object parsed) throws Exception {
        String name = parsed.getClass().getName().replaceAll("^.*\\.", "");
        String outer = name.replaceAll("\\$.*", "");
        if (name.endsWith("$ParsedInsertJson")) return "insert json";
        if (name.endsWith("$ParsedInsert")) return "insert";
        switch (outer) {
            case "UpdateStatement": return "update";
            case "DeleteStatement": return "delete";
            case "SelectStatement": return "select";
            case "UseStatement": return "use";
            case "TruncateStatement": return "truncate";
            case "BatchStatement": return "batch " + get(parsed, "type").toString().toLowerCase();
            case "DescribeStatement": return "describe";
            case "CopyTableStatement": return "create table";
        }
        outer = outer.replace("Statement", "");
        if (outer.matches("(Grant|Revoke).*")) return "grant";
        if (outer.matches("List.*")) return "list";
        if (outer.matches(".*(Role|User|Identity)$")) return "role";
        if (parsed.getClass().getName().contains("DescribeStatement")) return "describe";
        if (outer.matches("(Create|Alter|Drop)(Keyspace|Table|Type|Index|View|Function|Aggregate|Trigger)"))
            return outer.replaceAll("([a-z])([A-Z])", "$1 $2").toLowerCase();
        throw new IllegalStateException("unknown class " + parsed.getClass());
    }

    /** Tables, types, functions that the statement's own fields name, sorted. */
    static String names(Object parsed) throws Exception {
        TreeSet<String> names = new TreeSet<>();
        String keyspace = null;
        for (Class<?> c = parsed.getClass(); c != Object.class; c = c.getSuperclass())
            for (Field field : c.getDeclaredFields()) {
                if (Modifier.isStatic(field.getModifiers())) continue;
                if (field.getName().matches("indexName|stateFunc|finalFunc")) continue;
                if (kind(parsed).equals("drop index")) continue; // 3.11 keeps no parsed name
                field.setAccessible(true);
                Object value = field.get(parsed);
                if (value == null) continue;
                switch (value.getClass().getSimpleName()) {
                    case "QualifiedName": case "CFName": case "IndexName":
                        String name = (String) call(value, value.getClass().getSimpleName().equals("CFName")
                            ? "getColumnFamily" : value.getClass().getSimpleName().equals("IndexName")
                            ? "getIdx" : "getName");
                        if (name != null) names.add(dotted(call(value, "getKeyspace"), name));
                        break;
                    case "FunctionName":
                        names.add(dotted(get(value, "keyspace"), get(value, "name")));
                        break;
                    case "UTName":
                        names.add(dotted(call(value, "getKeyspace"), call(value, "getStringTypeName")));
                        break;
                    case "DataResource": case "FunctionResource":
                        if (value.toString().matches("<(table|function) .*")) names.add(resource(value));
                        break;
                    case "String":
                        if (field.getName().equals("keyspaceName") || field.getName().equals("keyspace")
                            || (field.getName().equals("name") && kind(parsed).endsWith("keyspace")))
                            keyspace = (String) value;
                        break;
                }
            }
        String out = "";
        if (kind(parsed).endsWith("keyspace") || kind(parsed).equals("use")) out += " keyspace=" + keyspace;
        else if (!kind(parsed).matches("describe|list|role")) for (String name : names) out += " " + name;
        return out;
    }

    static String resource(Object resource) throws Exception {
        if (resource.getClass().getSimpleName().equals("DataResource"))
            return dotted(get(resource, "keyspace"), get(resource, "table"));
        return dotted(get(resource, "keyspace"), get(resource, "name"));
    }

    static String dotted(Object keyspace, Object name) {
        return (keyspace == null ? "-" : keyspace) + "." + name;
    }

    static String mutation(Object parsed) throws Exception {
        StringBuilder out = new StringBuilder(kind(parsed)).append(names(parsed));
        out.append(attributes(get(parsed, "attrs")));
        if (has(parsed, "columnNames")) for (Object column : (List<?>) get(parsed, "columnNames"))
            out.append(" ").append(plain(column)).append("=");
        if (has(parsed, "updates")) for (Object pair : (List<?>) get(parsed, "updates")) {
            String sign = Map.of("SetValue", "=", "Addition", "+=", "Substraction", "-=",
                "Prepend", "=+", "SetElement", "[]=", "SetField", ".=")
                .get(get(pair, "right").getClass().getSimpleName());
            out.append(" ").append(plain(get(pair, "left"))).append(sign);
        }
        if (has(parsed, "deletions")) for (Object deletion : (List<?>) get(parsed, "deletions")) {
            String sign = Map.of("ColumnDeletion", "", "ElementDeletion", "[]", "FieldDeletion", ".")
                .get(deletion.getClass().getSimpleName());
            out.append(" ").append(plain(get(deletion, "id"))).append(sign);
        }
        if (has(parsed, "whereClause")) {
            out.append(" where");
            for (Object relation : (List<?>) get(get(parsed, "whereClause"), "relations"))
                out.append(" ").append(relation(relation));
        }
        if ((Boolean) get(parsed, "ifNotExists")) out.append(" if not exists");
        if ((Boolean) get(parsed, "ifExists")) out.append(" if exists");
        Object conditions = get(parsed, "conditions");
        if (conditions != null && !((List<?>) conditions).isEmpty()) out.append(" if columns");
        return out.toString();
    }

    /** A column's name; 3.11, and relations of all versions, keep it quoted. */
    static String plain(Object column) {
        String name = column.toString();
        boolean quoted = name.length() > 1 && name.startsWith("\"") && name.endsWith("\"");
        return quoted ? name.substring(1, name.length() - 1).replace("\"\"", "\"") : name;
    }

    static String relation(Object relation) throws Exception {
        String columns = null;
        if (has(relation, "entity") && (!has(relation, "mapKey") || get(relation, "mapKey") == null))
            columns = plain(get(relation, "entity"));
        if (has(relation, "entities") && !relation.getClass().getSimpleName().equals("TokenRelation")) {
            List<String> names = new ArrayList<>();
            for (Object entity : (List<?>) get(relation, "entities")) names.add(plain(entity));
            columns = String.join(",", names);
        }
        if (columns == null) return "~";
        switch (((Enum<?>) get(relation, "relationType")).name()) {
            case "EQ": return columns + "=";
            case "IN": return columns + " in";
            case "LT": case "LTE": case "GT": case "GTE": return columns + "<>";
            default: return "~";
        }
    }

    static String attributes(Object attributes) throws Exception {
        String out = "";
        for (String name : List.of("timestamp", "timeToLive")) {
            Object value = get(attributes, name);
            if (value == null) continue;
            boolean bound = value.getClass().getName().contains("Marker");
            out += (name.equals("timestamp") ? " timestamp=" : " ttl=")
                + (bound ? "?" + get(value, "bindIndex") : call(value, "getText"));
        }
        return out;
    }

    static List<String> markers(Object parsed) throws Exception {
        List<String> names = new ArrayList<>();
        Object specs = has(parsed, "bindVariables") ? get(parsed, "bindVariables")
            : has(parsed, "variables") ? get(parsed, "variables") : null;
        if (specs != null) for (Object name : (List<?>) get(specs, "variableNames"))
            names.add(name == null ? "?" : name.toString());
        return names;
    }

    static final Set<String> GENERATING = Set.of("now", "uuid", "currenttimestamp", "currentdate",
        "currenttime", "currenttimeuuid", "current_timestamp", "current_date", "current_time",
        "current_timeuuid");

    /** Walks all objects of the parser for calls of functions that give another value each time. */
    static void functions(Object at, List<String> found, Set<Object> seen) throws Exception {
        if (at == null || at instanceof Enum || !seen.add(at)) return;
        if (at instanceof Iterable) {
            for (Object item : (Iterable<?>) at) functions(item, found, seen);
            return;
        }
        if (at instanceof Map) {
            functions(((Map<?, ?>) at).keySet(), found, seen);
            functions(((Map<?, ?>) at).values(), found, seen);
            return;
        }
        if (at instanceof Object[]) {
            functions(Arrays.asList((Object[]) at), found, seen);
            return;
        }
        String type = at.getClass().getName();
        if (!type.startsWith("org.apache.cassandra.cql3") && !type.endsWith(".Pair")) return;
        if (type.endsWith("FunctionCall$Raw")) {
            Object name = get(at, "name");
            Object keyspace = get(name, "keyspace");
            String plain = (String) get(name, "name");
            if ((keyspace == null || keyspace.equals("system")) && GENERATING.contains(plain)
                    && ((List<?>) get(at, "terms")).isEmpty()) found.add(plain);
        }
        for (Class<?> c = at.getClass(); c != Object.class; c = c.getSuperclass())
            for (Field field : c.getDeclaredFields()) {
                if (Modifier.isStatic(field.getModifiers()) || field.getType().isPrimitive()) continue;
                field.setAccessible(true);
                functions(field.get(at), found, seen);
            }
    }

    static Field field(Object of, String name) {
        for (Class<?> c = of.getClass(); c != null; c = c.getSuperclass())
            for (Field field : c.getDeclaredFields())
                if (field.getName().equals(name)) {
                    field.setAccessible(true);
                    return field;
                }
        return null;
    }

    static boolean has(Object of, String name) { return field(of, name) != null; }

    static Object get(Object of, String name) throws Exception {
        Field field = field(of, name);
        if (field == null) throw new NoSuchFieldException(of.getClass() + "." + name);
        return field.get(of);
    }

    static Object call(Object of, String method) throws Exception {
        var found = of.getClass().getMethod(method);
        found.setAccessible(true);
        return found.invoke(of);
    }
}
