<?php

return [
    'default' => 'sqlite',
    'migrations' => 'migrations',
    'connections' => [
        'sqlite' => [
            'driver' => 'sqlite',
            'database' => getenv('DB_DATABASE'),
            'prefix' => '',
            'foreign_key_constraints' => true,
            'options' => [PDO::ATTR_PERSISTENT => (bool) getenv('DB_PERSISTENT'), PDO::ATTR_TIMEOUT => 20],
        ],
    ],
];
