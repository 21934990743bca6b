"""What should happen: pure functions over frozen facts.  No clock, socket, log or thread in here."""
