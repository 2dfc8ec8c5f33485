"""From a volume to a model's input: what training and inference share."""
