"""SAMoraLib: segment the organs of CT and MR volumes with SAM-based models.

Importing the package loads neither torch nor SimpleITK: labels, variants and checkpoint cards can be read in
processes that must stay light, such as 3D Slicer's.
"""

__version__ = "0.1.0"
