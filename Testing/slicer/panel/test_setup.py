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
from SAMoraSlicer.models import Model
from Testing.slicer import harness
from Testing.slicer.bare_checkpoint import write_catalogue, write_checkpoint
from Testing.slicer.model_server import ModelServer, serving
from Testing.slicer.scripted_child import ScriptedChild


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


class Section:
    """The section with a list of models, packages and children as a test wants them."""

    def __init__(self, widget: Any, folder: Path) -> None:
        self.widget, self.ui, self.folder = widget, widget.ui, folder
        self.setup = widget.panel.setup
        self.models: list[Model] = []
        self.missing: list[str] = []
        self.children: list[ScriptedChild] = []
        folder.mkdir()

    def offer(self, *models: Model, missing: tuple[str, ...] = ()) -> None:
        self.models[:], self.missing[:] = models, missing
        self.setup.look()

    def child(self) -> ScriptedChild:
        self.children.append(ScriptedChild())
        return self.children[-1]

    def away(self, name: str, **changes: Any) -> Model:
        """A model that can be downloaded: 4 MB, two organs."""
        fields = {"title": name.upper(), "organs": ("liver", "spleen"), "size_bytes": 4_000_000,
                  "urls": ("http://127.0.0.1:9/a",), "sha256": "0" * 64}
        return Model(name, **(fields | changes))

    def here(self, name: str, **changes: Any) -> Model:
        """A model whose file lies in the models folder."""
        path = self.folder / f"{name}.safetensors"
        path.write_bytes(b"model")
        return self.away(name, path=path, **changes)

    def begin(self, name: str, size: int) -> None:
        """An interrupted download of so many bytes."""
        (self.folder / f"{name}.safetensors.part").write_bytes(bytes(size))

    @property
    def chosen(self) -> str:
        return self.setup._chosen().id

    def buttons(self) -> tuple[str, bool, bool]:
        """Text of Download, whether it and Delete may be pressed."""
        return self.ui.downloadButton.text, self.ui.downloadButton.enabled, self.ui.deleteButton.enabled


