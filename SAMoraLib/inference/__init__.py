"""From a volume to its segmentation on the same grid."""
