"""The harness itself: PythonQt's rules hold, wrong code is refused, scene and widgets behave as in Slicer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Testing.slicer import harness

EXAMPLE = Path(harness.__file__).parent / "example" / "Example.py"


@pytest.fixture
def qt(scene: Any) -> Any:
    return sys.modules["qt"]


@pytest.fixture
def slicer(scene: Any) -> Any:
    return sys.modules["slicer"]


@pytest.fixture
def example(scene: Any) -> Any:
    """The panel of the example module, entered."""
    harness.load_module(EXAMPLE)
    yield harness.make_widget("Example")
    harness.unload_module("Example")


def write_ui(folder: Path, widget: str, connections: str = "") -> str:
    path = folder / "Small.ui"
    path.write_text(
        f'<ui version="4.0"><widget class="qMRMLWidget" name="Small">{widget}</widget>'
        f"<connections>{connections}</connections></ui>"
    , encoding="utf-8")
    return str(path)


def ball(slicer: Any, radius: float = 12) -> tuple[Any, Any]:
    """A volume node (64³, 3 mm, centred) with a ball in it, and a segmentation node of the ball, coloured green."""
    at = np.indices((64, 64, 64)) - 31.5
    inside = np.sqrt((at**2).sum(axis=0)) < radius
    volume = slicer.util.addVolumeFromArray(np.where(inside, 150, 0).astype(np.int16), name="CT")
    volume.SetSpacing(3, 3, 3)
    volume.SetOrigin(-94.5, -94.5, -94.5)
    volume.CreateDefaultDisplayNodes()
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "CT segmentation")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segment = segmentation.GetSegmentation().AddEmptySegment("ball", "Ball", (0, 1, 0))
    slicer.util.updateSegmentBinaryLabelmapFromArray(inside.astype(np.uint8), segmentation, segment, volume)
    return volume, segmentation


def pixels(qt: Any, path: Path) -> np.ndarray:
    """A picture as (height, width, 3) bytes."""
    from PySide6.QtGui import QImage

    image = QImage(str(path)).convertToFormat(QImage.Format.Format_RGB888)
    rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).copy()  # the bytes are the image's


# PythonQt's rules


def test_properties_are_attributes(qt: Any) -> None:
    button = qt.QPushButton("Apply")
    button.enabled = False
    button.text = "Cancel"
    assert (button.text, button.enabled, button.isEnabled()) == ("Cancel", False, False)
    button.setText("Apply")
    assert button.text == "Apply"


def test_a_property_cannot_be_called(qt: Any) -> None:
    with pytest.raises(TypeError, match="not callable"):
        qt.QLabel("liver").text()


def test_a_typo_is_refused_when_read_and_when_written(qt: Any) -> None:
    label = qt.QLabel()
    with pytest.raises(AttributeError, match="'txet' does not exist on QLabel"):
        label.txet = "liver"
    with pytest.raises(AttributeError, match="QLabel has no attribute named 'txet'"):
        label.txet  # noqa: B018


def test_a_method_cannot_be_overwritten(qt: Any) -> None:
    with pytest.raises(AttributeError, match="'setText' does not exist"):
        qt.QLabel().setText = "liver"


def test_a_read_only_property_cannot_be_set(qt: Any) -> None:
    with pytest.raises(AttributeError, match="'text' of QProgressBar object is not writable"):
        qt.QProgressBar().text = "50 %"


def test_a_value_of_the_wrong_kind_is_refused(qt: Any) -> None:
    with pytest.raises(AttributeError, match="does not accept an object of type"):
        qt.QProgressBar().value = "half"


def test_keywords_are_refused(qt: Any) -> None:
    with pytest.raises(TypeError, match="unexpected keyword"):
        qt.QPushButton(text="Apply")
    with pytest.raises(TypeError, match="unexpected keyword"):
        qt.QPushButton().setText(text="Apply")


def test_lists_arrive_as_tuples(qt: Any) -> None:
    assert isinstance(qt.QWidget().children(), tuple)


def test_enums_are_flat_and_ints(qt: Any) -> None:
    item = qt.QTableWidgetItem("liver")
    item.setCheckState(qt.Qt.Checked)
    assert item.checkState() == qt.Qt.Checked == 2


def test_items_are_no_qobjects_and_keep_their_methods(qt: Any) -> None:
    table = qt.QTableWidget(1, 1)
    table.setItem(0, 0, qt.QTableWidgetItem("liver"))
    assert (table.item(0, 0).text(), table.rowCount) == ("liver", 1)


def test_children_are_found_by_name(qt: Any) -> None:
    parent = qt.QWidget()
    child = qt.QLabel("liver", parent)
    child.name = "organ"
    assert parent.organ == child
    assert isinstance(parent.organ, qt.QLabel)


def test_objects_made_by_qt_follow_the_same_rules(qt: Any) -> None:
    menu, heard = qt.QMenu(), []
    action = menu.addAction("Show")
    action.connect("triggered(bool)", lambda: heard.append(action.text))
    action.trigger()
    assert heard == ["Show"]


def test_a_destroyed_object_says_so(qt: Any) -> None:
    import shiboken6

    from Testing.slicer.harness.pythonqt import unwrap

    label = qt.QLabel()
    shiboken6.delete(unwrap(label))
    with pytest.raises(ValueError, match="destroyed QLabel"):
        label.text  # noqa: B018


def test_a_python_subclass_is_refused(qt: Any) -> None:
    with pytest.raises(TypeError, match="derives from a Qt class"):
        type("Panel", (qt.QWidget,), {})


@pytest.mark.parametrize("name", ["Signal", "Slot", "Property", "QDesktopWidget", "liver"])
def test_what_qt_lacks_is_not_in_the_module(qt: Any, name: str) -> None:
    with pytest.raises(AttributeError, match=name):
        getattr(qt, name)


# Signals


@pytest.mark.parametrize("signature", ["clikced(bool)", "clicked(int)", "clicked", "currentNodeChanged(vtkMRMLNode*)"])
def test_a_wrong_signature_is_refused(qt: Any, signature: str) -> None:
    with pytest.raises(ValueError, match="QPushButton has no signal"):
        qt.QPushButton().connect(signature, print)


def test_both_ways_to_connect_and_disconnect(qt: Any) -> None:
    button, heard = qt.QPushButton(), []

    def receive() -> None:
        heard.append("click")

    button.connect("clicked()", receive)
    button.clicked.connect(receive)
    button.click()
    assert len(heard) == 2
    button.disconnect("clicked()", receive)
    button.clicked.disconnect(receive)
    button.click()
    assert len(heard) == 2
    with pytest.raises(ValueError, match="not connected"):
        button.disconnect("clicked()", receive)


def test_surplus_arguments_are_cut_off(qt: Any) -> None:
    box, heard = qt.QCheckBox(), []
    box.connect("toggled(bool)", lambda: heard.append("nothing"))
    box.connect("toggled(bool)", lambda on: heard.append(on))
    box.checked = True
    assert heard == ["nothing", True]


def test_a_signal_is_emitted_by_calling_it(qt: Any) -> None:
    line, heard = qt.QLineEdit(), []
    line.connect("textChanged(QString)", heard.append)
    line.textChanged("liver")
    assert heard == ["liver"]
    assert not hasattr(line.textChanged, "emit")


def test_an_exception_in_a_slot_is_kept_for_the_test(qt: Any) -> None:
    button = qt.QPushButton()
    button.connect("clicked()", lambda: 1 / 0)
    button.click()
    assert [type(error) for error in harness.slot_errors()] == [ZeroDivisionError]
    harness.clear()
    assert harness.slot_errors() == []


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="None lives for ever from Python 3.12 on")
def test_slots_do_not_use_up_none(qt: Any) -> None:
    """PySide6 6.12.0 gives back one reference to None too many at every slot, until Python dies of it."""
    button = qt.QPushButton()
    button.connect("clicked()", lambda: None)
    before = sys.getrefcount(None)
    for _ in range(1000):
        button.click()
    assert sys.getrefcount(None) > before - 500


def test_a_timer_calls_a_plain_function(qt: Any) -> None:
    heard: list[str] = []
    qt.QTimer.singleShot(1, lambda: heard.append("late"))
    timer = qt.QTimer()
    timer.singleShot = True  # on the class a function, on a timer a property
    timer.connect("timeout()", lambda: heard.append("timer"))
    timer.start(1)
    harness.wait_until(lambda: len(heard) == 2)


# Nothing waits for a person


def test_a_modal_window_is_an_error(qt: Any, slicer: Any) -> None:
    for open_it in (
        lambda: qt.QMessageBox.question(None, "Delete", "Really?"),
        lambda: qt.QFileDialog.getOpenFileName(None, "Open"),
        lambda: qt.QDialog().exec_(),
        lambda: slicer.util.confirmOkCancelDisplay("Install 2.5 GB?"),
    ):
        with pytest.raises(RuntimeError, match="wait for a person"):
            open_it()


def test_a_test_gives_the_answer_itself(qt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(qt.QFileDialog, "getSaveFileName", lambda *arguments: "organs.csv")
        assert qt.QFileDialog.getSaveFileName(None, "Export") == "organs.csv"
    with pytest.raises(RuntimeError, match="wait for a person"):
        qt.QFileDialog.getSaveFileName(None, "Export")


def test_messages_are_only_logged_without_a_main_window(slicer: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert slicer.util.mainWindow() is None
    slicer.util.errorDisplay("No space left.")
    assert "No space left." in caplog.text
    harness.open_main_window()
    with pytest.raises(RuntimeError, match="wait for a person"):
        slicer.util.errorDisplay("No space left.")


def test_in_testing_mode_nothing_opens(slicer: Any) -> None:
    slicer.app.testing = True
    harness.open_main_window()
    slicer.util.errorDisplay("No space left.")
    slicer.util.confirmYesNoDisplay("Really?")


# .ui files and their widgets


@pytest.mark.parametrize(
    ("widget", "said"),
    [
        ('<widget class="qMRMLNodeComboBx" name="a"/>', "qMRMLNodeComboBx 'a' is of a class"),
        (
            '<widget class="QLabel" name="a"><property name="txt"><string>x</string></property></widget>',
            "no property 'txt'",
        ),
        (
            '<widget class="ctkPathLineEdit" name="a"><property name="path"><string/></property></widget>',
            "no property 'path'",
        ),
    ],
    ids=["class", "property", "stand-in's property"],
)
def test_a_wrong_ui_file_is_refused(slicer: Any, tmp_path: Path, widget: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        slicer.util.loadUI(write_ui(tmp_path, widget))


@pytest.mark.parametrize(
    ("signal", "receiver", "said"),
    [
        ("mrmlSceneChange(vtkMRMLScene*)", "a", "no signal 'mrmlSceneChange"),
        ("mrmlSceneChanged(vtkMRMLScene*)", "b", "names 'b'"),
    ],
)
def test_a_wrong_connection_is_refused(slicer: Any, tmp_path: Path, signal: str, receiver: str, said: str) -> None:
    connection = (
        f"<connection><sender>Small</sender><signal>{signal}</signal>"
        f"<receiver>{receiver}</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection>"
    )
    with pytest.raises(ValueError, match=said):
        slicer.util.loadUI(write_ui(tmp_path, '<widget class="qMRMLNodeComboBox" name="a"/>', connection))


def test_flags_of_a_stand_in_are_read(slicer: Any, tmp_path: Path) -> None:
    flags = '<property name="filters"><set>ctkPathLineEdit::Dirs|ctkPathLineEdit::Writable</set></property>'
    top = slicer.util.loadUI(write_ui(tmp_path, f'<widget class="ctkPathLineEdit" name="a">{flags}</widget>'))
    assert top.a.filters == 33


def test_a_selector_follows_the_scene(slicer: Any, scene: Any) -> None:
    selector, heard = slicer.qMRMLNodeComboBox(), []
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.noneEnabled = True
    selector.setMRMLScene(scene)
    selector.connect("currentNodeChanged(vtkMRMLNode*)", heard.append)
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    assert selector.currentNode() is None
    selector.setCurrentNode(volume)
    assert (selector.currentNode(), selector.currentNodeID) == (volume, volume.GetID())
    scene.RemoveNode(volume)
    assert selector.currentNode() is None
    assert heard == [volume, None]


def test_a_selector_without_none_takes_the_first_node(slicer: Any, scene: Any) -> None:
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.setMRMLScene(scene)
    first = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    assert selector.currentNode() == first
    assert selector.addNode() == selector.currentNode() != first
    scene.Clear(0)
    assert selector.currentNode() is None


def test_nodes_are_checked_one_by_one(slicer: Any, scene: Any) -> None:
    box, heard = slicer.qMRMLCheckableNodeComboBox(), []
    box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    box.setMRMLScene(scene)
    box.connect("checkedNodesChanged()", lambda: heard.append(len(box.checkedNodes())))
    nodes = [scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode") for _ in range(3)]
    box.setCheckState(nodes[2], 2)
    box.setCheckState(nodes[0], 2)
    scene.RemoveNode(nodes[2])
    assert box.checkedNodes() == (nodes[0],)
    assert heard[:2] == [1, 2]


def test_a_folded_section_keeps_what_was_hidden(example: Any) -> None:
    section, label, box = example.ui.inputs, example.ui.label, example.ui.invert
    label.visible = False
    section.collapsed = True
    assert not box.visible
    box.visible = False  # said while it cannot be seen anyway
    section.collapsed = False
    assert (label.visible, box.visible, example.ui.slider.visible) == (False, False, True)
    section.collapsed = True
    box.visible = True
    assert not box.visible
    section.collapsed = False
    assert box.visible


def test_a_click_on_the_title_folds(example: Any) -> None:
    heard: list[bool] = []
    example.ui.inputs.connect("contentsCollapsed(bool)", heard.append)
    harness.click(example.ui.inputs, 5, 5)
    assert (example.ui.inputs.collapsed, heard) == (True, [True])


# A scripted module


def test_a_module_runs_from_its_file(example: Any, slicer: Any, scene: Any) -> None:
    assert not example.ui.applyButton.enabled
    example.ui.volumeSelector.setCurrentNode(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT"))
    assert example.ui.applyButton.enabled
    harness.click(example.ui.applyButton)
    harness.wait_until(lambda: example.ui.log.plainText == "Done")


def test_a_module_is_found_as_in_slicer(example: Any, slicer: Any) -> None:
    assert slicer.util.getModuleWidget("Example") is example is slicer.modules.ExampleWidget
    assert slicer.util.getModuleLogic("Example") is example.logic
    assert slicer.util.modulePath("Example") == str(EXAMPLE)
    assert slicer.util.getModule("Example").title == "Example"
    with pytest.raises(AttributeError):
        slicer.util.getModule("Example").titel = "Example"


def test_widgets_and_parameters_follow_each_other(example: Any) -> None:
    parameters = example.parameterNode
    harness.click(example.ui.invert)
    example.ui.slider.value = 33
    assert (parameters.invert, parameters.threshold) == (True, 33.0)
    parameters.device = "cpu"
    assert example.ui.device.currentText == "cpu"


def test_a_parameter_is_kept_in_the_scene(example: Any, scene: Any) -> None:
    example.parameterNode.organs = ["liver", "rate, größe"]
    node = scene.GetSingletonNode("Example", "vtkMRMLScriptedModuleNode")
    again = type(example.parameterNode)(node)
    assert again.organs == ["liver", "rate, größe"]
    assert again.threshold == 100.0


def test_an_empty_text_is_a_value(example: Any) -> None:
    example.parameterNode.note = ""
    assert example.parameterNode.note == ""


@pytest.mark.parametrize(("name", "value"), [("threshold", 501), ("threshold", "1"), ("device", "gpu"), ("invert", 1)])
def test_a_wrong_parameter_is_refused(example: Any, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match="Value must be"):
        setattr(example.parameterNode, name, value)


def test_a_removed_node_leaves_its_parameter_empty(example: Any, scene: Any) -> None:
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    example.parameterNode.volume = volume
    scene.RemoveNode(volume)
    assert example.parameterNode.volume is None
    assert not example.ui.applyButton.enabled


def test_a_closed_scene_ends_the_connection(example: Any, scene: Any) -> None:
    scene.Clear(0)
    assert example.parameterNode is None
    harness.click(example.ui.invert)


# The application and the scene


def test_settings_are_not_the_users(qt: Any, slicer: Any) -> None:
    import tempfile

    qt.QSettings().setValue("SAMora/Device", "cpu")
    assert slicer.util.settingsValue("SAMora/Device", "auto") == "cpu"
    assert Path(qt.QSettings().fileName()).is_relative_to(tempfile.gettempdir())
    harness.clear()
    assert slicer.util.settingsValue("SAMora/Device", "auto") == "auto"


def test_the_application_has_no_other_signals(slicer: Any) -> None:
    heard: list[str] = []
    slicer.app.connect("aboutToQuit()", lambda: heard.append("quit"))
    slicer.app.fire("aboutToQuit()")
    assert heard == ["quit"]
    with pytest.raises(ValueError, match="no signal 'startupComplete"):
        slicer.app.connect("startupComplete()", print)


def test_data_nodes_have_their_place_in_the_subject_hierarchy(slicer: Any, scene: Any) -> None:
    volume, segmentation = ball(slicer)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    for node in (volume, segmentation):
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == hierarchy.GetSceneItemID()
    scene.RemoveNode(volume)
    assert not hierarchy.GetItemByDataNode(volume)


def test_terminologies_are_loaded(slicer: Any) -> None:
    entry = slicer.vtkSlicerTerminologyEntry()
    anatomy = "Segmentation category and type - 3D Slicer General Anatomy list"
    logic = slicer.modules.terminologies.logic()
    assert logic.FindTypeInTerminologyBy3dSlicerLabel(anatomy, "left kidney", entry)
    assert (entry.GetTypeObject().GetCodeValue(), entry.GetTypeModifierObject().GetCodeValue()) == (
        "64033007",
        "7771000",
    )


# Pictures


def test_a_screenshot_shows_the_panel(example: Any, qt: Any, tmp_path: Path) -> None:
    before = pixels(qt, harness.screenshot(example.parent, tmp_path / "before.png", width=400))
    example.ui.log.plainText = "liver 1512.3 ml"
    after = pixels(qt, harness.screenshot(example.parent, tmp_path / "after.png", width=400))
    assert before.shape == after.shape
    assert before.shape[1] == 400
    assert before.std() > 5
    assert (before != after).any()


def test_a_slice_shows_image_and_segment(qt: Any, slicer: Any, scene: Any, tmp_path: Path) -> None:
    volume, _segmentation = ball(slicer)
    nodes = scene.GetNumberOfNodes()
    image = pixels(qt, harness.render_slice(volume, tmp_path / "slice.png", "Coronal", size=200)).astype(int)
    assert image[100, 100, 1] > image[100, 100, 0] + 50  # the ball is green
    assert image[100, 5].max() == image[100, 5].min()  # the rest is grey
    assert scene.GetNumberOfNodes() == nodes


def test_a_slice_lies_where_asked(qt: Any, slicer: Any, tmp_path: Path) -> None:
    volume, _segmentation = ball(slicer)
    image = pixels(qt, harness.render_slice(volume, tmp_path / "slice.png", centre=(0, 0, 60), size=200))
    assert image[100, 100, 0] == image[100, 100, 1]  # 60 mm above the centre of a ball of 36 mm


def test_surfaces_are_shown_in_3d(qt: Any, slicer: Any, scene: Any, tmp_path: Path) -> None:
    _volume, segmentation = ball(slicer)
    segmentation.CreateClosedSurfaceRepresentation()
    nodes = scene.GetNumberOfNodes()
    image = pixels(qt, harness.render_3d(tmp_path / "surfaces.png", size=200)).astype(int)
    assert image[100, 100, 1] > image[100, 100, 0] + 50
    assert image[2, 2].min() == 255
    assert scene.GetNumberOfNodes() == nodes
