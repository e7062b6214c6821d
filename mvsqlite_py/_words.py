"""Figures in words."""


def bytes_text(count: int) -> str:
    """A size for people: 1.2 MB."""
    size, units = float(count), ["bytes", "kB", "MB", "GB", "TB"]
    while size >= 999.5 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{count} bytes" if units[0] == "bytes" else f"{size:.3g} {units[0]}"


def plural(count: int, noun: str, many: str | None = None) -> str:
    """1 row, 2 rows; ``many`` where an s does not do."""
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"


def age_text(seconds: float) -> str:
    """How long something took, or takes."""
    for size, noun in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            return plural(int(seconds // size), noun)
    return plural(int(seconds), "second")
