<?php

use Illuminate\Database\Migrations\Migration;
use Illuminate\Database\Schema\Blueprint;
use Illuminate\Support\Facades\Schema;

return new class extends Migration
{
    public function up()
    {
        Schema::table('albums', function (Blueprint $table) {
            $table->unsignedInteger('photos_count')->default(0);
        });
    }

    public function down()
    {
        \Illuminate\Support\Facades\DB::statement('ALTER TABLE albums DROP COLUMN photos_count');
    }
};
