<?php

return ['paths' => [], 'compiled' => getenv('GALLERY')];
