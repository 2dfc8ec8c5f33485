"""Which packages are missing, and how they are installed: torch by the PyTorch extension and never by pip alone."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from SAMoraSlicer import dependencies
from SAMoraSlicer.dependencies import install, missing, sentence
from Testing.folders import ROOT


def requirements(folder: Path, *lines: str) -> Path:
    (folder / "requirements.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "requirements.txt"


def test_our_requirements_are_the_librarys_that_slicer_does_not_bring() -> None:
    needed = dict(re.findall(r'^    "([A-Za-z-]+)(>=[0-9.]+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE))
    ours = dict(re.fullmatch(r"([A-Za-z-]+)(>=[0-9.]+)", line).groups() for line in dependencies.requirements())
    assert ours == {name: bound for name, bound in needed.items() if name in ours}
    assert set(ours) == {"torch", "torchvision", "segment-anything", "safetensors", "tqdm", "pydicom", "nibabel",
                         "filelock"}


def test_what_is_installed_is_not_missing(tmp_path: Path) -> None:
    assert missing(requirements(tmp_path, "pytest>=8", "", "numpy")) == []


@pytest.mark.parametrize("line", ["samora-no-such-package>=1.0", "pytest>=9999.1"])
def test_what_is_absent_or_too_old_is_missing(tmp_path: Path, line: str) -> None:
    assert missing(requirements(tmp_path, "numpy", line)) == [line]


@pytest.mark.parametrize(("installed", "met"), [
    ("2.13.0+cpu", True), ("2.2", True), ("2.2.0", True), ("2.2rc1", True), ("10.0", True), ("2.1.9", False),
    ("1.99", False), ("", False), (None, False)])
def test_versions_are_compared_as_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: str | None,
                                          met: bool) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: installed)
    assert missing(requirements(tmp_path, "torch>=2.2.0")) == ([] if met else ["torch>=2.2.0"])


def test_looking_imports_nothing() -> None:
    heavy = ["torch", "torchvision", "segment_anything", "slicer", "qt", "pip"]
    code = ("import sys; sys.path.insert(0, 'SAMora')\nfrom SAMoraSlicer.dependencies import missing\nmissing()\n"
            f"print([name for name in {heavy} if name in sys.modules])")
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.strip() == "[]"


def test_people_are_told_names_and_size() -> None:
    assert sentence([]) == "All packages are installed."
    assert sentence(["torch>=2.2"]) == "torch is missing (0.3 to 3 GB, depending on the graphics card)."
    assert sentence(["safetensors>=0.4", "tqdm>=4", "x"]) == "safetensors, tqdm and x are missing (1 MB)."


@pytest.fixture
def slicer(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """Slicer's installers, which no package provides outside Slicer: they only note what they are asked for."""
    asked: list[Any] = []
    manager = types.SimpleNamespace(interactive=True)
    manager.installExtensionFromServer = lambda *named: asked.append(("extension", *named)) or True
    packaging = types.ModuleType("slicer.packaging")

    def pip_install(names: list[str], constraints: str) -> None:
        asked.append(("pip", names, Path(constraints).read_text(encoding="utf-8")))

    packaging.pip_install = pip_install
    module = types.ModuleType("slicer")
    module.app = types.SimpleNamespace(extensionsManagerModel=lambda: manager)
    module.packaging = packaging
    monkeypatch.setitem(sys.modules, "slicer", module)
    monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
    monkeypatch.setattr(dependencies, "missing", list)
    return types.SimpleNamespace(asked=asked, manager=manager, module=module)


def give_torch_extension(monkeypatch: pytest.MonkeyPatch, asked: list[Any], answer: Any = "torch",
                         renamed: bool = False) -> None:
    """PyTorchUtils with today's or yesterday's name of the keyword for torchvision."""
    def today(self: Any, askConfirmation: bool = False, torchVersionRequirement: str | None = None,
              torchvisionVersionRequirement: str | None = None) -> Any:
        return asked.append(("torch", torchVersionRequirement, torchvisionVersionRequirement)) or answer

    def yesterday(self: Any, askConfirmation: bool = False, torchVersionRequirement: str | None = None,
                  torchVisionVersionRequirement: str | None = None) -> Any:
        return asked.append(("torch", torchVersionRequirement, torchVisionVersionRequirement)) or answer

    module = types.ModuleType("PyTorchUtils")
    module.PyTorchUtilsLogic = type("PyTorchUtilsLogic", (), {"installTorch": yesterday if renamed else today})
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)


