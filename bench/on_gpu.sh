#!/usr/bin/env bash
# On a machine with a GPU: correctness first, then every benchmark; JSON goes into $OUT (default bench/results).
# PYTHON names an interpreter that has the dependencies; the project itself need not be installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
OUT="${OUT:-bench/results}"
PYTHON="${PYTHON:-python}"
export PYTHONPATH="$PWD"
mkdir -p "$OUT"
red=0 # a wrong kernel has no times, the other benchmarks still have
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

ecamp() { "$PYTHON" -m ecamp_fast.cli "$@"; }

# A red gate gives no number: the script ends here when a test fails.
"$PYTHON" -m pytest -q tests/kernels tests/model tests/test_official_parity.py tests/text/test_masking.py \
    tests/shards/test_decode.py tests/shards/test_loader.py | tee "$OUT/tests.txt"

ecamp doctor --json > "$OUT/doctor.json" || true # its findings are the result
# TUNE=1 sweeps the launch constants first, some minutes more; the table then comes back too.
ecamp bench kernels ${TUNE:+--tune} --json --plot "$OUT/kernels.png" > "$OUT/kernels.json" || red=1
[ -z "${TUNE:-}" ] || cp kernels/tuning.json "$OUT/tuning.json"
ecamp bench text --json > "$OUT/text.json"
ecamp bench loader --json > "$OUT/loader.json"

# Some steps of the paper's model on phantoms, real decoding included; metrics.jsonl holds images per second.
ecamp shard build --from phantom 512 "$scratch/phantoms" --size 512
ecamp train --recipe paper --data "$scratch/phantoms" --out "$scratch/run" --ranks 1 --no-report \
    --set batch.total=256 --set batch.micro=256 --set schedule.epochs=10 --set log_every=5 --set checkpoint.every_steps=1000
cp "$scratch/run/metrics.jsonl" "$OUT/train.jsonl"
cp "$scratch/run/run_state.json" "$OUT/train.json"
exit "$red"
