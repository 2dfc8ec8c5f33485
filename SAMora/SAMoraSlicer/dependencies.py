"""What the child process needs and Slicer does not bring: which packages are missing, and their installation.

Looking never imports a package: a torch that has been imported could not be replaced without a restart.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

REQUIREMENTS = Path(__file__).resolve().parents[1] / "Resources" / "requirements.txt"
TORCH = ("torch", "torchvision")
FROZEN = (*TORCH, "numpy", "scipy", "SimpleITK")  # what no other package may exchange
TORCH_SIZE, OTHERS_SIZE = "0.3 to 3 GB, depending on the graphics card", "1 MB"
RESTART = "The PyTorch extension is installed; restart Slicer, open this module again and press Install once more."


def missing(file: Path | None = None) -> list[str]:
    """The requirements that are not met, as they stand in requirements.txt, e.g. ["torch>=2.2"]."""
    importlib.invalidate_caches()  # packages that another process has just installed
    return [line for line in requirements(file) if not _met(line)]


def requirements(file: Path | None = None) -> list[str]:
    """All lines of requirements.txt, each a name and ">=" and a version."""
    return (file or REQUIREMENTS).read_text(encoding="utf-8").split()


def sentence(requirements: Sequence[str]) -> str:
    """What is missing and how much it is, for people."""
    if not requirements:
        return "All packages are installed."
    names = [_name(requirement) for requirement in requirements]
    verb = "is" if len(names) == 1 else "are"
    size = TORCH_SIZE if any(name in TORCH for name in names) else OTHERS_SIZE
    return f"{_listed(names)} {verb} missing ({size})."


def install(requirements: Sequence[str]) -> str:
    """Install what is missing: torch through the PyTorch extension, which knows the graphics card, then the rest.

    Returns:
        "" when all is there, or one sentence about what is left to do.

    Raises:
        RuntimeError: one sentence about what failed.
    """
    torch = [requirement for requirement in requirements if _name(requirement) in TORCH]
    others = [requirement for requirement in requirements if requirement not in torch]
    if torch and (left := _tried(torch, _install_torch)):
        return left
    if others:
        _tried(others, _install_others)
    if left_over := missing():
        return f"{sentence(left_over)} Restart Slicer and press Install again."
    return ""


def remove_torch() -> str:
    """Take away a torch that is there and does not start: installing over it would change nothing.

    Returns:
        What is left to do, in one sentence.

    Raises:
        RuntimeError: one sentence about what failed.
    """
    return _tried(TORCH, _uninstall)


def _uninstall(names: Sequence[str]) -> str:
    import slicer

    slicer.util.pip_uninstall(" ".join(names))
    return "PyTorch was removed; restart Slicer and press Install."


def _met(requirement: str) -> bool:
    try:
        # A half-removed package has a folder and no version.
        installed = importlib.metadata.version(_name(requirement)) or ""
    except importlib.metadata.PackageNotFoundError:
        return False
    minimum = requirement.partition(">=")[2]
    return bool(installed) and _numbers(installed) >= _numbers(minimum)


def _name(requirement: str) -> str:
    return requirement.partition(">=")[0].strip()


def _numbers(version: str) -> tuple[int, ...]:
    """(2, 13) of "2.13.0+cpu": "1" is "1.0"."""
    release = re.match(r"(?:[0-9]+\.?)*", version)
    numbers = [int(part) for part in (release[0] if release else "").split(".") if part]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _tried(requirements: Sequence[str], action: Callable[[Sequence[str]], str]) -> str:
    try:
        return action(requirements)
    except Exception as error:  # pip, the extension's server, a file that is in use: whatever they raise
        cause = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        names = _listed([_name(requirement) for requirement in requirements])
        raise RuntimeError(f"{names} could not be installed ({cause}); check the network or the proxy, restart Slicer "
                           "and try again.") from error


def _install_torch(requirements: Sequence[str]) -> str:
    try:
        import PyTorchUtils
    except ImportError:
        return _install_extension()
    logic = PyTorchUtils.PyTorchUtilsLogic()
    versions = {f"{_name(line)}VersionRequirement": line[len(_name(line)):] for line in requirements}
    # The keyword for torchvision was once renamed, which broke every extension that used it.
    accepted = inspect.signature(logic.installTorch).parameters
    known = {keyword: version for keyword, version in versions.items() if keyword in accepted}
    if logic.installTorch(askConfirmation=False, **known) is None:
        raise RuntimeError("the PyTorch extension gave up")
    return ""


def _install_extension() -> str:
    import slicer

    manager: Any = slicer.app.extensionsManagerModel()
    before, manager.interactive = manager.interactive, False  # no pop-ups: the person has agreed already
    try:
        if not manager.installExtensionFromServer("PyTorch", False):
            raise RuntimeError("the extensions server did not give the PyTorch extension")
    finally:
        manager.interactive = before
    return RESTART


def _install_others(requirements: Sequence[str]) -> str:
    import slicer

    with tempfile.TemporaryDirectory(prefix="samora-") as folder:
        constraints = Path(folder, "constraints.txt")
        constraints.write_text("".join(f"{line}\n" for line in _frozen()), encoding="utf-8")
        try:
            from slicer.packaging import pip_install  # Slicer 5.12: a window with pip's progress
        except ImportError:
            slicer.util.pip_install(["-c", str(constraints), *requirements])
        else:
            pip_install(list(requirements), constraints=str(constraints))
    return ""


def _frozen() -> list[str]:
    lines = []
    for name in FROZEN:
        try:
            lines.append(f"{name}=={importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return lines
