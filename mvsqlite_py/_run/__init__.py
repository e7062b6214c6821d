"""``mvsqlite run``: a program is started so that its databases are those of a store."""
