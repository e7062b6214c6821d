'use strict';
/* Loads the extension into the SQLite of node-sqlite3, in a thread that register.cjs waits for. */

const { workerData } = require('node:worker_threads');

const { addon, library, shared } = workerData.mvsqlite;

/** Sends what went wrong, or nothing, and wakes the thread that waits. */
function answer(error) {
  const state = new Int32Array(shared, 0, 2);
  const text = new Uint8Array(shared, 8);
  if (error) state[1] = new TextEncoder().encodeInto(String(error.message ?? error) || 'it failed', text).written;
  Atomics.store(state, 0, 1);
  Atomics.notify(state, 0);
}

function load() {
  const module = { exports: {} };
  process.dlopen(module, addon);
  const { Database } = module.exports;
  Database.prototype.emit = () => {}; // the driver's JavaScript would make it an EventEmitter
  // When the program ends at once, this thread is ended where it is: not inside the driver, which aborts.
  const answerAfterwards = (error) => setImmediate(answer, error);
  const connection = new Database(':memory:', (failed) => {
    if (failed) answerAfterwards(failed);
    else connection.loadExtension(library, (refused) => connection.close(() => answerAfterwards(refused)));
  });
}

try {
  load();
} catch (error) {
  answer(error);
}
