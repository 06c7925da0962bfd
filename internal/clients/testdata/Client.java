import java.sql.*;
import java.util.*;
import java.util.concurrent.*;

/** What a BI tool does over JDBC: connects, looks at the catalogue, asks with a parameter, reads a large result, cancels. */
public class Client {
    public static void main(String[] args) throws Exception {
        Properties login = new Properties();
        login.setProperty("user", System.getenv("CH_USER"));
        login.setProperty("password", System.getenv("CH_PASSWORD"));
        String database = System.getenv("CH_DATABASE");
        Map<String, Object> out = new TreeMap<>();
        try (Connection c = DriverManager.getConnection("jdbc:clickhouse://" + System.getenv("CH_ADDRESS") + "/" + database, login)) {
            DatabaseMetaData meta = c.getMetaData();
            List<String> databases = new ArrayList<>();
            try (ResultSet r = meta.getSchemas()) {
                while (r.next()) databases.add(r.getString("TABLE_SCHEM"));
            }
            out.put("databases", databases);
            Map<String, Object> tables = new TreeMap<>();
            try (ResultSet r = meta.getTables(null, database, "%", null)) {
                while (r.next()) tables.put(r.getString("TABLE_NAME"), r.getString("REMARKS"));
            }
            out.put("tables", tables);
            Map<String, Object> columns = new TreeMap<>();
            try (ResultSet r = meta.getColumns(null, database, "indicator_rollup", "%")) {
                while (r.next()) columns.put(r.getString("COLUMN_NAME"), r.getString("REMARKS"));
            }
            out.put("columns", columns);
            List<Double> known = new ArrayList<>();
            try (PreparedStatement s = c.prepareStatement("SELECT value FROM indicator_rollup_as_of(day = ?) WHERE indicator = 'I' AND region = '330100'")) {
                s.setString(1, "2024-05-06");
                try (ResultSet r = s.executeQuery()) {
                    while (r.next()) {
                        known.add(r.getDouble(1));
                    }
                }
            }
            out.put("known", known);
            try (PreparedStatement s = c.prepareStatement("SELECT name FROM region WHERE code = ? ORDER BY name LIMIT 1")) {
                s.setString(1, System.getenv("CH_REGION"));
                try (ResultSet r = s.executeQuery()) {
                    out.put("region", r.next() ? r.getString(1) : "");
                }
            }
            long rows = 0, sum = 0;
            try (Statement s = c.createStatement(); ResultSet r = s.executeQuery("SELECT number, toString(number) FROM numbers(1000000)")) {
                while (r.next()) {
                    rows++;
                    sum += r.getLong(1) + r.getString(2).length();
                }
            }
            out.put("rows", rows);
            out.put("sum", sum);
            String refused = "";
            try (Statement s = c.createStatement()) {
                s.execute("INSERT INTO region (code) VALUES ('990000')");
            } catch (SQLException e) {
                refused = e.getMessage();
            }
            out.put("refused", refused);
            try (Statement s = c.createStatement()) {
                ExecutorService one = Executors.newSingleThreadExecutor(r -> { Thread t = new Thread(r); t.setDaemon(true); return t; });
                Future<Boolean> ended = one.submit(() -> {
                    try (ResultSet r = s.executeQuery(System.getenv("CH_LONG"))) {
                        while (r.next()) { }
                        return false;
                    } catch (SQLException e) {
                        return true;
                    }
                });
                await(c);
                s.cancel();
                out.put("cancelled", ended.get(60, TimeUnit.SECONDS));
                one.shutdown();
            }
        }
        System.out.println(json(out));
        System.exit(0);
    }

    /** Waits until the server works on the long query. */
    private static void await(Connection c) throws Exception {
        try (Statement s = c.createStatement()) {
            while (true) { // the test has a bound of its own
                try (ResultSet r = s.executeQuery("SELECT count() FROM system.processes WHERE query LIKE '%the long one%' AND query NOT LIKE '%system.processes%'")) {
                    if (r.next() && r.getLong(1) > 0) return;
                }
            }
        }
    }

    private static String json(Object v) {
        if (v instanceof Map<?, ?> m) {
            StringJoiner j = new StringJoiner(",", "{", "}");
            m.forEach((k, x) -> j.add(json(k.toString()) + ":" + json(x)));
            return j.toString();
        }
        if (v instanceof List<?> l) {
            StringJoiner j = new StringJoiner(",", "[", "]");
            l.forEach(x -> j.add(json(x)));
            return j.toString();
        }
        if (v instanceof String s) {
            StringBuilder b = new StringBuilder("\"");
            for (char ch : s.toCharArray()) {
                if (ch == '"' || ch == '\\') b.append('\\').append(ch);
                else if (ch < ' ') b.append(String.format("\\u%04x", (int) ch));
                else b.append(ch);
            }
            return b.append('"').toString();
        }
        return v == null ? "\"\"" : v.toString();
    }
}
