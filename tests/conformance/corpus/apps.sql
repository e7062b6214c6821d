-- What applications of several kinds say when they open a database, and now and then.
-- A Node application that reads by a second handle.
PRAGMA journal_mode = WAL;
CREATE TABLE notes(id INTEGER PRIMARY KEY, title TEXT, body BLOB);
INSERT INTO notes(title, body) VALUES ('one', zeroblob(100000)), ('two', x'ff');
CREATE TEMP TABLE param_list(id INTEGER PRIMARY KEY);
INSERT INTO param_list VALUES (1), (2), (3);
SELECT title FROM notes JOIN param_list USING (id);
PRAGMA page_size;
PRAGMA optimize;
PRAGMA integrity_check;
--@ use reader
PRAGMA query_only = 1;
SELECT title FROM notes;
--@ use main
DELETE FROM param_list;
BEGIN DEFERRED;
SAVEPOINT a;
INSERT INTO notes(title) VALUES ('three');
SAVEPOINT b;
INSERT INTO notes(title) VALUES ('four');
ROLLBACK TO b;
RELEASE b;
RELEASE a;
COMMIT;
--@ use reader
SELECT title FROM notes;
--@ reopen
-- A Go application, by its data source name.
PRAGMA busy_timeout = 5000;
PRAGMA journal_mode = WAL;
PRAGMA locking_mode = NORMAL;
PRAGMA synchronous = NORMAL;
PRAGMA foreign_keys = ON;
PRAGMA foreign_keys;
PRAGMA busy_timeout;
PRAGMA synchronous;
PRAGMA wal_autocheckpoint;
INSERT INTO notes(title) VALUES ('five');
PRAGMA user_version = 15;
VACUUM;
PRAGMA user_version;
--@ reopen
-- One that lets the file shrink, a step at a time; auto_vacuum has to come before the first table.
PRAGMA main.auto_vacuum;
PRAGMA auto_vacuum = INCREMENTAL;
VACUUM;
PRAGMA auto_vacuum;
PRAGMA journal_mode = WAL;
PRAGMA cache_size = -12000;
PRAGMA temp_store = 2;
PRAGMA journal_size_limit = 134217728;
PRAGMA journal_size_limit;
PRAGMA wal_autocheckpoint = 0;
PRAGMA wal_autocheckpoint;
INSERT INTO notes(title, body) VALUES ('big', zeroblob(400000));
DELETE FROM notes WHERE title = 'big';
PRAGMA freelist_count;
PRAGMA incremental_vacuum(10);
PRAGMA freelist_count;
PRAGMA incremental_vacuum;
PRAGMA freelist_count;
PRAGMA page_count;
PRAGMA wal_checkpoint(TRUNCATE);
BEGIN IMMEDIATE;
INSERT INTO notes(title) VALUES ('six');
PRAGMA wal_checkpoint(PASSIVE);
COMMIT;
--@ reopen
-- One that maps the file.
PRAGMA mmap_size;
PRAGMA mmap_size = 268435456;
PRAGMA mmap_size;
SELECT count(*), sum(length(body)) FROM notes;
PRAGMA main.mmap_size = 0;
PRAGMA mmap_size;
PRAGMA mmap_size = -1;
PRAGMA mmap_size = 0x100000;
PRAGMA mmap_size;
PRAGMA temp.mmap_size;
INSERT INTO notes(title) VALUES ('mapped');
--@ reopen
PRAGMA mmap_size;
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA journal_mode = WAL;
INSERT INTO notes(title) VALUES ('alone');
PRAGMA locking_mode;
SELECT title FROM notes;
PRAGMA quick_check;
