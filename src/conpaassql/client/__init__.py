"""Command-line clients of the manager and of an agent."""
