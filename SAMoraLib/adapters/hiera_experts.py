"""A block of SAM 2's Hiera with a base stream and three expert streams that become one (SAMora-2)."""

from __future__ import annotations

from SAMoraLib.adapters.experts import ExpertStreams
from SAMoraLib.encoders.sam2_hiera import HieraBlock


class HieraExpertsBlock(ExpertStreams, HieraBlock):
    """``HieraBlock`` with the experts' streams.

    Where a stage begins, every stream pools its own queries; what passes the attention by is pooled once, as no expert
    changes it. The streams meet behind the MLP, on the coarser grid and in its windows.
    """
