#!/usr/bin/env bash
# The checkpoint that ships in the package: a base on phantoms, three experts, SAMora on phantom CTs, half precision.
#     Training/reproduce/demo.sh
# Two cores. What is finished is kept: run it again after an interruption.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-.venv/bin/python}
configs=Training/configs/demo
runs=runs/demo
export OMP_NUM_THREADS=1

expert() { "$python" -m Training.stage1_expert --config $configs/expert.yaml --level "$1" --output "$runs/$1"; }

"$python" -m Training.make_phantoms --output $runs/phantoms --first-seed 20000 --count 488
"$python" -m Training.prepare --input $runs/phantoms --output $runs --labels synapse --modality CT \
    --fractions 0.984 0.016 0 --seed 0
"$python" -m Training.pretrain_base --config $configs/base.yaml
expert image & (expert pixel; expert patch); wait
"$python" -m Training.stage2_finetune --config $configs/samora.yaml
"$python" -m SAMoraLib merge $runs/samora/model.safetensors --base $runs/base/base.safetensors --half \
    --output SAMoraLib/demo/demo.safetensors
