"""The stack around mvsqlite: one domain, one sign-in, private apps behind a gateway."""
