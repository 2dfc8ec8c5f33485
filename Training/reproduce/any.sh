#!/usr/bin/env bash
# The model for any contrast: SAMora on label maps painted in contrasts drawn anew, of phantoms and of one real CT's labels.
#     Training/reproduce/any.sh ../shared/data/totalseg_example_ct_3mm
# The folder holds ct.nii.gz and label_v2_117classes_fast.nii.gz (TotalSegmentator's example, Apache-2.0).
# Not run whole yet: no number of it stands anywhere, and its model is not in the package.
# Two cores. What is finished is kept: run it again after an interruption.
set -euo pipefail
real=$(cd "${1:?give the folder of the labelled CT}" && pwd)
cd "$(dirname "$0")/../.."
python=${PYTHON:-.venv/bin/python}
configs=Training/configs/any
runs=runs/any
export OMP_NUM_THREADS=1

expert() { "$python" -m Training.stage1_expert --config $configs/expert.yaml --level "$1" --output "$runs/$1"; }

"$python" -m Training.make_phantoms --output $runs/cases --first-seed 20000 --count 320 --contrast any
"$python" -m Training.make_painted --image "$real/ct.nii.gz" --label "$real/label_v2_117classes_fast.nii.gz" \
    --output $runs/cases --count 320 --contrast any
"$python" -m Training.prepare --input $runs/cases --output $runs --labels synapse --modality MR \
    --fractions 0.985 0.015 0 --seed 0
"$python" -m Training.pretrain_base --config $configs/base.yaml
expert image & (expert pixel; expert patch); wait
"$python" -m Training.stage2_finetune --config $configs/samora.yaml
"$python" -m SAMoraLib merge $runs/samora/model.safetensors --base $runs/base/base.safetensors --half \
    --output $runs/any_abdomen.safetensors
