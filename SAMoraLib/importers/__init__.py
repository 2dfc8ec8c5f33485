"""Readers of files that other projects published; third-party ``.pth`` is read here alone, as tensors only."""
