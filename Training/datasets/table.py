"""The data sets by the names of the command line, each in parts.

Windows are those of the papers that docs/datasets.md names; sizes too, where a paper gives one.
"""

from __future__ import annotations

from functools import partial

from Training.datasets import (
    btcv,
    chaos,
    kits19,
    left_atrium,
    listed,
    lits,
    promise12,
    totalsegmentator,
    transunet,
)
from Training.datasets.protocol import Protocol, ct_window, mr_percentiles

SAMED = ct_window(-125, 275, 224)
MA_SAM = ct_window(-200, 250, 512)
FED_MENU = ct_window(-200, 400, 224)

TUMOUR_TASKS = {  # of MSD: folder, numbers, label set
    "liver": ("Task03", {1: "liver", 2: "liver_tumour"}, "liver_tumour"),
    "lung": ("Task06", {1: "lung_tumour"}, "lung_tumour"),
    "pancreas": ("Task07", {1: "pancreas", 2: "pancreas_tumour"}, "pancreas_tumour"),
    "hepatic_vessels": ("Task08", {1: "hepatic_vessels", 2: "liver_tumour"}, "hepatic_vessels"),
    "spleen": ("Task09", {1: "spleen"}, "spleen"),
    "colon": ("Task10", {1: "colon_tumour"}, "colon_tumour"),
}

DATA_SETS: dict[str, dict[str, Protocol]] = {
    "synapse": {
        "raw": Protocol("Synapse (BTCV)", btcv.LAYOUT, btcv.find, btcv.NUMBERS, "synapse", SAMED, "synapse"),
        "transunet": Protocol("Synapse (TransUNet's files)", transunet.LAYOUT, transunet.find, transunet.NUMBERS,
                              "synapse", SAMED, "synapse"),
    },
    "btcv": {
        "raw": Protocol("BTCV", btcv.LAYOUT, btcv.find, btcv.NUMBERS, "btcv13", MA_SAM, "btcv"),
    },
    "amos22": {
        "ct": Protocol("AMOS22 (CT)", listed.AMOS_LAYOUT, listed.find_amos, listed.AMOS_NUMBERS, "amos15", FED_MENU),
        "mr": Protocol("AMOS22 (MR)", listed.AMOS_LAYOUT, listed.find_amos_mr, listed.AMOS_NUMBERS, "amos15",
                       mr_percentiles(0, 99, 224)),
    },
    "lits": {"ct": Protocol("LiTS", lits.LAYOUT, lits.find, lits.NUMBERS, "liver_tumour", FED_MENU)},
    "kits19": {"ct": Protocol("KiTS19", kits19.LAYOUT, kits19.find, kits19.NUMBERS, "kidney_tumour", FED_MENU)},
    "msd": {
        part: Protocol(f"MSD {task} ({part})", f"{task}_.../dataset.json, imagesTr, labelsTr",
                       partial(listed.find_task, task), numbers, labels, FED_MENU)
        for part, (task, numbers, labels) in TUMOUR_TASKS.items()
    } | {
        "heart": Protocol("MSD Task02 (heart)", "Task02_.../dataset.json, imagesTr, labelsTr",
                          partial(listed.find_task, "Task02"), {1: "left_atrium"}, "left_atrium",
                          mr_percentiles(0, 100, 224)),
    },
    "la": {
        "nrrd": Protocol("LA 2018", left_atrium.LAYOUT, left_atrium.find, left_atrium.NUMBERS, "left_atrium",
                         mr_percentiles(0, 100, 512), "la"),
        "h5": Protocol("LA 2018 (UA-MT's files)", left_atrium.H5_LAYOUT, left_atrium.find_h5, left_atrium.H5_NUMBERS,
                       "left_atrium", mr_percentiles(0, 100, 512), "la"),
    },
    "promise12": {
        "t2": Protocol("PROMISE12", promise12.LAYOUT, promise12.find, promise12.NUMBERS, "prostate",
                       mr_percentiles(0, 99, 512), "promise12"),
    },
    "chaos": {
        "t2": Protocol("CHAOS (T2-SPIR)", chaos.LAYOUT, chaos.find_t2, chaos.MR_NUMBERS, "chaos_mr",
                       mr_percentiles(1, 99, 224)),
        "t1_in": Protocol("CHAOS (T1-DUAL, in phase)", chaos.LAYOUT, partial(chaos.find_t1, "InPhase"),
                          chaos.MR_NUMBERS, "chaos_mr", mr_percentiles(1, 99, 224)),
        "t1_out": Protocol("CHAOS (T1-DUAL, out of phase)", chaos.LAYOUT, partial(chaos.find_t1, "OutPhase"),
                           chaos.MR_NUMBERS, "chaos_mr", mr_percentiles(1, 99, 224)),
        "ct": Protocol("CHAOS (CT)", chaos.LAYOUT, chaos.find_ct, chaos.CT_NUMBERS, "liver", SAMED),
    },
    "totalsegmentator": {
        "ct": Protocol("TotalSegmentator", totalsegmentator.LAYOUT, totalsegmentator.find, totalsegmentator.NUMBERS,
                       "btcv13", SAMED, whole_body=True),
    },
}
