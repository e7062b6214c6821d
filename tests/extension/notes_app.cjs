'use strict';
/*
 * A notes server in Trilium's manner, on better-sqlite3; it knows nothing of mvsqlite.
 *
 * One handle reads and writes, a second one on the same file only reads; WAL is asked for and not
 * checked; transactions are deferred, with savepoints inside; backups are made while it runs.
 *     node notes_app.cjs DATABASE [BACKUP EVERY_MS]
 */

const http = require('node:http');
const Database = require('better-sqlite3');

const [, , file, backupFile, backupEvery] = process.argv;

const db = new Database(file);
db.pragma('journal_mode = WAL');
db.exec(`
  CREATE TABLE IF NOT EXISTS blobs(blobId INTEGER PRIMARY KEY, content BLOB);
  CREATE TABLE IF NOT EXISTS notes(noteId INTEGER PRIMARY KEY, title TEXT NOT NULL, text TEXT, blobId REFERENCES blobs);
  CREATE TABLE IF NOT EXISTS options(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
  CREATE TEMP TABLE IF NOT EXISTS param_list(paramId INTEGER PRIMARY KEY);
`);
const shared = new Database(file, { readonly: true });

const transactional = (work) => db.transaction(work).deferred();

function addNote({ title, text = '', blob = 0 }) {
  return transactional(() => {
    const content = Buffer.alloc(blob, title);
    const blobId = db.prepare('INSERT INTO blobs(content) VALUES (?)').run(content).lastInsertRowid;
    const insert = db.prepare('INSERT INTO notes(title, text, blobId) VALUES (?, ?, ?)');
    return { noteId: insert.run(title, text, blobId).lastInsertRowid };
  });
}

/** One transaction; a note without a title takes only itself back. */
function addMany({ notes }) {
  return transactional(() => {
    let refused = 0;
    for (const note of notes) {
      try {
        addNote(note);
      } catch (error) {
        if (error.code !== 'SQLITE_CONSTRAINT_NOTNULL') throw error;
        refused++;
      }
    }
    return { added: notes.length - refused, refused };
  });
}

function getMany({ ids }) {
  return transactional(() => {
    db.prepare('DELETE FROM param_list').run();
    for (const id of ids) db.prepare('INSERT INTO param_list VALUES (?)').run(id);
    return db.prepare('SELECT title FROM notes JOIN param_list ON noteId = paramId ORDER BY noteId').pluck().all();
  });
}

/** Renames a column the old way: a new table, the rows, the old table's name. */
function migrate() {
  return transactional(() => {
    db.exec(`
      CREATE TABLE notes_new(noteId INTEGER PRIMARY KEY, title TEXT NOT NULL, text TEXT, blobId REFERENCES blobs,
        isProtected INT NOT NULL DEFAULT 0);
      INSERT INTO notes_new(noteId, title, text, blobId) SELECT noteId, title, text, blobId FROM notes;
      DROP TABLE notes;
      ALTER TABLE notes_new RENAME TO notes;
      CREATE INDEX IDX_notes_title ON notes(title);
    `);
    db.pragma('user_version = 2');
    return { version: db.pragma('user_version', { simple: true }) };
  });
}

const list = (handle) => handle.prepare('SELECT noteId, title, text FROM notes ORDER BY noteId').all();

function check() {
  db.pragma('optimize');
  return {
    integrity: db.pragma('integrity_check', { simple: true }),
    foreignKeys: db.pragma('foreign_key_check'),
    journalMode: db.pragma('journal_mode', { simple: true }),
    pageSize: db.pragma('page_size', { simple: true }),
    pages: db.pragma('page_count', { simple: true }) > 1,
    checkpoint: db.pragma('wal_checkpoint(TRUNCATE)')[0].busy,
    blobs: db.prepare('SELECT count(*) n, sum(length(content)) bytes FROM blobs').get(),
  };
}

const routes = {
  'GET /notes': () => list(db),
  'GET /shared': () => list(shared),
  'GET /check': check,
  'GET /blob': (_, id) => {
    const row = db.prepare('SELECT content FROM blobs JOIN notes USING (blobId) WHERE noteId = ?').get(id);
    return { bytes: row.content.length, text: row.content.toString('latin1', 0, 20) };
  },
  'POST /notes': addNote,
  'POST /many': addMany,
  'POST /by-ids': getMany,
  'POST /migrate': migrate,
  'POST /backup': async ({ to }) => ({ pages: (await db.backup(to)).remainingPages }),
  'POST /vacuum': () => (db.exec('VACUUM'), { done: true }),
  'POST /vacuum-into': ({ to }) => (db.prepare('VACUUM INTO ?').run(to), { done: true }),
  'DELETE /note': (_, id) => db.prepare('DELETE FROM notes WHERE noteId = ?').run(id).changes,
  'DELETE /notes': () => transactional(() => db.prepare('DELETE FROM notes').run().changes),
};

async function read(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return parts.length ? JSON.parse(Buffer.concat(parts)) : {};
}

async function answer(request, response) {
  const [, name, id] = request.url.split('/');
  const send = (status, value) => response.writeHead(status).end(JSON.stringify(value));
  try {
    send(200, await routes[`${request.method} /${name}`](await read(request), id));
  } catch (error) {
    send(500, { name: error.name, code: error.code, message: error.message });
  }
}

const server = http.createServer(answer).listen(0, '127.0.0.1', () => console.log(server.address().port));
if (backupFile) setInterval(() => db.backup(backupFile), Number(backupEvery));
process.on('SIGTERM', () => {
  shared.close();
  db.close();
  process.exit(0);
});