@pytest.fixture
def section(widget: Any, models_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Section:
    from SAMoraSlicer.panel import setup

    made = Section(widget, models_folder)
    monkeypatch.setattr(setup, "catalogue", lambda: list(made.models))
    monkeypatch.setattr(setup, "ChildProcess", made.child)
    monkeypatch.setattr(dependencies, "missing", lambda: list(made.missing))
    return made


def test_it_folds_and_opens_with_what_changes_and_else_stays_as_it_is_left(section: Section) -> None:
    states = []

    def look(*models: Model, missing: tuple[str, ...] = ()) -> None:
        section.offer(*models, missing=missing)
        states.append((section.ui.setupButton.collapsed, section.ui.setupButton.text, section.ui.installButton.visible))

    section.ui.setupButton.collapsed = False
    look(section.here("a"))
    look(section.away("a"))
    section.ui.setupButton.collapsed = True
    look(section.away("a"), missing=("torch>=2.2",))
    section.setup.missing = []
    look(section.here("a"))
    assert states == [(False, "Setup: ready", False), (False, "Setup: no model yet", False),
                      (True, "Setup: packages are missing", False), (True, "Setup: ready", False)]
    section.setup.packages_broken("PyTorch does not start.")
    assert (section.ui.setupButton.collapsed, section.ui.setupButton.text, section.ui.dependenciesLabel.text) == (
        False, "Setup: packages are missing", "PyTorch does not start.")
    assert section.ui.installButton.visible


def test_the_list_tells_of_every_model_where_it_is(section: Section) -> None:
    section.begin("c", 1_000_000)
    section.offer(section.here("a", size_bytes=375_000_000), section.away("b"), section.away("c"),
                  section.away("d", problem="It is damaged."))
    assert listed(section.widget) == {"A": "yes, 375 MB", "B": "no, 4.0 MB", "C": "25 %", "D": "cannot be used"}
    tree = section.ui.modelsTree
    assert tree.topLevelItem(1).toolTip(0) == "B" and tree.columnWidth(0) > tree.columnWidth(1)


def test_what_is_chosen_in_the_list_stays_while_it_is_there(section: Section) -> None:
    models = [section.here("a"), section.away("b"), section.away("c")]
    section.offer(*models)
    assert section.chosen == "a", "the first, to begin with"
    choose_in_list(section.widget, "C")
    section.offer(*models)
    assert section.chosen == "c" and section.ui.modelsTree.topLevelItemCount == 3
    section.offer(*models[:2])
    assert section.chosen == "a"
    section.offer()
    assert section.setup._chosen() is None and section.buttons() == ("Download", False, False)
    assert section.ui.setupModelLabel.text == ""
    harness.click(section.ui.downloadButton)
    section.setup.delete_chosen()
    assert section.children == [] and section.setup.trouble == ""


def test_the_list_grows_with_its_models_but_not_without_end(section: Section) -> None:
    heights = {}
    for count in (0, 1, 2, 5, 8, 9, 20):
        section.offer(*(section.away(f"m{number}") for number in range(count)))
        heights[count] = section.ui.modelsTree.minimumHeight - 2 * section.ui.modelsTree.frameWidth
    line = heights[2] / 3
    assert section.ui.modelsTree.fontMetrics().height() < line < 2 * section.ui.modelsTree.fontMetrics().height()
    assert {count: height / line for count, height in heights.items()} == {0: 3, 1: 3, 2: 3, 5: 6, 8: 9, 9: 9, 20: 9}


def test_buttons_do_what_the_chosen_model_needs(section: Section) -> None:
    section.begin("c", 1)
    section.offer(section.here("a"), section.away("b"), section.away("c"), section.away("d", urls=()))
    found = {}
    for title in "ABCD":
        choose_in_list(section.widget, title)
        found[title] = section.buttons()
    assert found == {"A": ("Download", False, True), "B": ("Download", True, False), "C": ("Resume", True, True),
                     "D": ("Download", False, False)}


def test_a_download_shows_how_far_it_is_and_ends_with_the_model(section: Section) -> None:
    section.offer(section.here("a"), section.away("b"))
    section.ui.setupButton.collapsed, section.ui.downloadProgress.value = False, 70
    section.setup.download(section.setup.model("b"))
    assert section.setup.busy and section.ui.downloadProgress.value == 0 and section.ui.downloadProgress.visible
    assert section.buttons() == ("Cancel", True, False)
    section.setup.download(section.setup.model("b"))
    assert len(section.children) == 1, "one at a time"
    [child] = section.children
    assert child.command[-1] == "http://127.0.0.1:9/a" and "4000000" in child.command
    for fraction, percent in ((0.296, 29), (1.0, 100)):
        child.say("progress", fraction=fraction, stage="downloading")
        section.setup.step()
        assert section.ui.downloadProgress.value == percent and section.setup.busy
    section.models[1] = section.here("b")
    child.say("result", output="b")
    child.end(0)
    section.setup.step()
    assert not section.setup.busy and section.setup.trouble == "" and not section.ui.downloadProgress.visible
    assert section.chosen == "b" == section.widget.panel.models.model.id


def test_while_a_model_is_fetched_the_panel_says_so_of_that_one(section: Section) -> None:
    section.offer(section.away("a"), section.away("b"))
    section.setup.download(section.setup.model("b"))
    section.children[0].say("progress", fraction=0.5, stage="downloading")
    section.setup.step()
    hint = section.setup.model_hint(section.setup.model("b"))
    assert (hint.sentence, hint.button, hint.ready) == ("'B' is being downloaded: 50 %.", "Cancel", False)
    other = section.setup.model_hint(section.setup.model("a"))
    assert (other.sentence, other.button) == ("'A' is not on this computer yet (4.0 MB).", "Download")
    hint.action()
    assert section.children[0].cancelled and not section.setup.busy
    section.setup.stop()
    section.setup.step()
    assert section.setup.model_hint(section.setup.model("b")).button == "Download" and section.setup.trouble == ""


@pytest.mark.parametrize(("said", "code", "trouble"), [
    (None, 3, "The download ended by itself (exit code 3); press Resume to go on."),
    ("The disk is full.", 1, "The disk is full."), (None, 0, "")])
def test_a_download_that_ends_without_the_model_is_said(section: Section, said: str | None, code: int, trouble: str
                                                        ) -> None:
    section.offer(section.here("a"), section.away("b"))
    section.setup.download(section.setup.model("b"))
    if said:
        section.children[0].say("error", message=said)
    section.children[0].end(code)
    section.setup.step()
    assert not section.setup.busy and section.setup.trouble == trouble
    hint = section.setup.model_hint(section.setup.model("b"))
    assert hint.sentence == (trouble or "'B' is not on this computer yet (4.0 MB).")
    assert section.setup.model_hint(section.away("c")).sentence == "'C' is not on this computer yet (4.0 MB)."


def test_a_python_that_cannot_be_started_downloads_nothing(section: Section, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("'python' cannot be started; check it.")

    monkeypatch.setattr(ScriptedChild, "start", refuse)
    section.offer(section.away("a"))
    section.setup.download(section.setup.model("a"))
    assert not section.setup.busy and section.setup.trouble == "'python' cannot be started; check it."
    section.setup.step()
    assert section.ui.setupModelLabel.text == section.setup.trouble


def test_a_model_that_was_begun_goes_on(section: Section) -> None:
    section.begin("a", 1_000_000)
    section.offer(section.away("a"))
    hint = section.setup.model_hint(section.setup.model("a"))
    assert (hint.sentence, hint.button) == ("1.0 MB of 4.0 MB of 'A' are on this computer.", "Resume")
    hint.action()
    assert section.setup.busy


def test_a_model_that_cannot_be_used_is_deleted_if_it_is_ours_to_delete(section: Section) -> None:
    section.offer(section.here("a", problem="'a' is damaged."), section.away("b", problem="'b' is wrong."))
    ours, other = (section.setup.model_hint(section.setup.model(name)) for name in "ab")
    assert (ours.sentence, ours.button) == ("'a' is damaged.", "Delete")
    assert (other.sentence, other.button) == ("'b' is wrong.", "")
    other.action()
    assert section.setup.trouble == ""
    ours.action()
    assert list(section.folder.iterdir()) == []


def test_nothing_is_deleted_that_a_person_wants_to_keep(section: Section, monkeypatch: pytest.MonkeyPatch) -> None:
    import slicer

    questions: list[str] = []
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: section.widget.parent)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: questions.append(text))
    section.offer(section.here("a"))
    section.setup.delete_chosen()
    assert questions == ["Delete the model 'A' from this computer?"] and len(list(section.folder.iterdir())) == 1
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: True)
    section.setup.delete_chosen()
    assert list(section.folder.iterdir()) == []


