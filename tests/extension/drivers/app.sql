CREATE TABLE IF NOT EXISTS note(text);
INSERT INTO note VALUES ('shell');
SELECT group_concat(text, ' ') FROM note;
