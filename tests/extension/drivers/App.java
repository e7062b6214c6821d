public class App {
    static void load() throws java.sql.SQLException {
        // LOAD
    }

    public static void main(String[] arguments) throws java.sql.SQLException {
        load();
        try (var db = java.sql.DriverManager.getConnection("jdbc:sqlite:" + arguments[0]);
                var statement = db.createStatement()) {
            statement.executeUpdate("CREATE TABLE IF NOT EXISTS note(text)");
            statement.executeUpdate("INSERT INTO note VALUES ('java')");
            var answer = statement.executeQuery("SELECT group_concat(text, ' ') FROM note");
            answer.next();
            System.out.println(answer.getString(1));
        }
    }
}
