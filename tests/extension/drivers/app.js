const { DatabaseSync } = require("node:sqlite");
const db = new DatabaseSync(process.argv[2]);
db.exec("CREATE TABLE IF NOT EXISTS note(text); INSERT INTO note VALUES ('node')");
console.log(db.prepare("SELECT group_concat(text, ' ') AS text FROM note").get().text);
