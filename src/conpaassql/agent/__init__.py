"""Runs in the VM: idempotent verbs over one mysqld, and facts about it.  Decides nothing but its own fencing."""
