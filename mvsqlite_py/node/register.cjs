'use strict';
/*
 * Routes the SQLite files of an unchanged Node program to databases of a store:
 *
 *     MVSQLITE_MAP='/srv/app/*.db={name}' NODE_OPTIONS='--require "/path/to/register.cjs"' node app.js
 *
 * Drivers bring a SQLite of their own (better-sqlite3, sqlite3, node:sqlite). When the program loads
 * one, libmvsqlite.so is loaded into that SQLite before the program's first database is opened; from
 * then on the router is its default VFS, in all threads. Where that fails, the driver is given paths
 * that cannot be opened: a program that ran on without us could begin an empty second database.
 *
 * Without MVSQLITE_MAP nothing happens. Messages go where MVSQLITE_LOG, _LOG_FILE and _LOG_FORMAT
 * say (native/base/logging.h), never to standard output.
 */

const { closeSync, openSync, writeSync } = require('node:fs');
const Module = require('node:module');
const path = require('node:path');
const { SHARE_ENV, Worker, workerData } = require('node:worker_threads');

const LIBRARY = path.join(path.dirname(__dirname), 'libmvsqlite.so');
const LEVELS = ['off', 'error', 'warn', 'info', 'debug'];
const NOWHERE = '/dev/null/not-routed'; // /dev/null is no directory: no open below it succeeds
const THREAD_PATIENCE_MS = 30_000;
const THREAD_ANSWER_BYTES = 2048;

// ---- messages -------------------------------------------------------------------------

function line(level, message) {
  if ((process.env.MVSQLITE_LOG_FORMAT ?? '').toLowerCase() !== 'json') return `mvsqlite: ${level}: ${message}\n`;
  return `${JSON.stringify({ time: new Date().toISOString(), level, pid: process.pid, message })}\n`;
}

function write(how) {
  try {
    how();
    return true;
  } catch {
    return false; // what cannot be said must not stop the program
  }
}

function append(file, text) {
  const fd = openSync(file, 'a', 0o600);
  try {
    writeSync(fd, text);
  } finally {
    closeSync(fd);
  }
}

function log(level, message) {
  const asked = LEVELS.indexOf((process.env.MVSQLITE_LOG ?? '').toLowerCase());
  if (LEVELS.indexOf(level) > (asked < 0 ? LEVELS.indexOf('error') : asked)) return;
  const [file, text] = [process.env.MVSQLITE_LOG_FILE, line(level, message)];
  if (!file || !write(() => append(file, text))) write(() => writeSync(2, text));
}

// ---- one copy of SQLite -----------------------------------------------------------------

/** Says once, before the first database is opened, whether `load` brought the extension in. */
function copyOfSQLite(what, load) {
  let routed;
  return (...args) => {
    if (routed !== undefined) return routed;
    try {
      load(...args);
      routed = true;
      log('debug', `${what}: ${LIBRARY} is loaded`);
    } catch (error) {
      routed = false;
      log(
        'error',
        `${what}: the extension could not be loaded (${error.message}), so nothing is routed. To keep the program ` +
          'from beginning anew its files are not opened: unset MVSQLITE_MAP to run it without mvsqlite',
      );
    }
    return routed;
  };
}

/** The class, whose first instance loads the extension; `refused` makes arguments that cannot be opened. */
function guard(Database, isRouted, refused) {
  const guarded = new Proxy(Database, {
    construct(target, args, newTarget) {
      const real = newTarget === guarded ? target : newTarget;
      return Reflect.construct(target, isRouted(target, args) ? args : refused(args), real);
    },
  });
  return guarded;
}

function isInMemory(name) {
  return typeof name !== 'string' || name === '' || name === ':memory:';
}

function nowhere(args) {
  return isInMemory(args[0]) ? args : [NOWHERE, ...args.slice(1)];
}

// ---- better-sqlite3 -----------------------------------------------------------------------
// Its native class takes (filename, as given, in memory?, read-only?, must exist?, timeout, verbose,
// buffer, ...); a release may have more, so what the program's own call had is kept as far as it can be.

function isBetterSqlite3(addon) {
  const methods = addon.Database?.prototype;
  return typeof methods?.loadExtension === 'function' && typeof methods.prepare === 'function';
}

