<?php

return [
    'driver' => 'database',
    'connection' => null,
    'table' => 'sessions',
    'lifetime' => 120,
    'expire_on_close' => false,
    'encrypt' => false,
    'lottery' => [1, 5],
    'cookie' => 'gallery',
    'path' => '/',
    'domain' => null,
    'secure' => false,
    'http_only' => true,
    'same_site' => 'lax',
];
