<?php

use Illuminate\Database\Migrations\Migration;
use Illuminate\Database\Schema\Blueprint;
use Illuminate\Support\Facades\DB;
use Illuminate\Support\Facades\Schema;

// A table made anew with other columns, as SQLite's ALTER TABLE cannot.
return new class extends Migration
{
    public $withinTransaction = false;

    public function up()
    {
        $this->rebuild(fn (Blueprint $table) => [$table->string('license')->default('none'), $table->text('tags')], "'none', ''");
    }

    public function down()
    {
        $this->rebuild(fn (Blueprint $table) => [], null);
    }

    private function rebuild(callable $more, ?string $values)
    {
        Schema::disableForeignKeyConstraints();
        DB::transaction(function () use ($more, $values) {
            Schema::create('photos_new', function (Blueprint $table) use ($more) {
                $table->id();
                $table->foreignId('album_id')->constrained()->cascadeOnDelete();
                $table->string('title');
                $table->timestamps();
                $more($table);
            });
            $columns = 'id, album_id, title, created_at, updated_at' . ($values === null ? '' : ", $values");
            DB::statement("INSERT INTO photos_new SELECT $columns FROM photos");
            Schema::drop('photos');
            Schema::rename('photos_new', 'photos');
            DB::statement('CREATE INDEX photos_album_id_title ON photos(album_id, title)');
        });
        Schema::enableForeignKeyConstraints();
    }
};
