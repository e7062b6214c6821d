"""Figures beside stock SQLite: one question a file, all contenders in one run.

``python -m benchmarks.commits`` answers one question, ``python -m benchmarks.run_all`` all of them.
"""
