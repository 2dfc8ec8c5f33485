"""What a model starts from: files of tensors, Meta's SAM and SAM 2."""
