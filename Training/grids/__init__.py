"""Many runs by one command: what a grid file plans, and how it is carried out."""
