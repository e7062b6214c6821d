"""Makes hosts be as declared: what is wanted of one, what is found there, what to do about it, and doing it.

``wanted`` and ``decide`` know no host: they are data in and data out, so that ``mvstack plan`` prints what
``mvstack apply`` does. ``found`` and ``perform`` are scripts for a POSIX shell, which every host has before
anything is installed; ``machines`` runs them, over SSH or here, with pyinfra.
"""
