"""The section "Setup": missing packages and models, each a sentence and a button."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from SAMoraSlicer import dependencies
from Testing.slicer import harness
from Testing.slicer.bare_checkpoint import write_catalogue, write_checkpoint
from Testing.slicer.model_server import ModelServer, serving


def choose_in_list(widget: Any, title: str) -> None:
    tree = widget.ui.modelsTree
    row = next(n for n in range(tree.topLevelItemCount) if tree.topLevelItem(n).text(0) == title)
    tree.setCurrentItem(tree.topLevelItem(row))


def listed(widget: Any) -> dict[str, str]:
    tree = widget.ui.modelsTree
    items = [tree.topLevelItem(n) for n in range(tree.topLevelItemCount)]
    return {item.text(0): item.text(1) for item in items}


@pytest.fixture
def packages(widget: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`packages("torch>=99")`: what the module needs from now on."""
    file = tmp_path / "requirements.txt"
    monkeypatch.setattr(dependencies, "REQUIREMENTS", file)

    def need(*lines: str) -> None:
        file.write_text("\n".join(lines), encoding="utf-8")
        widget.parent.exit()
        widget.parent.enter()

    return need


def test_it_folds_when_all_is_there(widget: Any) -> None:
    assert widget.ui.setupButton.collapsed and widget.ui.setupButton.text == "Setup: ready"
    assert not widget.ui.installButton.visible


def test_missing_packages_are_a_sentence_and_a_button(widget: Any, packages: Callable[..., None],
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    packages("torch>=99", "numpy")
    ui = widget.ui
    assert not ui.setupButton.collapsed and ui.setupButton.text == "Setup: packages are missing"
    assert ui.dependenciesLabel.text == "torch is missing (0.3 to 3 GB, depending on the graphics card)."
    assert not ui.applyButton.enabled and ui.statusButton.text == "Install"
    assert widget.panel.device.busy is False, "no torch to ask"
    asked: list[object] = []

    def install(lines: list[str]) -> str:
        asked.append(lines)
        dependencies.REQUIREMENTS.write_text("numpy", encoding="utf-8")
        return ""

    monkeypatch.setattr(dependencies, "install", install)
    harness.click(ui.statusButton)
    assert asked == [["torch>=99"]]
    assert ui.setupButton.collapsed and ui.statusLabel.text == "Load a CT or MR volume."


def test_it_asks_before_it_installs(widget: Any, packages: Callable[..., None],
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    import slicer

    packages("torch>=99")
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: widget.parent)
    questions: list[str] = []
    installed: list[object] = []
    monkeypatch.setattr(dependencies, "install", lambda lines: installed.append(lines) or "")
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: questions.append(text))
    harness.click(widget.ui.installButton)
    assert len(questions) == 1 and "torch is missing (0.3 to 3 GB" in questions[0] and installed == []
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: True)
    harness.click(widget.ui.installButton)
    assert installed == [["torch>=99"]]


def test_an_installation_that_fails_is_one_sentence(widget: Any, packages: Callable[..., None]) -> None:
    """Really tried: this is no Slicer, so the installation fails where it looks for Slicer's extensions."""
    packages("torch>=99")
    harness.click(widget.ui.installButton)
    assert widget.ui.setupModelLabel.text.startswith("torch could not be installed (")
    assert widget.ui.setupModelLabel.text.endswith("restart Slicer and try again.")
    assert widget.ui.statusLabel.text == widget.ui.setupModelLabel.text and widget.ui.statusButton.text == "Install"


def test_packages_that_do_not_work_are_noticed(widget: Any, child: Any, tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    import slicer

    (tmp_path / "broken/torch").mkdir(parents=True)
    (tmp_path / "broken/torch/__init__.py").write_text("raise OSError('c10.dll cannot be found')", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))
    harness.click(widget.ui.refreshDevicesButton)
    assert not widget.ui.refreshDevicesButton.enabled
    harness.wait_until(lambda: not widget.panel.device.busy, 60)
    said = "PyTorch does not start (c10.dll cannot be found); press Install to install it again."
    assert widget.ui.statusLabel.text == widget.ui.dependenciesLabel.text == said
    assert not widget.ui.setupButton.collapsed and widget.ui.installButton.visible
    monkeypatch.delenv("PYTHONPATH")
    removed: list[str] = []
    monkeypatch.setattr(slicer.util, "pip_uninstall", removed.append)
    monkeypatch.setattr(dependencies, "install", lambda lines: pytest.fail("installing over it would change nothing"))
    harness.click(widget.ui.installButton)
    assert removed == ["torch torchvision"]
    assert widget.panel.device.busy, "what was installed is tried at once"
    harness.wait_until(lambda: not widget.panel.device.busy, 60)
    assert widget.ui.statusLabel.text == "Load a CT or MR volume."


