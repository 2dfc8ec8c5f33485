"""From measured cases to tables and pictures."""
