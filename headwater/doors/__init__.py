"""The doors room."""
