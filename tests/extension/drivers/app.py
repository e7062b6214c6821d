import sys

import apsw

with apsw.Connection(sys.argv[1]) as db:
    db.execute("CREATE TABLE IF NOT EXISTS note(text); INSERT INTO note VALUES ('python')")
    print(*(row[0] for row in db.execute("SELECT text FROM note")))
