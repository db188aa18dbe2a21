"""Doors: translate, never decide."""
