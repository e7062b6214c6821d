#include "texts.h"

#include "../base/error.h"
#include "frames.h"

/* What is likeliest stands last: it is the nearest. */
static const char words[] =
    "CREATE TABLE IF NOT EXISTS (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, TEXT NOT NULL DEFAULT '' UNIQUE "
    "REFERENCES ON DELETE CASCADE);CREATE UNIQUE INDEX ALTER TABLE ADD COLUMN DROP TABLE SELECT count(*) FROM AS "
    "JOIN ON LEFT JOIN GROUP BY ORDER BY DESC LIMIT IN (SELECT IS NOT NULL OR LIKE CASE WHEN THEN ELSE END coalesce( "
    "datetime('now') CURRENT_TIMESTAMP created_at updated_at username password session INSERT OR IGNORE INTO "
    "REPLACE INTO INSERT INTO \"name\", \"title\", \"value\", \"content\", \"status\", \"type\", \"date\") "
    "VALUES (?1, ?2, ?3, ?4) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING ON CONFLICT (id) DO UPDATE SET "
    "excluded.RETURNING id DELETE FROM WHERE id = ? AND UPDATE SET value = ?, WHERE id = ? /* 2 times */;\n"
    "INSERT INTO (id, name, title, value, content, date, type, status) VALUES (?, ?, ?, ?, ?, ?, ?, ?);\n";

static const mv_slice prefix = {(const uint8_t *)words, sizeof words - 1};

void mvi_text_pack(mv_slice text, mvi_buf *out)
{
    mvi_buf head = {0};
    mvi_buf_varint(&head, text.size);
    mv_slice frame = text.size && text.size <= MVI_FRAME_SOURCE_MAX ? mvi_frame_make(text, prefix) : mvi_slice(NULL, 0);
    if (frame.size && head.size + frame.size < text.size) {
        mvi_buf_add(out, head.data, head.size);
        mvi_buf_add(out, frame.data, frame.size);
    }
    mvi_buf_free(&head);
}

int mvi_text_unpack(mv_slice packed, mvi_buf *out)
{
    mvi_reader r = {packed.data, packed.data + packed.size, 0};
    size_t n = mvi_read_varint(&r), at = out->size;
    if (r.failed || n > MVI_FRAME_SOURCE_MAX)
        return mv_fail(MV_CORRUPT, "the statements of a commit cannot be unpacked");
    if (!mvi_frame_ready() || !mvi_buf_grow(out, n))
        return mv_fail(MV_NOMEM, "out of memory unpacking statements");
    if (!mvi_frame_open(mvi_slice(r.at, (size_t)(r.end - r.at)), prefix, out->data + at, n)) {
        out->size = at;
        return mv_fail(MV_CORRUPT, "the statements of a commit cannot be unpacked");
    }
    return MV_OK;
}
