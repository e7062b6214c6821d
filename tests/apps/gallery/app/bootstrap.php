<?php
// A photo gallery on Laravel, with its database as Lychee has it: one SQLite file, foreign keys on,
// sessions, jobs and locks in tables. GALLERY is a directory for what it writes, DB_DATABASE the file.
error_reporting(E_ALL & ~E_DEPRECATED);
require_once 'Illuminate/autoload.php';
require_once __DIR__ . '/gallery.php';

$app = new Illuminate\Foundation\Application(dirname(__DIR__));
$app->useStoragePath(getenv('GALLERY'));
foreach (['PACKAGES', 'SERVICES', 'CONFIG', 'ROUTES', 'EVENTS'] as $cache) {
    $_ENV["APP_{$cache}_CACHE"] = $_SERVER["APP_{$cache}_CACHE"] = getenv('GALLERY') . "/$cache.php";
}
$app->singleton(Illuminate\Contracts\Http\Kernel::class, Gallery\HttpKernel::class);
$app->singleton(Illuminate\Contracts\Console\Kernel::class, Gallery\ConsoleKernel::class);
$app->singleton(Illuminate\Contracts\Debug\ExceptionHandler::class, Illuminate\Foundation\Exceptions\Handler::class);
return $app;
