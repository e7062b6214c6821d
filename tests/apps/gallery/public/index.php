<?php
// The front door of the gallery: behind php -S, or php-fpm and nginx.
$app = require __DIR__ . '/../app/bootstrap.php';
$kernel = $app->make(Illuminate\Contracts\Http\Kernel::class);
$request = Illuminate\Http\Request::capture();
$response = $kernel->handle($request);
$response->send();
$kernel->terminate($request, $response);
