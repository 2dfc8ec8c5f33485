#!/usr/bin/env bash
# Every number of docs/results.md on CHAOS T2 MR: base, experts, samed, samora and the U-Net, all cases and 10 %.
#     Training/reproduce/chaos_mr.sh FOLDER_WITH_THE_CASES
# One core per row, two rows at a time. What is finished is kept: run it again after an interruption.
set -euo pipefail
cd "$(dirname "$0")/../.."
data=${1:?give the folder that holds the cases 01, 02, ...}
python=${PYTHON:-.venv/bin/python}
configs=Training/configs/chaos_mr
runs=runs/chaos_mr
export OMP_NUM_THREADS=1

expert() { "$python" -m Training.stage1_expert --config $configs/expert.yaml --level "$1" --output "$runs/$1"; }
row() {  # configuration, name of the run, further fields
    "$python" -m Training.stage2_finetune --config "$configs/$1.yaml" --output "$runs/$2" "${@:3}"
    "$python" -m Training.evaluate --manifest $runs/manifest.json --checkpoint "$runs/$2/model.safetensors" \
        --base runs/base/base.safetensors --output "$runs/$2/test" --pictures
}
unet() { "$python" -m Training.reference_unet --config $configs/unet.yaml --output "$runs/$1" "${@:2}"; }
few=(--fraction 0.1 --optimisation.steps 400)
control=(--variant sam --trained '[transformer, decoder, prompt]')  # the decoder alone, no adapter
seed() { few_seed=(--optimisation.seed "$1" --few_shot_seed "$1"); }  # another choice of slices, too

"$python" -m Training.prepare --input "$data" --output $runs --labels chaos_mr --modality MR \
    --image mr.nii.gz --label label.nii.gz \
    --split train=01,02,03,05,08,10,13,15,19,20 validation=21,22 test=31,32,33
[ -e runs/base/base.safetensors ] || OMP_NUM_THREADS=2 "$python" -m Training.pretrain_base \
    --config Training/configs/tiny_base.yaml
(expert pixel; row samed samed; unet unet) & (expert image; expert patch); wait
row samora samora & (
    for seed in 1 2 3; do
        seed $seed
        row samed samed_10_seed$seed "${few[@]}" "${few_seed[@]}"
        row samed decoder_10_seed$seed "${few[@]}" "${few_seed[@]}" "${control[@]}"
        unet unet_10_seed$seed "${few[@]}" "${few_seed[@]}"
    done); wait
for seed in 1 2 3; do
    seed $seed
    row samora samora_10_seed$seed "${few[@]}" "${few_seed[@]}"
done
"$python" -m Training.compare $runs/{unet,samed,samora} $runs/{unet,samed,decoder,samora}_10_seed*