@pytest.fixture
def server(widget: Any, models_folder: Path, tmp_path: Path) -> Iterator[ModelServer]:
    """Serves a model that the panel lists and that is not on this computer."""
    content = write_checkpoint(tmp_path / "served.safetensors").read_bytes() + bytes(500_000)
    with serving(content) as running:
        write_catalogue(models_folder, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest(),
                        urls=[running.url])
        widget.panel.setup.look()
        yield running


def finish_download(widget: Any) -> None:
    harness.wait_until(lambda: not widget.panel.setup.busy, 60)


def test_a_model_is_downloaded_from_the_status_line(widget: Any, server: ModelServer, child: Any,
                                                    models_folder: Path) -> None:
    ui = widget.ui
    assert listed(widget)["Abdomen CT"] == "no, 0.5 MB"
    widget.panel.models.select("abdomen-ct")
    assert ui.statusLabel.text == "'Abdomen CT' is not on this computer yet (0.5 MB)."
    assert not ui.applyButton.enabled and not ui.organsList.enabled
    harness.click(ui.statusButton)
    assert widget.panel.setup.busy and ui.statusButton.text == "Cancel"
    finish_download(widget)
    assert (models_folder / "abdomen-ct.safetensors").stat().st_size == len(server.content)
    assert ui.statusLabel.text == "Load a CT or MR volume." and ui.organsList.enabled and ui.organsList.count == 8
    assert listed(widget)["Abdomen CT"] == "yes, 0.5 MB" and not widget.panel.timer.isActive()


def test_a_download_is_cancelled_and_resumed(widget: Any, server: ModelServer, child: Any, models_folder: Path) -> None:
    ui = widget.ui
    ui.setupButton.collapsed = False
    choose_in_list(widget, "Abdomen CT")
    server.pause = 0.05
    harness.click(ui.downloadButton)
    part = models_folder / "abdomen-ct.safetensors.part"
    harness.wait_until(lambda: part.exists() and part.stat().st_size > 0, 60)
    assert ui.downloadButton.text == "Cancel" and ui.downloadProgress.visible and not ui.deleteButton.enabled
    harness.click(ui.downloadButton)
    assert not widget.panel.setup.busy and ui.downloadButton.text == "Resume" and not ui.downloadProgress.visible
    assert listed(widget)["Abdomen CT"].endswith(" %")
    widget.panel.models.select("abdomen-ct")
    assert "of 0.5 MB of 'Abdomen CT' are on this computer." in ui.statusLabel.text
    server.pause = 0.0
    harness.click(ui.downloadButton)
    finish_download(widget)
    assert server.ranges[-1].startswith("bytes=") and listed(widget)["Abdomen CT"] == "yes, 0.5 MB"


@pytest.mark.parametrize(("trouble", "said"), [
    ({"status": 404}, "refused the model (404 Not Found)"),
    ({"cut_after": 0}, "cannot be read (the connection was cut)"),
    ({"content": b"\0" * 100}, "shorter file|another file|was cut"),
])
def test_a_download_that_fails_is_one_sentence(widget: Any, server: ModelServer, child: Any, models_folder: Path,
                                               trouble: dict[str, Any], said: str) -> None:
    for name, value in trouble.items():
        setattr(server, name, value)
    widget.panel.models.select("abdomen-ct")
    harness.click(widget.ui.statusButton)
    finish_download(widget)
    text = widget.ui.statusLabel.text  # also where Setup is folded
    assert text == widget.ui.setupModelLabel.text and widget.ui.statusButton.text in ("Download", "Resume")
    assert any(part in text for part in said.split("|")) and text.endswith(".") and "\n" not in text
    assert not (models_folder / "abdomen-ct.safetensors").exists()
    choose_in_list(widget, "Abdomen CT")
    assert "2 organs" in widget.ui.setupModelLabel.text


