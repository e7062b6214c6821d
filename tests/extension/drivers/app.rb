require "sqlite3"
db = SQLite3::Database.new(ARGV[0])
db.execute("CREATE TABLE IF NOT EXISTS note(text)")
db.execute("INSERT INTO note VALUES ('ruby')")
puts db.execute("SELECT text FROM note").join(" ")
