"""What is to be segmented, as one program asks it of another: ``samora predict --request FILE`` (torch-free)."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from SAMoraLib.fields import NAME, Rule, instance_of, number, one_of, optional, shown, tuple_of, whole
from SAMoraLib.system.files import atomic_write
from SAMoraLib.system.places import identity, paths_to_one_place, require_room_for_name
from SAMoraLib.system.streams import shortened
from SAMoraLib.system.untrusted_json import read_json
from SAMoraLib.volume import Region
from SAMoraLib.volume.dicom_header import looks_like_dicom
from SAMoraLib.volume.io import WRITABLE
from SAMoraLib.volume.label_names import label_paths

PRECISIONS = ("full", "half", "int8")
MAX_BATCH, MAX_GIBIBYTES, MAX_MILLIMETRES, MAX_ORGANS = 10**6, 10**6, 10**6, 1000
PATH = Rule("a path as text", lambda value: isinstance(value, str) and 0 < len(value) <= 4096 and "\0" not in value)
TABLE, LIST = instance_of(dict, "a table"), instance_of(list, "a list")
_MILLIMETRES = number(-MAX_MILLIMETRES, MAX_MILLIMETRES)
REGION = {"centre": tuple_of(_MILLIMETRES, 3, 3), "edges": tuple_of(_MILLIMETRES, 9, 9)}


def _field(table: Mapping[str, Any], name: str, rule: Rule) -> Any:
    """A field that is as it has to be; a TypeError with the cause alone, or a KeyError, where it is not."""
    if not rule.holds(table[name]):
        raise TypeError(f"its {name} is {shown(table[name])}, not {rule.wanted}")
    return table[name]


def _bare(value: Any) -> str:
    return shown(value).strip("'")


def _require_known(table: Any, known: Collection[str]) -> None:
    if not isinstance(table, dict):
        raise TypeError(f"{shown(table)} is no table")
    if unknown := sorted(set(table) - set(known)):
        raise TypeError(f"it has no field {shown(unknown[0])}")


def _region(data: Any) -> Region:
    _require_known(data, REGION)
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
    return Region.from_json({name: _field(values, name, rule) for name, rule in REGION.items()})


@dataclass(frozen=True)
class Job:
    """One volume: a file or a DICOM folder, the label file to write, and where in the patient to look.

    Attributes:
        region: nothing is segmented outside.
        boxes: organ -> where it is to be found, for models that are prompted with boxes.
    """

    input: Path
    output: Path
    region: Region | None = None
    boxes: Mapping[str, Region] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: Any) -> Job:
        """Rebuild a job.

        Raises:
            KeyError, TypeError: a field is missing, unknown or of another type.
            ValueError: a region that is flat.
        """
        _require_known(data, [f.name for f in fields(cls)])
        source, output = (Path(_field(data, name, PATH)) for name in ("input", "output"))
        boxes = _field(data, "boxes", optional(TABLE)) if "boxes" in data else None
        return cls(source, output, _region(data["region"]) if data.get("region") is not None else None,
                   {name: _region(box) for name, box in (boxes or {}).items()})


@dataclass(frozen=True)
class Options:
    """How volumes are segmented, whoever asks: the command line, the panel, the console or a batch.

    Attributes:
        organs: names to keep; None: all of the model's.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        batch_size: slices at once, at most.
        skim: look at every so many slices first, and at the others only next to one that shows an organ.
        max_memory: GiB that the program may take; None: what is free.
        precision: "full", float32; "half" or, on a CPU, "int8", which are faster and differ in a few voxels.
        assume_hu: take a volume's values for HU, whatever they look like.

    Raises:
        ValueError: no organ, a batch of nothing, or steps, memory or a precision that cannot be.
    """

    organs: tuple[str, ...] | None = None
    device: str = "auto"
    batch_size: int = 8
    skim: int = 1
    max_memory: float | None = None
    precision: str = "full"
    assume_hu: bool = False

    def __post_init__(self) -> None:
        if self.organs is not None and not self.organs:
            raise ValueError("No organ is chosen; choose at least one, or leave the organs out for all of the model's.")
        for name, count in (("batch size", self.batch_size), ("step of skimming", self.skim)):
            if not whole(1, MAX_BATCH).holds(count):
                raise ValueError(f"The {name} is {_bare(count)}; give a whole number above 0, and at most {MAX_BATCH}.")
        if self.max_memory is not None and not (number(0, MAX_GIBIBYTES).holds(self.max_memory) and self.max_memory):
            raise ValueError(f"The largest memory is {_bare(self.max_memory)} GiB; give a number above 0, or leave it "
                             "out.")
        if not one_of(PRECISIONS).holds(self.precision):
            raise ValueError(f"Unknown precision {shown(self.precision)}; choose from {', '.join(PRECISIONS)}.")
        if not isinstance(self.assume_hu, bool):
            raise ValueError(f"To assume HU is {shown(self.assume_hu)}; give true or false.")
        if not NAME.holds(self.device):
            raise ValueError(f"The device is {shown(self.device)}; give auto, cpu, cuda, cuda:N or mps.")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Options:
        """The fields of ``data`` that are options.

        Raises:
            TypeError: organs that are no list of names.
            ValueError: as the constructor.
        """
        values = {f.name: data[f.name] for f in fields(cls) if f.name in data}
        return cls(**values | {"organs": as_names(values.get("organs"))})


DEFAULTS = Options()


def as_names(names: Any) -> tuple[str, ...] | None:
    """A list of names as a tuple; a bare text, which would be taken letter by letter, is refused.

    Raises:
        TypeError: anything else.
    """
    if names is None:
        return None
    listed = () if isinstance(names, str | Mapping) else tuple(names)
    if isinstance(names, str | Mapping) or len(listed) > MAX_ORGANS or not all(map(NAME.holds, listed)):
        raise TypeError(f"organs are {shown(names)}, not a list of names")
    return listed


@dataclass(frozen=True)
class Request:
    """Volumes for one model.

    Attributes:
        model: checkpoint.
        base: base weights; None: beside the checkpoint, if it needs any.

    Raises:
        ValueError: no volume, or outputs as ``check_outputs`` refuses them.
    """

    jobs: tuple[Job, ...]
    model: Path
    base: Path | None = None
    options: Options = DEFAULTS

    def __post_init__(self) -> None:
        if not self.jobs:
            raise ValueError("The request names no volume; give at least one.")
        check_outputs(self.jobs, {self.model: "checkpoint"} | ({self.base: "base"} if self.base else {}))

    def to_json(self) -> dict[str, Any]:
        """Options stand beside the other fields, as they always have; ``assume_hu`` only where it is asked for, because
        versions that do not know it refuse it.
        """
        data = asdict(self)
        flat = data | data.pop("options")
        if not self.options.assume_hu:
            del flat["assume_hu"]
        return json.loads(json.dumps(flat, default=str))  # paths as text, tuples as lists

    @classmethod
    def from_json(cls, data: Any) -> Request:
        """Rebuild a request.

        Raises:
            ValueError: a field is missing, unknown or has an impossible value.
        """
        try:
            known = {f.name for kind in (cls, Options) for f in fields(kind)} - {"options"}
            _require_known(data, known)
            jobs = tuple(Job.from_json(job) for job in _field(data, "jobs", LIST))
            base = Path(_field(data, "base", PATH)) if data.get("base") is not None else None
            return cls(jobs, Path(_field(data, "model", PATH)), base, Options.from_json(data))
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"The request is damaged ({error}); write it again.") from error

    def write(self, path: str | Path) -> None:
        """Write UTF-8 JSON.

        Raises:
            OSError: the file cannot be written.
        """
        with atomic_write(path) as unfinished:
            # What is no text in a name becomes \udcff, which is JSON's own way to write it.
            unfinished.write_text(json.dumps(self.to_json(), ensure_ascii=False), "utf-8", errors="backslashreplace")

    @classmethod
    def read(cls, path: str | Path) -> Request:
        """Read what ``write`` wrote.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not JSON, or not a request.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"There is no request '{path}'; give the path of a JSON file.")
        try:
            data = read_json(path)
        except ValueError as error:
            raise ValueError(f"The request '{path.name}' is not JSON ({error}); write it again.") from error
        request = cls.from_json(data)
        check_outputs(request.jobs, {path: "request"})
        return request