def test_a_killed_download_can_be_resumed(widget: Any, server: ModelServer, child: Any) -> None:
    server.pause = 0.05
    widget.panel.setup.download(widget.panel.setup.model("abdomen-ct"))
    os.kill(widget.panel.setup._download.pid, signal.SIGKILL)
    finish_download(widget)
    assert "was ended by the system" in widget.ui.setupModelLabel.text


def test_leaving_slicer_ends_a_download(widget: Any, server: ModelServer, child: Any, slicer_app: Any) -> None:
    server.pause = 0.05
    widget.panel.setup.download(widget.panel.setup.model("abdomen-ct"))
    process = widget.panel.setup._download
    slicer_app.fire("aboutToQuit()")
    assert process.poll() is not None


def test_a_model_comes_from_a_file_and_goes(widget: Any, models_folder: Path, tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    import qt

    ui = widget.ui
    ui.setupButton.collapsed = False
    source = write_checkpoint(tmp_path / "Leber.safetensors", description="Ours.")
    monkeypatch.setattr(qt.QFileDialog, "getOpenFileName", lambda *arguments: str(source))
    harness.click(ui.installFileButton)
    assert listed(widget)["Leber"].startswith("yes")
    assert widget.panel.models.model.id == "Leber", "who installs a model wants to use it"
    assert "CC-BY-4.0" in ui.setupModelLabel.text and ui.setupModelLabel.text.endswith("Ours.")
    assert ui.statusLabel.text == "Load a CT or MR volume."
    harness.click(ui.deleteButton)
    assert "Leber" not in listed(widget) and list(models_folder.iterdir()) == []
    assert widget.panel.models.model.id == "ct-abdomen"
    choose_in_list(widget, "Demonstration (CT, not for patients)")
    assert not ui.deleteButton.enabled


def test_a_file_that_is_no_model_is_one_sentence(widget: Any, models_folder: Path, tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    import qt

    (tmp_path / "x.safetensors").write_bytes(b"\x80\x02pickle")
    widget.ui.setupButton.collapsed = False
    monkeypatch.setattr(qt.QFileDialog, "getOpenFileName", lambda *arguments: str(tmp_path / "x.safetensors"))
    harness.click(widget.ui.installFileButton)
    assert "is not a safetensors file" in widget.ui.setupModelLabel.text and not models_folder.exists()
    monkeypatch.setattr(qt.QFileDialog, "getOpenFileName", lambda *arguments: "")
    harness.click(widget.ui.installFileButton)
    assert set(listed(widget)) == {"CT abdomen, 8 organs (research only)", "Demonstration (CT, not for patients)"}


def test_a_corrupt_checkpoint_can_be_deleted_from_the_status_line(widget: Any, models_folder: Path) -> None:
    write_checkpoint(models_folder / "own.safetensors")
    widget.panel.setup.look()
    widget.panel.models.select("own")
    (models_folder / "own.safetensors").write_bytes(b"\xff" * 100)
    widget.parent.exit()
    widget.parent.enter()
    assert listed(widget)["own"] == "cannot be used"
    assert "is not a safetensors file, or it is cut short" in widget.ui.statusLabel.text
    assert widget.ui.statusButton.text == "Delete" and not widget.ui.applyButton.enabled
    harness.click(widget.ui.statusButton)
    assert widget.ui.statusLabel.text == "Load a CT or MR volume."


def test_the_folder_opens_and_is_chosen(widget: Any, models_folder: Path, tmp_path: Path,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    import qt

    opened: list[str] = []
    monkeypatch.setattr(qt.QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    widget.ui.setupButton.collapsed = False
    harness.click(widget.ui.openFolderButton)
    assert [Path(name) for name in opened] == [models_folder] and models_folder.is_dir()
    monkeypatch.delenv("SAMORA_WEIGHTS")
    write_checkpoint(tmp_path / "other/Leber.safetensors")
    widget.ui.modelsFolderEdit.currentPath = str(tmp_path / "other")
    assert "Leber" in listed(widget)
    assert qt.QSettings().value("SAMora/ModelsFolder") == str(tmp_path / "other")


def test_a_folder_that_cannot_be_made_is_one_sentence(widget: Any, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("SAMORA_WEIGHTS", str(tmp_path / "file/models"))
    widget.ui.setupButton.collapsed = False
    harness.click(widget.ui.openFolderButton)
    assert "models" in widget.ui.setupModelLabel.text and widget.ui.setupModelLabel.text.endswith(".")
