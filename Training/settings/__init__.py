"""What a run is told: frozen dataclasses with a sentence per field."""
