"""What the module "Segment abdomen" does inside 3D Slicer; SAMora.py is its face."""