def test_torch_comes_first_and_the_rest_may_not_exchange_it(slicer: types.SimpleNamespace,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    give_torch_extension(monkeypatch, slicer.asked)
    assert install(["torch>=2.2", "torchvision>=0.17", "tqdm>=4.60"]) == ""
    assert slicer.asked[0] == ("torch", ">=2.2", ">=0.17")
    kind, names, constraints = slicer.asked[1]
    assert (kind, names) == ("pip", ["tqdm>=4.60"])
    assert f"numpy=={importlib.metadata.version('numpy')}\n" in constraints


def test_a_renamed_keyword_of_the_extension_does_no_harm(slicer: types.SimpleNamespace,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    give_torch_extension(monkeypatch, slicer.asked, renamed=True)
    install(["torch>=2.2", "torchvision>=0.17"])
    assert slicer.asked == [("torch", ">=2.2", None)]


def test_without_the_extension_it_is_installed_and_a_restart_asked_for(slicer: types.SimpleNamespace) -> None:
    assert install(["torch>=2.2", "tqdm>=4.60"]) == dependencies.RESTART
    assert slicer.asked == [("extension", "PyTorch", False)] and slicer.manager.interactive is True


def test_slicer_before_5_12_uses_its_own_pip(slicer: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    slicer.module.util = types.SimpleNamespace(pip_install=slicer.asked.append)
    install(["tqdm>=4.60"])
    assert slicer.asked[0][0] == "-c" and slicer.asked[0][2:] == ["tqdm>=4.60"]


def test_a_failure_is_one_sentence(slicer: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    give_torch_extension(monkeypatch, slicer.asked, answer=None)
    with pytest.raises(RuntimeError, match=r"^torch could not be installed \(the PyTorch extension gave up\); check"):
        install(["torch>=2.2"])

    def fail(names: list[str], constraints: str) -> None:
        raise subprocess.CalledProcessError(1, "pip")

    sys.modules["slicer.packaging"].pip_install = fail
    with pytest.raises(RuntimeError, match=r"^tqdm and safetensors could not be installed \(Command 'pip' returned"):
        install(["tqdm>=4.60", "safetensors>=0.4"])


def test_what_is_missing_after_all_is_said(slicer: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependencies, "missing", lambda: ["tqdm>=4.60"])
    assert install(["tqdm>=4.60"]) == "tqdm is missing (1 MB). Restart Slicer and press Install again."


def test_two_packages_are_named_with_the_size_of_the_largest() -> None:
    assert sentence(["tqdm>=4", "safetensors>=0.4"]) == "tqdm and safetensors are missing (1 MB)."
    assert sentence(["tqdm>=4", "torchvision>=0.17"]) == (
        "tqdm and torchvision are missing (0.3 to 3 GB, depending on the graphics card).")
    assert sentence(["tqdm>=4"]) == "tqdm is missing (1 MB)."


def test_an_extensions_server_that_gives_nothing_is_one_sentence(slicer: types.SimpleNamespace) -> None:
    slicer.manager.installExtensionFromServer = lambda *_: False
    with pytest.raises(RuntimeError, match=r"^torch could not be installed \(the extensions server did not give"):
        install(["torch>=2.2", "tqdm>=4.60"])
    assert slicer.asked == [] and slicer.manager.interactive is True


def test_a_failures_first_line_is_its_cause(slicer: types.SimpleNamespace) -> None:
    def fail(names: list[str], constraints: str) -> None:
        raise OSError("The server is gone.\nTraceback of pip\nand more")

    sys.modules["slicer.packaging"].pip_install = fail
    with pytest.raises(RuntimeError, match=r"^tqdm could not be installed \(The server is gone\); check the network"):
        install(["tqdm>=4.60"])

    def fail_silently(names: list[str], constraints: str) -> None:
        raise TimeoutError

    sys.modules["slicer.packaging"].pip_install = fail_silently
    with pytest.raises(RuntimeError, match=r"\(TimeoutError\)"):
        install(["tqdm>=4.60"])


def test_torch_alone_needs_no_pip(slicer: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    give_torch_extension(monkeypatch, slicer.asked)
    assert install(["torchvision>=0.17"]) == "" and slicer.asked == [("torch", None, ">=0.17")]


def test_a_torch_that_does_not_start_is_taken_away_with_torchvision(slicer: types.SimpleNamespace) -> None:
    slicer.module.util = types.SimpleNamespace(pip_uninstall=slicer.asked.append)
    assert dependencies.remove_torch() == "PyTorch was removed; restart Slicer and press Install."
    assert slicer.asked == ["torch torchvision"]
    slicer.module.util.pip_uninstall = None
    with pytest.raises(RuntimeError, match=r"^torch and torchvision could not be installed"):
        dependencies.remove_torch()


@pytest.mark.parametrize(("installed", "wanted", "met"), [
    ("1.0", "1", True), ("1", "1.0.0", True), ("1.0.1", "1.0.1", True), ("1.0.1", "1.0.2", False),
    ("0.10", "0.9", True), ("1.10.0", "1.1", True), ("1.1", "1.10", False), ("0.0", "0", True),
    ("weird", "0.1", False)])
def test_trailing_zeros_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: str, wanted: str,
                                     met: bool) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: installed)
    assert missing(requirements(tmp_path, f"a>={wanted}")) == ([] if met else [f"a>={wanted}"])
