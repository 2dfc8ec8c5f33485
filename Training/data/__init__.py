"""From a folder of labelled volumes to the slices that a training step sees."""
