<?php

namespace Gallery;

use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Database\Eloquent\Model;
use Illuminate\Http\Request;
use Illuminate\Queue\InteractsWithQueue;
use Illuminate\Support\Facades\DB;
use Illuminate\Support\Facades\Queue;
use Illuminate\Support\Facades\Route;
use Illuminate\Support\ServiceProvider;

class HttpKernel extends \Illuminate\Foundation\Http\Kernel
{
    protected $middleware = [\Illuminate\Session\Middleware\StartSession::class];
}

class ConsoleKernel extends \Illuminate\Foundation\Console\Kernel
{
}

class Album extends Model
{
    protected $guarded = [];

    public function photos()
    {
        return $this->hasMany(Photo::class);
    }
}

class Photo extends Model
{
    protected $guarded = [];
}

/** Counts an album's photos, later and in another process. */
class Recount implements ShouldQueue
{
    use InteractsWithQueue;

    public function __construct(public int $album)
    {
    }

    public function handle(): void
    {
        $album = Album::find($this->album);
        $album?->update(['photos_count' => $album->photos()->count()]);
    }
}

class Provider extends ServiceProvider
{
    public function boot(): void
    {
        $this->loadMigrationsFrom(base_path('migrations'));
        Route::get('/albums', [Pages::class, 'albums']);
        Route::post('/albums', [Pages::class, 'create']);
        Route::get('/albums/{id}/photos', [Pages::class, 'photos']);
        Route::post('/albums/{id}/photos', [Pages::class, 'upload']);
        Route::delete('/albums/{id}/photos', [Pages::class, 'clear']);
        Route::post('/albums/{id}/try', [Pages::class, 'nested']);
        Route::post('/maintenance', [Pages::class, 'maintenance']);
        Route::get('/me', [Pages::class, 'me']);
    }
}

class Pages
{
    public function albums()
    {
        return Album::orderBy('id')->get(['id', 'title', 'photos_count']);
    }

    public function create(Request $request)
    {
        return Album::create(['title' => $request->input('title')])->only('id', 'title');
    }

    public function photos(int $id)
    {
        return Album::findOrFail($id)->photos()->orderBy('id')->get(['id', 'title', 'license', 'tags']);
    }

    public function upload(Request $request, int $id)
    {
        $titles = (array) $request->input('titles');
        DB::transaction(function () use ($id, $titles) {
            foreach ($titles as $title) {
                Album::findOrFail($id)->photos()->create(['title' => $title, 'tags' => "of $id"]);
            }
            Queue::push(new Recount($id));
        }, 5);
        return ['uploaded' => count($titles)];
    }

    public function clear(int $id)
    {
        $deleted = DB::transaction(function () use ($id) {
            $deleted = Album::findOrFail($id)->photos()->delete();
            Queue::push(new Recount($id));
            return $deleted;
        }, 5);
        return ['deleted' => $deleted];
    }

    /** An inner transaction that fails inside an outer one that does not. */
    public function nested(int $id)
    {
        return DB::transaction(function () use ($id) {
            $album = Album::findOrFail($id);
            $album->photos()->create(['title' => 'kept', 'tags' => '']);
            try {
                DB::transaction(function () use ($id) {
                    Photo::where('album_id', $id)->delete();
                    Photo::create(['title' => 'no such album', 'album_id' => 999999, 'tags' => '']);
                });
            } catch (\Illuminate\Database\QueryException $error) {
                return ['refused' => $error->errorInfo[2], 'photos' => $album->photos()->count()];
            }
        }, 5);
    }

    public function maintenance()
    {
        DB::statement('VACUUM');
        DB::statement('ANALYZE');
        return ['integrity' => DB::selectOne('PRAGMA integrity_check')->integrity_check,
                'journal_mode' => DB::selectOne('PRAGMA journal_mode')->journal_mode];
    }

    public function me(Request $request)
    {
        return ['visits' => tap($request->session()->get('visits', 0) + 1,
                                fn ($n) => $request->session()->put('visits', $n))];
    }
}
