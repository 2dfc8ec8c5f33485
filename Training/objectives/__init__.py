"""What each stage minimises: modules whose forward takes a batch and returns the loss."""
