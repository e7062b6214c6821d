/* Commits over several attached databases. SQLite writes a super-journal, asks every
 * database to sync with that journal's name, and then deletes it: the deletion is the
 * commit. So databases that are asked wait, and the deletion commits them together.
 *
 * If it fails, SQLite rolls back each database from its journal, which names the
 * super-journal: one that no longer exists would mean "committed". A database may be named
 * in it that never came to wait, so one that was given up stays known long after (GIVEN_UP).
 * Rolling back ends with opening and deleting the super-journal (pager_delsuper), which
 * here deletes nothing and above all commits nothing. */
#include "vfs.h"

#define GIVEN_UP 256 /* of them are remembered; a rollback under way is among the last */

struct mvv_super {
    mvv_super *next;
    mvv_file *members;
    int given_up; /* the commit has failed, or is being rolled back */
    char name[];
};

static mvv_super **find(mvv_copy *copy, const char *name)
{
    mvv_super **link = &copy->supers;
    while (*link && strcmp((*link)->name, name) != 0)
        link = &(*link)->next;
    return link;
}

static void forget_oldest(mvv_copy *copy)
{
    unsigned seen = 0;
    for (mvv_super **link = &copy->supers; *link;) {
        mvv_super *s = *link;
        if (s->given_up && !s->members && ++seen > GIVEN_UP) {
            *link = s->next;
            free(s);
        } else {
            link = &s->next;
        }
    }
}

int mvv_super_begin(mvv_copy *copy, const char *name)
{
    size_t n = strlen(name) + 1;
    mvv_super *s = calloc(1, sizeof *s + n);
    if (!s)
        return SQLITE_NOMEM;
    memcpy(s->name, name, n);
    pthread_mutex_lock(&copy->lock);
    forget_oldest(copy);
    s->next = copy->supers;
    copy->supers = s;
    pthread_mutex_unlock(&copy->lock);
    return SQLITE_OK;
}

/* Takes the file out of its group; one that nobody is left in was given up. Under the lock. */
static void unlink_member(mvv_file *file)
{
    mvv_super *s = file->super;
    if (!s)
        return;
    for (mvv_file **link = &s->members; *link; link = &(*link)->super_next)
        if (*link == file) {
            *link = file->super_next;
            break;
        }
    file->super = NULL;
    file->super_next = NULL;
    if (!s->members)
        s->given_up = 1;
}

int mvv_super_join(mvv_file *file, const char *name)
{
    mvv_copy *copy = file->copy;
    pthread_mutex_lock(&copy->lock);
    mvv_super *s = *find(copy, name);
    if (s && file->super != s) {
        unlink_member(file); /* of an earlier COMMIT that failed and is tried again */
        file->super = s;
        file->super_next = s->members;
        s->members = file;
    }
    pthread_mutex_unlock(&copy->lock);
    return s != NULL;
}

void mvv_super_leave(mvv_file *file)
{
    pthread_mutex_lock(&file->copy->lock);
    unlink_member(file);
    pthread_mutex_unlock(&file->copy->lock);
}

void mvv_super_give_up(mvv_copy *copy, const char *name)
{
    pthread_mutex_lock(&copy->lock);
    mvv_super *s = *find(copy, name);
    if (s)
        s->given_up = 1;
    pthread_mutex_unlock(&copy->lock);
}

int mvv_super_exists(mvv_copy *copy, const char *name)
{
    pthread_mutex_lock(&copy->lock);
    int exists = *find(copy, name) != NULL;
    pthread_mutex_unlock(&copy->lock);
    return exists;
}

static int commit_members(mvv_copy *copy, mvv_file *members, size_t n)
{
    mv_db **dbs = calloc(n, sizeof *dbs);
    size_t i = 0;
    int rc = dbs ? SQLITE_OK : SQLITE_NOMEM;
    for (mvv_file *f = members; f && !rc; f = f->super_next) {
        rc = mvv_file_before_commit(f);
        dbs[i++] = f->db;
    }
    if (!rc) {
        int code = mv_db_commit(dbs, n, NULL);
        rc = code ? mvv_error(copy, code) : SQLITE_OK;
    }
    free(dbs);
    return rc;
}

int mvv_super_commit(mvv_copy *copy, const char *name)
{
    size_t n = 0;
    pthread_mutex_lock(&copy->lock);
    mvv_super **link = find(copy, name), *s = *link;
    if (s && s->given_up)
        s = NULL;
    mvv_file *members = s ? s->members : NULL;
    for (mvv_file *f = members; f; f = f->super_next)
        n++;
    pthread_mutex_unlock(&copy->lock);
    if (!s)
        return SQLITE_OK;
    int rc = n ? commit_members(copy, members, n) : SQLITE_OK;
    for (mvv_file *f = members; f && rc; f = f->super_next)
        mvv_file_refused(f, rc);
    if (rc) {
        mvv_super_give_up(copy, name); /* the members leave when they are rolled back or tried again */
        return rc;
    }
    pthread_mutex_lock(&copy->lock);
    link = find(copy, name);
    if (*link == s)
        *link = s->next;
    pthread_mutex_unlock(&copy->lock);
    for (mvv_file *f = members, *next; f; f = next) {
        next = f->super_next;
        f->super = NULL;
        f->super_next = NULL;
        mvv_file_committed(f);
    }
    free(s);
    return SQLITE_OK;
}
