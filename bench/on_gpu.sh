#!/usr/bin/env bash
# One run on a bare machine with a GPU and no network: the stages that prove the most come first, each in a time box.
#   bash bench/on_gpu.sh            after bench/gpu_wheels.sh has put .wheels/part1 here: bench/RUNBOOK.md says how
#   bash bench/on_gpu.sh --part 2   with .wheels/part2: DALI, xformers and flash-attn; PEER=CHECKOUT, the release beside
# Results: $OUT/results.tar, written anew after every stage (JSON, the log of each stage, tuning.json, stages.jsonl), and
# $OUT/summary.txt. A stage that fails or overruns its box is noted and the next one runs. Without a GPU every stage runs
# small, on the CPU, to rehearse. PYTHON names the machine's Python. Exit code 1: a stage failed or overran.
set -uo pipefail
WHEELS_MB="${WHEELS_MB:-64}"            # what may be carried in, beside the repository, in 10^6 bytes
RESULT_FILES="${RESULT_FILES:-8}"       # how many files may be carried out
SECONDS_IN_ALL="${SECONDS_IN_ALL:-570}" # of this run
DRIVER="${DRIVER:-/dev/nvidiactl}"      # what tells that there is a GPU
BOX_LIMIT="${BOX_LIMIT:-600}"           # no box is longer: for trying the script
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
PYTHON="${PYTHON:-python3}"
OUT="${OUT:-bench/results/gpu}"
mkdir -p "$OUT"
OUT="$(cd "$OUT" && pwd)"
work="$(mktemp -d)"
results="$work/results"
mkdir -p "$results"
cp kernels/tuning.json "$work/tuning.json"
trap 'cp "$work/tuning.json" kernels/tuning.json; rm -rf "$work"' EXIT # a sweep's winners are a result, not yet in use
began=$SECONDS

# What one stage has compiled the next finds there.
export TORCHINDUCTOR_CACHE_DIR="$work/inductor" TRITON_CACHE_DIR="$work/triton"
export TORCHINDUCTOR_FX_GRAPH_CACHE=1 TORCHINDUCTOR_AUTOGRAD_CACHE=1 PYTHONUNBUFFERED=1
site="$work/site" second="$work/site2"
export PYTHONPATH="$site:$second:$PWD${PYTHONPATH:+:$PYTHONPATH}"

reserve=20 # of the time, for the last stage
left() { echo $((SECONDS_IN_ALL - reserve - (SECONDS - began))); }

# note NAME STATUS SECONDS [REASON]
note() {
    printf '{"stage": "%s", "status": "%s", "seconds": %s, "reason": "%s"}\n' "$1" "$2" "$3" "${4:-}" >> "$results/stages.jsonl"
    printf '%-22s %-8s %4s s  %s\n' "$1" "$2" "$3" "${4:-}" | tee -a "$results/summary.txt" >&2
    collect
}

# Whole at every moment: what is carried out after a kill has all that was finished.
collect() {
    local archive="$work/$BASHPID.tar" # two stages may end at once
    tar -cf "$archive" -C "$work" results 2> /dev/null
    [ ! -s "$archive" ] || mv "$archive" "$OUT/results.tar"
    cp "$results/summary.txt" "$OUT/summary.txt" 2> /dev/null
}

# stage NAME BOX COMMAND...: its last line of output is the result, kept as NAME.json where it is a JSON object
stage() {
    local name="$1" box="$2" code from=$SECONDS status=ok reason=""
    shift 2
    if [ "$(left)" -lt 5 ]; then
        note "$name" skipped 0 "no time left"
        return
    fi
    [ "$box" -le "$BOX_LIMIT" ] || box="$BOX_LIMIT"
    [ "$box" -le "$(left)" ] || box="$(left)"
    timeout --kill-after=5 "$box" "$@" > "$work/$name.out" 2> "$results/$name.log" < /dev/null
    code=$?
    tail -n 1 "$work/$name.out" > "$work/$name.last"
    if [ "$(head -c 1 "$work/$name.last")" = "{" ]; then
        cp "$work/$name.last" "$results/$name.json"
    else
        cp "$work/$name.out" "$results/$name.txt"
    fi
    if [ "$code" -eq 124 ] || [ "$code" -eq 137 ]; then
        status=overran reason="killed after its box of $box s"
    elif [ "$code" -ne 0 ]; then
        status=failed
        [ -s "$results/$name.log" ] || cp "$work/$name.last" "$results/$name.log" # the command line's errors are its JSON
        reason="exit code $code: $(tail -n 1 "$results/$name.log" | LC_ALL=C tr -cd ' !#-[]-~' | head -c 160)"
    fi
    note "$name" "$status" $((SECONDS - from)) "$reason"
}

