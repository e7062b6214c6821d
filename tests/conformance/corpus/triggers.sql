CREATE TABLE account(id INTEGER PRIMARY KEY, owner TEXT, balance INTEGER);
CREATE TABLE log(n INTEGER PRIMARY KEY, what TEXT, old INTEGER, new INTEGER);
CREATE TRIGGER on_insert AFTER INSERT ON account BEGIN
  INSERT INTO log(what, new) VALUES ('insert ' || new.id, new.balance);
END;
CREATE TRIGGER on_update AFTER UPDATE OF balance ON account WHEN old.balance <> new.balance BEGIN
  INSERT INTO log(what, old, new) VALUES ('update ' || new.id, old.balance, new.balance);
  SELECT CASE WHEN new.balance < 0 THEN RAISE(ABORT, 'not enough') END;
END;
CREATE TRIGGER on_delete BEFORE DELETE ON account BEGIN
  SELECT RAISE(IGNORE) WHERE old.owner = 'keep';
  INSERT INTO log(what, old) VALUES ('delete ' || old.id, old.balance);
END;
INSERT INTO account VALUES (1, 'ann', 100), (2, 'keep', 50), (3, 'cy', 0);
UPDATE account SET balance = balance - 10 WHERE id = 1;
UPDATE account SET balance = balance - 60;
UPDATE account SET balance = balance;
SELECT * FROM account;
DELETE FROM account;
SELECT * FROM account;
SELECT * FROM log;
CREATE VIEW rich AS SELECT id, owner FROM account WHERE balance > 10;
CREATE TRIGGER on_view INSTEAD OF INSERT ON rich BEGIN
  INSERT INTO account VALUES (new.id, new.owner, 1000);
END;
INSERT INTO rich VALUES (9, 'zoe');
SELECT * FROM rich;
CREATE TRIGGER stop BEFORE INSERT ON account WHEN new.id > 90 BEGIN SELECT RAISE(ROLLBACK, 'rolled back'); END;
BEGIN;
INSERT INTO account VALUES (10, 'in transaction', 1);
INSERT INTO account VALUES (91, 'too large', 1);
COMMIT;
CREATE TRIGGER fail BEFORE UPDATE ON account WHEN new.id = 9 BEGIN SELECT RAISE(FAIL, 'failed'); END;
BEGIN;
UPDATE account SET owner = owner || '!';
SELECT * FROM account;
COMMIT;
SELECT * FROM account;
PRAGMA recursive_triggers = ON;
CREATE TABLE count_down(n INTEGER);
CREATE TRIGGER down AFTER INSERT ON count_down WHEN new.n > 0 BEGIN
  INSERT INTO count_down VALUES (new.n - 1);
END;
INSERT INTO count_down VALUES (20);
SELECT count(*), sum(n) FROM count_down;
INSERT INTO count_down VALUES (2000);
SELECT count(*), sum(n) FROM count_down;
CREATE TEMP TRIGGER temporary AFTER DELETE ON count_down BEGIN
  INSERT INTO log(what) VALUES ('temporary ' || old.n);
END;
DELETE FROM count_down WHERE n = 3;
SELECT count(*) FROM log;
DROP TRIGGER stop;
DROP TRIGGER stop;
SELECT name, tbl_name FROM sqlite_schema WHERE type = 'trigger' ORDER BY 1;
PRAGMA integrity_check;
