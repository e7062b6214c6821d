"""The commands of ``mvstack``."""
