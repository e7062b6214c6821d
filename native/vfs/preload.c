/* What the preload library finds here. */
#include "vfs.h"

MV_API int sqlite3_mvsqlite_init(sqlite3 *db, char **message, const sqlite3_api_routines *api);

/* SQLite takes everything but SQLITE_OK for a failure of an auto extension. */
int mvv_preload_entry(sqlite3 *db, char **message, const sqlite3_api_routines *api)
{
    if (!api) /* built without extensions */
        return SQLITE_ERROR;
    int rc = sqlite3_mvsqlite_init(db, message, api);
    return rc == SQLITE_OK_LOAD_PERMANENTLY ? SQLITE_OK : rc;
}
