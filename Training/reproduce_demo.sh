#!/usr/bin/env bash
# The checkpoint that ships in the package: phantoms, base, the whole SAM on phantom CTs, half precision.
#     Training/reproduce_demo.sh
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
runs=runs/demo
export OMP_NUM_THREADS=1

"$python" -m Training.make_phantoms --output $runs/phantoms --first-seed 20000 --count 68
"$python" -m Training.prepare --input $runs/phantoms --output $runs --labels synapse --modality CT \
    --fractions 0.94 0.06 0 --seed 0
[ -e runs/base/base.safetensors ] || "$python" -m Training.pretrain_base --config Training/configs/tiny_base.yaml
"$python" -m Training.stage2_finetune --config Training/configs/demo/sam.yaml
"$python" -m SAMoraLib merge $runs/sam/model.safetensors --base runs/base/base.safetensors --half \
    --output SAMoraLib/demo/demo.safetensors
