"""The parameter node of a scene that anybody may have saved: what it says wrongly is set back before it is read.

Slicer's wrapper reads every parameter when it is made; a length that is no number would raise there, and one of a
billion never end. So this looks at the node itself, where parameters are texts, and a list is its length and its items.
"""

from __future__ import annotations

import re
from typing import Any

from SAMoraLib.system.streams import is_shown

NODES = {"inputVolume": "vtkMRMLScalarVolumeNode", "region": "vtkMRMLMarkupsROINode",
         "outputSegmentation": "vtkMRMLSegmentationNode"}
MODEL, ORGANS = "model", "skippedOrgans"
LENGTH = re.compile(r"\d{1,3}")
LONGEST_NAME = 255


def set_back(node: Any) -> list[str]:
    """Set back what a vtkMRMLScriptedModuleNode says wrongly.

    Returns:
        What was set back, in words; [] in all scenes that this module has saved.
    """
    wrong = [name for name in NODES if not _is_right_node(node, name)]
    for name in wrong:
        node.SetNodeReferenceID(name, None)
    if not _is_name(node.GetParameter(MODEL) or ""):
        node.SetParameter(MODEL, "")
        wrong.append(MODEL)
    if not _is_list_of_names(node):
        _forget_list(node)
        wrong.append(ORGANS)
    return wrong


def _is_right_node(node: Any, name: str) -> bool:
    """None, or of the class that is asked for; a node that is not in the scene is none."""
    found = node.GetNodeReference(name)
    return found is None or found.IsA(NODES[name])


def _is_name(text: str) -> bool:
    return len(text) <= LONGEST_NAME and (is_shown(text))


def _is_list_of_names(node: Any) -> bool:
    if not node.HasParameter(f"{ORGANS}_len"):
        return True
    length = node.GetParameter(f"{ORGANS}_len")
    return bool(LENGTH.fullmatch(length)) and all(_is_name(node.GetParameter(f"{ORGANS}_{number}") or "")
                                                  for number in range(int(length)))


def _forget_list(node: Any) -> None:
    for name in [name for name in node.GetParameterNames() if name.startswith(f"{ORGANS}_")]:
        node.UnsetParameter(name)
