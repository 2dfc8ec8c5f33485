"""Fast and exact computations that know no model."""
