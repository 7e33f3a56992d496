#!/usr/bin/env bash
# Fetches, where there is a network, what a machine with a GPU and no network lacks for bench/on_gpu.sh.
#   bash bench/gpu_wheels.sh [--part 1|2] [--out DIR]     both parts where none is named; DIR is .wheels
# DIR/part1: wheels of all that the project imports, but for DALI.
# DIR/part2: DALI and what it needs, in pieces that can be carried one at a time; join.sh beside them installs them.
# A part is complete once it has SHA256SUMS, which is written last. A second run keeps a complete part, and fixes one
# where requirements.lock names other versions or a byte has changed. Versions and hashes are the lock's.
# PYTHON names a Python >= 3.10 that has pip; the wheels are for Python 3.12, whichever that is.
set -euo pipefail
start="$PWD"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
WHEELS_MB="${WHEELS_MB:-64}" # what may be carried at once, in 10^6 bytes
PIECE_MB="${PIECE_MB:-60}"   # of part 2

# What the machine has. Whatever else a wheel requires must be carried too.
PRESENT=(torch triton transformers timm numpy pytest hypothesis click rich matplotlib pillow fsspec pyyaml safetensors
    einops msgpack psutil py-cpuinfo ninja tqdm packaging)
PART1=(pydantic pydantic-core annotated-types typing-inspection typing-extensions deepspeed hjson webdataset
    braceexpand zlib-ng)
PART2=(nvidia-dali-cuda130 nvidia-nvimgcodec-cu13 nvidia-nvjpeg nvidia-nvjpeg2k-cu13 nvidia-nvtiff-cu13
    nvidia-libnvcomp-cu13 nvtx optree libcst astunparse gast six wheel makefun)
# Not in the lock, and nothing fails without them: what there is no wheel of is left out, with the reason. Each xformers
# before 0.0.35 requires one torch, none of them 2.11; flash-attn is on the index as source only.
OPTIONAL=("xformers==0.0.35 --hash=sha256:ccc73c7db9890224ab05f5fb60e2034f9e6c8672a10be0cf00e95cbbae3eda7c"
    "flash-attn==2.8.3.post2")

# pip takes platforms by name only, so each that a machine with glibc 2.35 runs is named.
TAGS=(--only-binary=:all: --implementation cp --python-version 3.12 --abi cp312)
for glibc in _2_35 _2_34 _2_31 _2_28 _2_27 _2_24 _2_17 2014 2010 1; do
    TAGS+=(--platform "manylinux${glibc}_x86_64")
done

fail() {
    echo "gpu_wheels: $*" >&2
    exit 1
}

# pip VERB [OPTION]...: what it says stays in a file, to be shown where it fails
pip() { "$PYTHON" -m pip --disable-pip-version-check --no-input "$@" > "$scratch/log" 2>&1; }

# locked NAME: its lines of the lock, name==version and the hashes
locked() {
    awk -v name="$1==" 'index($0, name) == 1 { on = 1 } on { print; if (!/\\$/) exit }' requirements.lock | grep . ||
        fail "requirements.lock has no $1: add it there, or take it out of bench/gpu_wheels.sh"
}

# wheel FOLDER REQUIREMENT: the path of the wheel of this very version, or nothing
wheel() {
    local stem="${2%%[ \\]*}"
    stem="${stem//-/_}"
    find "$1" -maxdepth 1 -iname "${stem/==/-}-*.whl"
}

# DeepSpeed is on the index as source. Its setup.py asks a torch that it finds what this machine could compile; hidden
# from it, the wheel is the same wherever it is made, and compiles an operation where that is first used.
build() {
    if [ ! -f "$scratch/build/torch.py" ]; then
        echo "$SETUPTOOLS" > "$scratch/setuptools.txt"
        pip install --no-deps --require-hashes --target "$scratch/build" -r "$scratch/setuptools.txt" || return
        echo 'raise ImportError("hidden")' > "$scratch/build/torch.py"
    fi
    DS_BUILD_OPS=0 PYTHONPATH="$scratch/build" pip wheel --no-deps --require-hashes --no-build-isolation --use-pep517 \
        --wheel-dir "$scratch/got" -r "$1"
}

# whole FOLDER REQUIREMENT: its wheel is there, and the lock vouches for the bytes (not for those of a wheel built here)
whole() {
    local path sum
    path="$(wheel "$1" "$2")"
    [ -n "$path" ] && sum="$(sha256sum < "$path")" && [[ $2 == *"sha256:${sum%% *}"* ]]
}

