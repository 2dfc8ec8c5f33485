"""The networks that stage 1 distils from: SimCLRv2 for the image level, MAE for the patch level."""
