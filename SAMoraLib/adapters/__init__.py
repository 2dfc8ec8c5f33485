"""Adapters that are plugged into an encoder or decoder without renaming its parameters."""
