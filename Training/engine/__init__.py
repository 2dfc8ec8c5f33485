"""What every stage's training is made of: the loop, the run's folder, optimisers, sharding, validation."""
