<?php

return [
    'default' => 'database',
    'stores' => ['database' => ['driver' => 'database', 'table' => 'cache', 'connection' => null]],
    'prefix' => 'gallery',
];
