#!/usr/bin/env bash
# On a machine with a GPU: correctness first, then every benchmark; JSON goes into $OUT (default bench/results).
# PYTHON names an interpreter that has the dependencies; the project itself need not be installed.
# PEER=CHECKOUT times the released implementation beside ours. TUNE=1 sweeps the kernels' constants and the ways to
# decode, ten minutes more.
# SMALL=1 runs every command with small settings, to try the script where there is no GPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
OUT="${OUT:-bench/results}"
PYTHON="${PYTHON:-python}"
export PYTHONPATH="$PWD"
mkdir -p "$OUT"
red=0 # what is wrong has no times, the other benchmarks still have
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

ecamp() { "$PYTHON" -m ecamp_fast.cli "$@"; }

# bench NAME [OPTION]...: the result into $OUT/NAME.json
bench() {
    echo "bench $*" >&2
    ecamp bench "$@" --json > "$scratch/result.json" || red=1
    [ ! -s "$scratch/result.json" ] || mv "$scratch/result.json" "$OUT/$1.json"
}

# How the GPU decodes best: the share of images for its JPEG engine, and the crop alone or all of an image.
decoding() {
    mkdir -p "$OUT/decoding"
    for side in 512 1024; do
        ecamp shard build --from phantom 96 "$scratch/$side" --size "$side"
        for region in true false; do
            for hardware in 0 0.35 0.65 0.9 1; do
                echo "decoding: $side pixels, region $region, hardware $hardware" >&2
                ecamp bench loader --data "$scratch/$side" --images 4096 --set batch.micro=256 --set batch.total=256 \
                    --set loader.threads=8 --set loader.region=$region --set loader.hardware=$hardware --json \
                    > "$OUT/decoding/$side-$region-$hardware.json" || red=1
            done
        done
    done
}

tests=(tests/kernels tests/model tests/test_official_parity.py tests/text/test_masking.py tests/shards/test_decode.py)
model=(--batch 256 --precision bf16 --precision fp32 --repeats 5)
train=(--set batch.total=1024 --steps 8 --blocks 3)
scaling=(--steps 15)
loader=()
if [ -n "${SMALL:-}" ]; then
    small=(--recipe demo --vocabulary 1000)
    tests=(tests/text/test_masking.py)
    model=("${small[@]}" --batch 4 --tokens 40 --precision bf16 --precision fp32 --repeats 1)
    train=("${small[@]}" --set batch.total=8 --steps 2 --blocks 1)
    scaling=("${small[@]}" --tokens 40 --steps 2 --ranks 1 --stages 2,ddp)
    loader=(--recipe demo --images 32)
fi

# A red gate gives no number: the script ends here when a test fails.
"$PYTHON" -m pytest -q "${tests[@]}" | tee "$OUT/tests.txt"

ecamp doctor --json > "$OUT/doctor.json" || true # its findings are the result
[ -n "${SMALL:-}" ] || bench kernels ${TUNE:+--tune} --plot "$OUT/kernels.png"
[ -z "${TUNE:-}" ] || cp kernels/tuning.json "$OUT/tuning.json"
bench attention ${TUNE:+--tune}
[ -z "${TUNE:-}" ] || cp ecamp_fast/model/attention.json "$OUT/attention-order.json"
bench text
bench loader "${loader[@]}"
[ -z "${TUNE:-}" ] || decoding
bench model "${model[@]}" ${PEER:+--peer "$PEER"}
bench train "${train[@]}"
bench scaling "${scaling[@]}"
bench project --results "$OUT" # after the others: what they measured stands beside it
ecamp bench report --results "$OUT"
exit "$red"