# fetch FOLDER REQUIREMENT: its wheel into FOLDER, all of it or nothing
fetch() {
    local hashes=()
    ! whole "$1" "$2" || return 0
    echo "fetching ${2%%[ \\]*}" >&2
    rm -rf "$scratch/got"
    echo "$2" > "$scratch/wanted.txt"
    case "$2" in
        deepspeed==*) build "$scratch/wanted.txt" || return ;;
        *)
            [[ $2 != *--hash=* ]] || hashes=(--require-hashes)
            pip download --no-deps "${hashes[@]}" "${TAGS[@]}" --dest "$scratch/got" -r "$scratch/wanted.txt" || return
            ;;
    esac
    wheel "$1" "$2" | xargs -r -d '\n' rm # damaged, or under other tags
    mv "$(wheel "$scratch/got" "$2")" "$1/"
}

# gather FOLDER REQUIREMENT...: the wheel of each
gather() {
    local folder="$1" requirement
    for requirement in "${@:2}"; do
        fetch "$folder" "$requirement" || {
            tail -n 3 "$scratch/log" >&2
            fail "no ${requirement%%[ \\]*}: see pip's words above. Was the network away, run this again, what came" \
                "is kept; where the index has other versions or hashes, run make lock first"
        }
    done
}

# spare FOLDER REQUIREMENT...: only their wheels; two versions of one package would stop the install
spare() {
    local folder="$1" path requirement keep
    keep="$(for requirement in "${@:2}"; do wheel "$folder" "$requirement"; done)"
    find "$folder" -maxdepth 1 -name '*.whl' | while read -r path; do
        grep -qxF "$path" <<< "$keep" || rm "$path"
    done
}

# closed PRESENT FOLDER: what the wheels of FOLDER require is among them, in a version that suits, or is PRESENT
closed() {
    "$PYTHON" - "$1" "$2" << 'END' || fail "add what is missing to PART1 or PART2 of bench/gpu_wheels.sh"
import email
import pathlib
import sys
import zipfile

from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name

present, wheels = set(map(canonicalize_name, sys.argv[1].split())), {}
for path in pathlib.Path(sys.argv[2]).glob("*.whl"):
    with zipfile.ZipFile(path) as archive:
        (member,) = (m for m in archive.namelist() if m.endswith(".dist-info/METADATA") and m.count("/") == 1)
        found = email.message_from_bytes(archive.read(member))
    needs = [Requirement(line) for line in found.get_all("Requires-Dist", [])]
    wheels[canonicalize_name(found["Name"])] = found["Version"], needs

machine = {"python_version": "3.12", "python_full_version": "3.12.0", "sys_platform": "linux"}
missing, todo = set(), [(name, "") for name in wheels]
for name, extra in todo:  # grows by the extras that a wheel asks another for
    for need in wheels[name][1]:
        other = canonicalize_name(need.name)
        if need.marker and not need.marker.evaluate({**machine, "extra": extra}):
            continue
        if other in wheels and need.specifier.contains(wheels[other][0], prereleases=True):
            todo += [(other, e) for e in need.extras if (other, e) not in todo]
        elif other in wheels or other not in present:
            missing.add(f"{name} requires {need}")
print(*sorted(missing), sep="\n", end="\n" * bool(missing), file=sys.stderr)
sys.exit(bool(missing))
END
}

# fits PATH...: all of it is carried at once
fits() {
    local bytes
    bytes="$(cat "$@" | wc -c)"
    echo "${1%/*}: $# wheels, $bytes bytes" >&2
    [ "$bytes" -le "$((WHEELS_MB * 1000000))" ] ||
        fail "${1%/*} is over the $WHEELS_MB MB that may be carried (WHEELS_MB): move a package from PART1 to PART2." \
            "The largest: $(du --bytes "$@" | sort -rn | head -n 3 | sed 's|.*/||' | xargs)"
}

# complete FOLDER WANTED: made for the same versions, and every byte as it was made
complete() {
    [ -f "$1/SHA256SUMS" ] && [ "$2" = "$(cat "$1/requirements.txt")" ] &&
        (cd "$1" && sha256sum --check --quiet SHA256SUMS)
}

# seal FOLDER WANTED: from here on FOLDER counts as complete
seal() {
    echo "$2" > "$1/requirements.txt"
    (cd "$1" && find . -type f ! -name SHA256SUMS -printf '%f\n' | LC_ALL=C sort | xargs sha256sum) > "$scratch/sums"
    mv "$scratch/sums" "$1/SHA256SUMS"
}