function loadIntoBetterSqlite3(Database, args) {
  const inMemory = [':memory:', ':memory:', true, false, false, args[5], ...args.slice(6).map(() => null)];
  const connection = new Database(...inMemory);
  try {
    connection.loadExtension(LIBRARY);
  } finally {
    connection.close();
  }
}

// ---- sqlite3 (node-sqlite3) ------------------------------------------------------------------
// It does everything on other threads and answers through the event loop, which must not turn before
// the program's own call: a thread with an event loop of its own loads the extension meanwhile.

function isNodeSqlite3(addon) {
  return typeof addon.Database?.prototype?.loadExtension === 'function' && addon.OPEN_READWRITE !== undefined;
}

function loadFromThread(filename) {
  const shared = new SharedArrayBuffer(8 + THREAD_ANSWER_BYTES);
  const [state, text] = [new Int32Array(shared, 0, 2), new Uint8Array(shared, 8)];
  const mvsqlite = { addon: filename, library: LIBRARY, shared };
  const options = { workerData: { mvsqlite }, env: SHARE_ENV, execArgv: [], stdout: true, stderr: true };
  const thread = new Worker(path.join(__dirname, 'thread.cjs'), options);
  thread.unref();
  thread.on('error', () => {}); // it is told by the answer, or by its absence
  const ended = Atomics.wait(state, 0, 0, THREAD_PATIENCE_MS);
  if (ended === 'timed-out') throw new Error(`no answer from a thread in ${THREAD_PATIENCE_MS / 1000} s`);
  if (state[1]) throw new Error(Buffer.from(text.slice(0, state[1])).toString());
}

// ---- addons ---------------------------------------------------------------------------------

function replace(module, name, value) {
  try {
    module.exports[name] = value;
  } catch {
    // read-only
  }
  if (module.exports[name] !== value) module.exports = Object.create(module.exports, { [name]: { value } });
}

function meetAddon(module, filename) {
  const addon = module.exports ?? {};
  let load;
  if (isNodeSqlite3(addon)) load = () => loadFromThread(filename);
  else if (isBetterSqlite3(addon)) load = loadIntoBetterSqlite3;
  if (load) replace(module, 'Database', guard(addon.Database, copyOfSQLite(filename, load), nowhere));
  else if (/sqlite/i.test(path.basename(filename)))
    log('warn', `${filename}: this driver is not known; if it brings a SQLite of its own, nothing it opens is routed`);
}

function watchAddons() {
  const dlopen = process.dlopen;
  process.dlopen = function (module, filename, ...rest) {
    const result = Reflect.apply(dlopen, this, [module, filename, ...rest]);
    meetAddon(module, String(filename));
    return result;
  };
}

// ---- node:sqlite ------------------------------------------------------------------------------

function loadIntoNode(DatabaseSync) {
  if (typeof DatabaseSync.prototype.loadExtension !== 'function')
    throw new Error(`Node ${process.version} loads no extensions: 22.13 and later do`);
  const connection = new DatabaseSync(':memory:', { allowExtension: true });
  try {
    connection.loadExtension(LIBRARY);
  } finally {
    connection.close();
  }
}

function meetNodeSqlite(sqlite) {
  const { DatabaseSync } = sqlite;
  const isRouted = copyOfSQLite('node:sqlite', loadIntoNode);
  if (isRouted(DatabaseSync)) return;
  sqlite.DatabaseSync = guard(DatabaseSync, isRouted, nowhere);
  Module.syncBuiltinESMExports();
}

/** node:sqlite is met when the program asks for it, or at once where Node does not tell of that. */
function watchNodeSqlite() {
  if (!Module.isBuiltin('node:sqlite')) return;
  let met = false;
  const meet = (name) => {
    if (met || name !== 'node:sqlite') return;
    met = true;
    meetNodeSqlite(require('node:sqlite'));
  };
  if (!Module.registerHooks) {
    meet('node:sqlite');
    return;
  }
  Module.registerHooks({
    resolve(specifier, context, nextResolve) {
      meet(specifier);
      return nextResolve(specifier, context);
    },
  });
  const getBuiltinModule = process.getBuiltinModule;
  process.getBuiltinModule = function (name) {
    meet(name);
    return Reflect.apply(getBuiltinModule, this, [name]);
  };
}

if (process.env.MVSQLITE_MAP && !workerData?.mvsqlite) {
  watchAddons();
  watchNodeSqlite();
}