def check_outputs(jobs: Sequence[Job], read: Mapping[Path, str]) -> None:
    """Refuse results that cannot be written, or would replace what is read, before any work.

    Args:
        read: the files beside the inputs that the run reads, and what each is.

    Raises:
        ValueError: of no known format, a folder, too long a name, two results in one place, or in an input's.
    """
    for job in jobs:
        if not job.output.name.lower().endswith(WRITABLE):
            raise ValueError(f"'{job.output.name}' is not of a format that can be written; choose from "
                             f"{', '.join(WRITABLE)}.")
        require_room_for_name(job.output)
        if job.output.is_dir():
            raise ValueError(f"'{job.output}' is a folder; name the file to write.")
    _refuse_overwriting(jobs, {job.input: "input" for job in jobs} | dict(read))
    if pair := paths_to_one_place([job.output for job in jobs]):
        raise ValueError(f"Two results would be written to one file, '{shortened(str(pair[0]))}'; segment their inputs "
                         "into different folders, or give each input once.")


def _refuse_overwriting(jobs: Sequence[Job], read: Mapping[Path, str]) -> None:
    """By what the disk says, which knows a file by all of its paths; by the path where nothing is there."""
    files = {identity(path): path for path in read} | {path.absolute(): path for path in read}
    for job in jobs:
        found = files.get(identity(job.output) or job.output.absolute())
        if found is not None:
            raise ValueError(f"The result of '{job.input}' would overwrite the {read[found]} '{found}'; choose another "
                             "output.")
        if looks_like_dicom(job.output):  # of an input folder, or of whatever series
            raise ValueError(f"The result of '{job.input}' would overwrite the DICOM file '{job.output}'; choose "
                             "another output.")


def plan_jobs(inputs: Sequence[Path], output: Path, ending: str = ".seg.nrrd", region: Region | None = None,
              boxes: Mapping[str, Region] | None = None) -> tuple[Job, ...]:
    """A job for every input.

    Args:
        output: a folder, or for a single input the file to write.
        ending: file format in an output folder.

    Raises:
        ValueError: one file is named for several inputs, a file of no format that can be written, a name that is too
            long, or an input is given twice.
    """
    require_room_for_name(output)
    if output.is_dir() or not _names_a_file(output):
        outputs = label_paths(inputs, output, ending)
    elif not output.name.lower().endswith(WRITABLE):
        raise ValueError(f"'{output.name}' is not of a format that can be written; choose from {', '.join(WRITABLE)}, "
                         "or, if it is to be a folder, make it first.")
    elif len(inputs) > 1:
        raise ValueError(f"'{output}' names one file for {len(inputs)} inputs; give a folder.")
    else:
        outputs = [output]
    return tuple(Job(source, label, region, boxes or {}) for source, label in zip(inputs, outputs, strict=True))


def _names_a_file(output: Path) -> bool:
    """By what is there, or an ending that begins with a letter: results.2024 and .cache are names of folders."""
    return output.is_file() or output.suffix[1:2].isalpha()
