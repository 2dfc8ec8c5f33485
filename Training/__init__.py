"""Training of SAMora's checkpoints: a user of SAMoraLib, headless, run from the clone."""
