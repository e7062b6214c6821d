"""A whole stack on one machine without root, for trying out: what stands in for the rest is said."""
