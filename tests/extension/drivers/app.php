<?php
$pdo = new PDO('sqlite:' . $argv[1]);
$pdo->exec('CREATE TABLE IF NOT EXISTS note(text)');
$pdo->exec("INSERT INTO note VALUES ('pdo')");
$other = new SQLite3($argv[1]);
$other->exec("INSERT INTO note VALUES ('sqlite3')");
echo implode(' ', $pdo->query('SELECT text FROM note')->fetchAll(PDO::FETCH_COLUMN)), "\n";