bench() { # bench NAME BOX BENCH [OPTION]...
    local name="$1" box="$2"
    shift 2
    stage "$name" "$box" "$PYTHON" -m ecamp_fast.cli bench "$@" --json
}

# tune KEY BOX SECONDS: the winner goes into results/tuning.json alone, so that later stages are timed as the first were
tune() {
    [ ! -f "$results/tuning.json" ] || cp "$results/tuning.json" kernels/tuning.json
    bench "tune-$1" "$2" kernels --no-times --tune --tune-only "$1" --tune-seconds "$3"
    cp kernels/tuning.json "$results/tuning.json"
    cp "$work/tuning.json" kernels/tuning.json
    collect
}

has() { "$PYTHON" -c "import $1" > /dev/null 2>&1; }

# install: the carried wheels, into a folder of their own; nothing of the machine's is changed
install() {
    local from=$SECONDS wheels=(.wheels/part1/*.whl) size
    if [ ! -e "${wheels[0]}" ]; then
        note install skipped 0 "no .wheels/part1: what is installed must do"
        return
    fi
    size=$(($(cat "${wheels[@]}" | wc -c) / 1000000))
    if [ "$size" -gt "$WHEELS_MB" ]; then
        note install failed 0 "the wheels have $size MB, $WHEELS_MB may be carried"
    elif timeout 60 "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$site" \
        "${wheels[@]}" > "$results/install.log" 2>&1; then
        note install ok $((SECONDS - from))
    else
        note install failed $((SECONDS - from)) "see install.log"
    fi
}

# Triton 3.6's interpreter, which the gates need without a GPU, takes no numpy from 2.4 on.
interpreter_lacks() {
    "$PYTHON" - << 'PY'
import numpy
import triton

version = [tuple(int(part) for part in module.__version__.split(".")[:2]) for module in (numpy, triton)]
broken = version[0] >= (2, 4) and version[1] < (3, 7)
print(f"no GPU, and the interpreter of Triton {triton.__version__} needs numpy below 2.4" if broken else "")
PY
}

part_1() {
    install
    bench device 25 device
    if [ -n "$gpu" ]; then
        # All blocks compile in one thread: beside the gates, which are not timed, so that `train` finds them compiled.
        (bench compile 160 train --synthetic --steps 1 --blocks 1 "${batches[@]}") &
        bench kernel-gates 60 kernels --no-times
        wait
        bench train 120 train --synthetic --profile "${step[@]}"
        bench unaligned-and-zero0 90 scaling --ranks 1 --stages 2,2-unaligned,0 --accumulation 4 --steps 8 "${micro[@]}"
        bench model 80 model --batch 256 --precision bf16 --repeats 5
        bench attention 40 attention --batch 256
        bench kernel-times 60 kernels --no-compiled
        stage gpu-tests 60 "$PYTHON" -m pytest -m gpu -q -p no:cacheprovider "${tests[@]}"
        # What is left is for these, in this order; the boxes only keep one from eating the others'.
        bench repeats 45 repeats "${micro[@]}"
        bench train-1024 150 train --synthetic --steps 4 --blocks 3 --set batch.micro=1024 --set batch.total=1024
        bench train-unshared 60 train --synthetic "${step[@]}" --set share_projections=false
        tune sr_loss 90 45
        tune vocabulary_chunks 60 30
        bench train-max-autotune 120 train --synthetic "${step[@]}" --set compile=max-autotune
    else
        local lacks
        lacks="$(interpreter_lacks 2> /dev/null)"
        if [ -n "$lacks" ]; then
            note kernel-gates skipped 0 "$lacks"
        else
            bench kernel-gates 300 kernels --no-times
        fi
        bench compile 120 train --synthetic --steps 1 --blocks 1 "${batches[@]}"
        bench train 120 train --synthetic --profile "${step[@]}"
        bench unaligned-and-zero0 240 scaling --ranks 1 --stages 2,2-unaligned,0 --accumulation 2 --steps 2 --tokens 20 \
            "${micro[@]}"
        bench model 80 model "${small[@]}" --batch 2 --tokens 20 --precision bf16 --repeats 1
        bench attention 120 attention --batch 2 --repeats 2
        note kernel-times skipped 0 "needs CUDA"
        stage gpu-tests 240 "$PYTHON" -m pytest -m gpu -q -p no:cacheprovider "${tests[@]}"
        bench repeats 60 repeats --tokens 20 --times 2 "${micro[@]}"
        bench train-1024 90 train --synthetic --steps 1 --blocks 1 --tokens 20 "${small[@]}" --set batch.micro=8 \
            --set batch.total=8
        bench train-unshared 90 train --synthetic "${step[@]}" --set share_projections=false
        note tune-sr_loss skipped 0 "needs CUDA"
        note tune-vocabulary_chunks skipped 0 "needs CUDA"
        note train-max-autotune skipped 0 "needs CUDA"
    fi
    reserve=0
    bench roofline 60 roofline --results "$results"
}

# How the GPU decodes best: the share of images for its JPEG engine, and the crop alone or all of an image.
decoding() {
    local side region hardware
    for side in 512 1024; do
        stage "phantoms-$side" 60 "$PYTHON" -m ecamp_fast.cli shard build --from phantom "$phantoms" "$work/$side" --size "$side"
        for region in true false; do
            for hardware in "${engine[@]}"; do
                bench "loader-$side-$region-$hardware" 30 loader --data "$work/$side" "${images[@]}" \
                    --set loader.region=$region --set loader.hardware="$hardware"
            done
        done
    done
}

part_2() {
    install
    if [ ! -f .wheels/part2/join.sh ]; then
        note join skipped 0 "no .wheels/part2: make it with bench/gpu_wheels.sh --part 2"
    else
        stage join 60 bash .wheels/part2/join.sh "$second"
    fi
    if has xformers.ops || has flash_attn; then
        bench attention 120 attention "${batch[@]}"
    else
        note attention skipped 0 "neither xformers nor flash-attn can be imported here"
    fi
    has flash_attn || note flash-attn skipped 0 "no wheel for this PyTorch, and a build takes longer than a run"
    if has nvidia.dali.fn; then
        decoding
        bench train-shards 120 train "${step[@]}" --data "$work/512"
    else
        note decoding skipped 0 "no DALI"
        note train-shards skipped 0 "no DALI"
    fi
    if [ -n "${PEER:-}" ]; then
        bench peer 120 model "${small[@]}" "${batch[@]}" --precision bf16 --precision fp32 --repeats 3 --peer "$PEER"
    else
        note peer skipped 0 "no PEER=CHECKOUT given"
    fi
}

tests=(tests/kernels tests/model tests/bench/test_kernels.py tests/bench/test_model.py)
gpu="$("$PYTHON" -c 'import torch; print("yes" if torch.cuda.is_available() else "")' 2> /dev/null)"
if [ -z "$gpu" ] && [ -e "$DRIVER" ]; then # a rehearsal here would spend the machine's time on nothing
    echo "on_gpu: there is a driver, but PyTorch of $PYTHON sees no GPU:" >&2
    "$PYTHON" -c 'import torch; torch.zeros(1, device="cuda")' >&2
    exit 4
fi
if [ -n "$gpu" ]; then
    small=()
    micro=(--set batch.micro=256 --set batch.total=256)
    batches=(--set batch.micro=256 --set batch.total=1024)
    step=(--steps 8 --blocks 3 "${batches[@]}")
    batch=(--batch 256)
    images=(--images 4096 --set batch.micro=256 --set batch.total=256 --set loader.threads=8)
    engine=(0 0.35 0.65 0.9 1)
    phantoms=512
else
    small=(--recipe demo --vocabulary 1000)
    micro=("${small[@]}" --set batch.micro=2 --set batch.total=2)
    batches=("${small[@]}" --set batch.micro=4 --set batch.total=8)
    step=(--steps 1 --blocks 1 "${batches[@]}")
    batch=(--batch 2 --repeats 2)
    images=(--recipe demo --images 16)
    engine=(0.65)
    phantoms=32
    SECONDS_IN_ALL=$((3 * SECONDS_IN_ALL)) # a CPU takes longer for less
fi

case "${1:-}" in
    "") part_1 ;;
    --part)
        case "${2:-}" in
            1) part_1 ;;
            2) part_2 ;;
            *) echo "on_gpu: --part 1 or 2" >&2 && exit 2 ;;
        esac
        ;;
    *) echo "on_gpu: $1 is no option; bench/RUNBOOK.md" >&2 && exit 2 ;;
esac
files=$(find "$OUT" -maxdepth 1 -type f | wc -l)
[ "$files" -le "$RESULT_FILES" ] || echo "on_gpu: $OUT holds $files files, $RESULT_FILES may be carried out" >&2
! grep -q '"status": "\(failed\|overran\)"' "$results/stages.jsonl"
