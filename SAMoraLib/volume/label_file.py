"""Whether a file is a label volume, as results are."""

from __future__ import annotations

from pathlib import Path

from SAMoraLib.system.numeric_locale import decimal_point
from SAMoraLib.system.text_path import text_path
from SAMoraLib.volume.io import NIFTI, WRITABLE
from SAMoraLib.volume.nifti import read_voxels


@decimal_point()
def is_label_volume(path: Path) -> bool:
    """Whether a file holds integers on a grid and is whole: a result, also one that was corrected with another program,
    and neither an empty or half file nor anything else that stands in a result's place.

    Where its header says so, it is read once, which takes a fraction of a second.
    """
    import SimpleITK as sitk

    if not path.is_file() or not path.name.lower().endswith(WRITABLE):
        return False
    warns = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        with text_path(path) as name:
            if path.name.lower().endswith(NIFTI):
                read_voxels(path)  # ITK does not notice that the end is missing
            return _holds_integers(str(name)) and sitk.ReadImage(str(name)).GetNumberOfPixels() > 0
    except (RuntimeError, ValueError, OSError):
        return False
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(warns)


def _holds_integers(name: str) -> bool:
    """By the header alone."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(name)
    reader.ReadImageInformation()
    kind = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    return "integer" in kind and "complex" not in kind
