"""Mask decoders: from image embeddings to the logits of K = classes + 1 channels."""
