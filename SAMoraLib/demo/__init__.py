"""A synthetic abdomen and a small model trained on it: try the module without patient data."""
