"""What a benchmark found: Markdown, a picture, JSON, and how another one differs."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from SAMoraLib.system.files import atomic_write
from Testing.benchmarks.encoders import EncoderRow
from Testing.benchmarks.models import ModelRow
from Testing.benchmarks.peak import Limits
from Testing.benchmarks.volumes import STAGES, VolumeRow


@dataclass(frozen=True)
class Report:
    """Everything of one run on one machine."""

    machine: str
    limits: Limits
    encoders: Sequence[EncoderRow]
    difference: dict[str, float]
    volumes: Sequence[VolumeRow]
    exponent: float | None = None
    models: Sequence[ModelRow] = ()

    def ratios(self) -> dict[str, float]:
        """What may be compared with another machine's."""
        found: dict[str, float] = {}
        for row in self.encoders:
            name = f"{row.name} {row.image_size}"
            found[f"{name} / package, one slice"] = row.ratio_single
            found[f"{name} / package, best batch"] = row.ratio_batch
            found[f"{name}, of the peak"] = row.share_of_peak
            found[f"{name}, of torch's linear"] = row.rate / self.limits.linear
            if self.limits.data_sheet is not None:
                found[f"{name}, MFU"] = row.rate / self.limits.data_sheet
        for model in self.models:
            found[f"{model.name} {model.image_size}, whole / package's encoder"] = model.ratio
        for volume in self.volumes:
            found[f"{volume.name}, overhead"] = volume.overhead
        if self.exponent is not None:
            found["exponent of time against slices"] = self.exponent
        return {name: round(value, 4) for name, value in found.items()}

    def to_json(self) -> dict[str, Any]:
        return {"machine": self.machine, "limits": asdict(self.limits),
                "encoders": [asdict(row) for row in self.encoders], "difference": self.difference,
                "volumes": [asdict(row) for row in self.volumes], "exponent": self.exponent,
                "models": [asdict(row) for row in self.models], "ratios": self.ratios()}


def this_machine(device: torch.device) -> str:
    """Processor or GPU, threads and torch's version."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    listed = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in listed.read_text().splitlines() if line.startswith("model name")
             ] if listed.exists() else [platform.processor()]
    return (f"{names[0]}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}, "
            f"torch {torch.__version__}")


def markdown(report: Report) -> str:
    """Tables with ratios and the bars that they are held to."""
    limits = report.limits
    lines = [f"{report.machine}; matrix products at best {limits.matrix / 1e9:.0f} GFLOP/s, by torch's linear "
             f"{limits.linear / 1e9:.0f}.", ""]
    if report.encoders:
        shares = {"of the peak": [row.share_of_peak for row in report.encoders],
                  "of torch's linear": [row.rate / limits.linear for row in report.encoders]}
        if limits.data_sheet is not None:
            shares["MFU"] = [row.rate / limits.data_sheet for row in report.encoders]
        lines += ["| encoder, ViT-B | pixels | batch | s per slice | / package, one slice (bar) "
                  f"| / package, best batch (bar) | {' | '.join(shares)} |", "|" + "---|" * (6 + len(shares))]
        lines += [f"| {row.name} | {row.image_size} | {row.batch} | {row.ours:.3f} "
                  f"| {_against(row.ratio_single, row.bars[0])} | {_against(row.ratio_batch, row.bars[1])} | "
                  + " | ".join(f"{share:.2f}" for share in of_row) + " |"
                  for row, of_row in zip(report.encoders, zip(*shares.values(), strict=True), strict=True)]
    lines += [f"\nLargest difference of samed's embedding to the package's, of the largest value: {name} pixels "
              f"{value:.1e}." for name, value in report.difference.items()]
    if report.models:
        lines += ["", "| whole model | pixels | slices in a slab | s per slice, one slab | slabs at best | s per slice "
                  "| / package's encoder, one slice |", "|---|---|---|---|---|---|---|"]
        lines += [f"| {row.name} | {row.image_size} | {row.depth} | {row.one:.3f} | {row.batch} | {row.best:.3f} "
                  f"| {row.ratio:.2f} |" for row in report.models]
    if report.volumes:
        lines += ["", f"| volume | s | {' | '.join(STAGES)} | overhead | peak MB |", "|" + "---|" * (len(STAGES) + 4)]
        lines += [f"| {row.name}, {' x '.join(map(str, row.shape[::-1]))} | {row.seconds:.1f} | "
                  + " | ".join(f"{row.stages[stage]:.2f}" for stage in STAGES)
                  + f" | {row.overhead:.2f} | {row.peak_mb:.0f} |" for row in report.volumes]
    if report.exponent is not None:
        lines.append(f"\nTime grows with slices to the power of {report.exponent:.2f}.")
    return "\n".join(lines)


def _against(ratio: float, bar: float | None) -> str:
    if bar is None:
        return f"{ratio:.2f}"
    return f"{ratio:.2f} ({bar:.2f}{'' if ratio <= bar else ', missed'})"


def compared(report: Report, other: Path) -> str:
    """Every ratio beside that of an earlier file.

    Raises:
        ValueError: no file of a benchmark.
    """
    try:
        before = json.loads(other.read_text(encoding="utf-8"))["ratios"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"'{other}' is no benchmark's JSON ({error}); give one that --output wrote.") from error
    lines = ["| ratio | before | now |", "|---|---|---|"]
    lines += [f"| {name} | {before.get(name, '')} | {value} |" for name, value in report.ratios().items()]
    return "\n".join(lines)


def draw(report: Report, path: Path) -> None:
    """Bars of the encoders' ratios with the bars that they are held to, and where volumes' time goes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    names = [f"{row.name} {row.image_size}".replace(" ", "\n") for row in report.encoders]
    left.bar(names, [row.ratio_single for row in report.encoders], color="#0072B2", width=0.6)
    for place, row in enumerate(report.encoders):
        left.plot([place - 0.4, place + 0.4], [row.bars[0]] * 2, color="#D55E00", linewidth=2)
    left.axhline(1, color="0.5", linewidth=0.8)
    left.set_title("time per slice / the package's, slice by slice; red: the bar", fontsize=9)
    left.tick_params(axis="x", labelsize=7)
    bottom = [0.0] * len(report.volumes)
    for stage in STAGES:
        shares = [row.stages[stage] / row.seconds for row in report.volumes]
        volumes = [row.name.replace(", ", "\n").replace(" on ", "\non ") for row in report.volumes]
        right.bar(volumes, shares, bottom=bottom, label=stage, width=0.6)
        bottom = [a + b for a, b in zip(bottom, shares, strict=True)]
    right.set_title("share of a volume's time, from file to file", fontsize=9)
    right.tick_params(axis="x", labelsize=7)
    right.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    with atomic_write(path) as unfinished:
        figure.savefig(unfinished, format="png")
