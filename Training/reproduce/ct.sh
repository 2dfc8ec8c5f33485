#!/usr/bin/env bash
# The CT model: SAMora on phantoms and on deformed copies of one real CT, from the base of reproduce/demo.sh.
#     Training/reproduce/ct.sh ../shared/data/totalseg_example_ct_3mm
# The folder holds ct.nii.gz and label_v2_117classes_fast.nii.gz (TotalSegmentator's example, Apache-2.0).
# Two cores. What is finished is kept: run it again after an interruption.
set -euo pipefail
real=$(cd "${1:?give the folder of the labelled CT}" && pwd)
cd "$(dirname "$0")/../.."
python=${PYTHON:-.venv/bin/python}
configs=Training/configs/ct
runs=runs/ct
export OMP_NUM_THREADS=1

expert() { "$python" -m Training.stage1_expert --config $configs/expert.yaml --level "$1" --output "$runs/$1"; }

"$python" -m Training.make_phantoms --output $runs/cases --first-seed 20000 --count 240
"$python" -m Training.make_painted --image "$real/ct.nii.gz" --label "$real/label_v2_117classes_fast.nii.gz" \
    --output $runs/cases --count 200 --real 0.45
"$python" -m Training.prepare --input $runs/cases --output $runs --labels synapse --modality CT \
    --fractions 0.982 0.018 0 --seed 0
expert image & (expert pixel; expert patch); wait
"$python" -m Training.stage2_finetune --config $configs/samora.yaml
"$python" -m SAMoraLib merge $runs/samora/model.safetensors --base runs/demo/base/base.safetensors --half \
    --output SAMoraLib/checkpoints/ct_abdomen.safetensors
