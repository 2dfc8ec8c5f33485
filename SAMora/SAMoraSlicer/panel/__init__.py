"""The parts of the panel; each looks after its own widgets and tells the others by one callback that it changed."""