part1() {
    local folder="$OUT/part1" wanted
    wanted="$(printf '%s\n' "$@")"
    if ! complete "$folder" "$wanted"; then
        mkdir -p "$folder"
        rm -f "$folder/SHA256SUMS"
        gather "$folder" "$@"
        spare "$folder" "$@"
        closed "${PRESENT[*]}" "$folder"
        fits "$folder"/*.whl
        seal "$folder" "$wanted"
        return
    fi
    fits "$folder"/*.whl
}

# The wheels themselves stay in DIR/wheels2, so that an interrupted download goes on from the last whole one.
part2() {
    local folder="$OUT/part2" wheels="$OUT/wheels2" new="$scratch/part2" wanted requirement piece
    [ "$PIECE_MB" -le "$WHEELS_MB" ] || fail "PIECE_MB=$PIECE_MB is over the $WHEELS_MB MB that may be carried"
    wanted="$(printf '%s\n' "$@" "${OPTIONAL[@]}" "pieces of $PIECE_MB MB")"
    if ! complete "$folder" "$wanted"; then
        mkdir -p "$wheels" "$new"
        gather "$wheels" "$@"
        for requirement in "${OPTIONAL[@]}"; do
            fetch "$wheels" "$requirement" ||
                echo "left out: ${requirement%% *}, $(grep ERROR "$scratch/log" | tail -n 1)" >> "$new/LEFT_OUT"
        done
        spare "$wheels" "$@" "${OPTIONAL[@]}"
        closed "${PRESENT[*]} ${PART1[*]}" "$wheels"
        (cd "$wheels" && tar -cf - --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -- *.whl) |
            split -b "${PIECE_MB}MB" -d -a 2 - "$new/part-"
        joiner > "$new/join.sh"
        seal "$new" "$wanted"
        rm -rf "$folder"
        mv "$new" "$folder"
    fi
    [ ! -f "$folder/LEFT_OUT" ] || cat "$folder/LEFT_OUT" >&2
    for piece in "$folder"/part-*; do echo "$piece: $(stat -c %s "$piece") bytes" >&2; done
}

joiner() {
    cat << 'END'
#!/usr/bin/env bash
# Joins the pieces beside this file and installs the wheels that they hold: bash join.sh TARGET, then PYTHONPATH=TARGET.
# TARGET is an empty folder, or one with part 1 in it. PYTHON names the Python that will use it.
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: bash join.sh TARGET" >&2 && exit 2; }
mkdir -p "$1"
target="$(cd "$1" && pwd)"
cd "$(dirname "${BASH_SOURCE[0]}")"
grep ' part-' SHA256SUMS | sha256sum --check --quiet --strict || {
    echo "join.sh: carry the pieces named above again; nothing was installed" >&2
    exit 1
}
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
# By the list: a piece of an earlier, longer set may lie here too.
sed -n 's/.* part-/part-/p' SHA256SUMS | xargs cat | tar -xf - -C "$scratch"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --no-input --no-index --no-deps --no-compile \
    --target "$target" "$scratch"/*.whl
END
}

# The first that runs: a version manager's shim may not.
suitable() {
    local python
    for python in ${PYTHON:-python3.12 python3 python3.11 python}; do
        "$python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 10))' 2> /dev/null && echo "$python" && return
    done
    fail "no Python >= 3.10 with pip among ${PYTHON:-python3.12, python3, python3.11, python}: PYTHON=/path/to/python"
}

parts="1 2"
OUT=.wheels
while [ $# -gt 0 ]; do
    case "$1 ${2:-}" in
        "--part 1" | "--part 2") parts="$2" ;;
        "--out "?*) OUT="$(cd "$start" && realpath -m -- "$2")" ;;
        *) fail "usage: bash bench/gpu_wheels.sh [--part 1|2] [--out DIR]" ;;
    esac
    shift 2
done

PYTHON="$(suitable)"
SETUPTOOLS="$(locked setuptools)"
mkdir -p "$OUT"
rm -rf "$OUT"/.fetching.* # of a run that was killed
scratch="$(mktemp -d "$OUT/.fetching.XXXXXX")" # on the disk of OUT, so that mv is all or nothing
scratch="$(realpath "$scratch")"
trap 'rm -rf "$scratch"' EXIT

for part in $parts; do
    requirements=()
    names=("${PART1[@]}")
    [ "$part" = 1 ] || names=("${PART2[@]}")
    for name in "${names[@]}"; do requirements+=("$(locked "$name")"); done
    "part$part" "${requirements[@]}"
done
