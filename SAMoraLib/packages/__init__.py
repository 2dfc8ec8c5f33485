"""The doors to other people's packages: what makes them importable, and what is used of them."""
