<?php

/*
 * Routes the SQLite files of an unchanged PHP program to databases of a store, where LD_PRELOAD
 * cannot be used (a PHP with file capabilities, as FrankenPHP has):
 *
 *     sqlite3.extension_dir = DIR            ; the directory of libmvsqlite.so
 *     auto_prepend_file = DIR/php/prepend.php
 *
 * The extension is loaded into the SQLite of this process, which PDO and SQLite3 share, before the
 * program opens anything. Where that fails the program is not run: it could begin an empty second
 * database. Without MVSQLITE_MAP nothing happens. Messages go where MVSQLITE_LOG, _LOG_FILE and
 * _LOG_FORMAT say (native/base/logging.h), never into the page.
 */

(static function (): void {
    if (!getenv('MVSQLITE_MAP')) {
        return;
    }
    $library = dirname(__DIR__) . '/libmvsqlite.so';

    $load = static function () use ($library): void {
        if (class_exists('SQLite3') && ini_get('sqlite3.extension_dir')) {
            $connection = new SQLite3(':memory:');
            if (!@$connection->loadExtension(basename($library))) {
                throw new Exception(error_get_last()['message'] ?? 'SQLite3::loadExtension says no more');
            }
        } elseif (method_exists('Pdo\Sqlite', 'loadExtension')) {
            (new Pdo\Sqlite('sqlite::memory:'))->loadExtension($library);
        } else {
            throw new Exception('set sqlite3.extension_dir to ' . dirname($library) . ', and have the extension sqlite3');
        }
    };

    $line = static function (string $message): string {
        if (strcasecmp((string) getenv('MVSQLITE_LOG_FORMAT'), 'json') !== 0) {
            return "mvsqlite: error: $message\n";
        }
        $now = (new DateTimeImmutable('now', new DateTimeZone('UTC')))->format('Y-m-d\TH:i:s.v\Z');
        $told = ['time' => $now, 'level' => 'error', 'pid' => getmypid(), 'message' => $message];
        return json_encode($told, JSON_UNESCAPED_SLASHES | JSON_INVALID_UTF8_SUBSTITUTE) . "\n";
    };

    try {
        $load();
    } catch (Throwable $error) {
        $message = "PHP: the extension could not be loaded ({$error->getMessage()}), so nothing is routed. To keep the "
            . 'program from beginning anew it is not run: unset MVSQLITE_MAP to run it without mvsqlite';
        $file = getenv('MVSQLITE_LOG_FILE');
        if (strcasecmp((string) getenv('MVSQLITE_LOG'), 'off') !== 0) {
            $before = umask(0077);
            ($file && @file_put_contents($file, $line($message), FILE_APPEND) !== false)
                || @file_put_contents('php://stderr', $line($message));
            umask($before);
        }
        http_response_code(503);
        exit(1);
    }
})();
