"""A small notes application like many others: it keeps a SQLite file, and knows nothing of this project."""
