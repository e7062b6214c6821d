"""The status page: how the parts of a stack are, for everybody, without sign-in.

A part is checked again and again (``checks``, ``watch``), in a way that one that hangs delays no other. What
was found becomes its state, its incidents and its days (``parts``, ``tally``, ``board``), which are kept in a
database of the store (``history``). Visitors get pages, events, JSON and metrics from memory (``app``,
``page``, ``bodies``, ``events``), so that the page goes on when the store does not.

Nothing here says more than it must: what is public about a failure is one of a few sentences
(``parts.Reason``), never the text of an error.
"""