def test_a_file_is_asked_for_by_its_ending(section: Section, monkeypatch: pytest.MonkeyPatch) -> None:
    import qt

    asked: list[Any] = []
    monkeypatch.setattr(qt.QFileDialog, "getOpenFileName", lambda *arguments: asked.append(arguments) or "")
    section.offer(section.here("a"))
    section.setup.trouble = "It was damaged."
    section.setup.install_file()
    assert asked[0][1:] == ("Install a model from a file", "", "Models (*.safetensors)")
    assert section.setup.trouble == "It was damaged.", "nothing was tried"


def test_choosing_another_model_ends_what_was_said_of_the_first(section: Section) -> None:
    section.offer(section.here("a"), section.away("b"))
    section.setup.trouble, section.setup.trouble_of = "It is damaged.", "a"
    choose_in_list(section.widget, "B")
    assert section.setup.trouble == "" and section.ui.setupModelLabel.text == "2 organs · 4.0 MB"


def test_packages_are_installed_or_taken_away_as_is_needed(section: Section, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(dependencies, "install", lambda wanted: asked.append(wanted) or "Restart Slicer.")
    monkeypatch.setattr(dependencies, "remove_torch", lambda: asked.append("removed") or "It was removed.")
    section.offer(section.here("a"), missing=("tqdm>=4",))
    assert section.setup.install_hint().sentence == "Python packages are missing; Setup lists them."
    section.setup.install()
    assert asked == [["tqdm>=4"]] and section.setup.install_hint().sentence == "Restart Slicer."
    section.setup.packages_broken("PyTorch does not start.")
    section.setup.install()
    assert asked == [["tqdm>=4"]] * 2, "what is missing may be why"
    section.missing.clear()
    section.setup.packages_broken("PyTorch does not start.")
    section.setup.install()
    assert asked[2:] == ["removed"] and section.setup.broken == "" and section.setup.trouble == "It was removed."
    section.setup.install()
    assert asked[3:] == [dependencies.requirements()], "all, where nothing is known to be missing"


@pytest.mark.parametrize(("fields", "lines"), [
    ({}, ["0 organs · 0.0 MB"]),
    ({"modality": "CT", "organs": ("liver", "aorta"), "size_bytes": 4_700_000, "licence": "CC0",
      "description": "Ours."}, ["CT · 2 organs · 4.7 MB · CC0", "Ours."]),
    ({"modality": "any"}, ["CT and MR · 0 organs · 0.0 MB"]),
    ({"cpu_seconds": 125.0, "measured_on": "a CT"}, ["0 organs · 0.0 MB", "2 min (CPU) for a CT"]),
    ({"cpu_seconds": 125.0, "gpu_seconds": 4, "measured_on": "a CT"},
     ["0 organs · 0.0 MB", "2 min (CPU), 4 s (GPU) for a CT"]),
    ({"gpu_seconds": 0.2, "measured_on": "a CT"}, ["0 organs · 0.0 MB", "1 s (GPU) for a CT"]),
    ({"problem": "It is damaged.", "description": "Ours."}, ["It is damaged."]),
])
def test_details_are_what_is_known(slicer_app: Any, fields: dict[str, Any], lines: list[str]) -> None:
    from SAMoraSlicer.panel.setup import details

    assert details(Model("a", "A", **fields)).split("\n") == lines


def test_what_nobody_foresaw_in_setup_is_a_sentence(widget: Any, packages: Callable[..., None],
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> str:
        raise TypeError("a fault of ours")

    packages("torch>=99")
    monkeypatch.setattr(dependencies, "install", fail)
    harness.click(widget.ui.installButton)
    assert widget.ui.setupModelLabel.text.startswith("Something unforeseen happened while Setup was at work (TypeError")
    assert widget.ui.installButton.enabled
