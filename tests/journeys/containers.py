"""Journey: the lines of Dockerfile and Apptainer recipe, executed as they stand in an empty Debian, without an engine.

debootstrap makes what `debian:bookworm-slim` is made of: the same release and packages. Each line runs in it by chroot,
as root, with nothing of this machine's environment but where its pip finds packages; then, as the image's user and
without any network, what the image is for: its health check, a shard set, a short training. Needs root, debootstrap,
Debian's packages, and 6 GB for each recipe.

    make journeys ARGS=containers, or this file with [--only NAME] [--scratch FOLDER]
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from journeys.harness import Broken, Skipped, Walk, check, tell, tiny
from journeys.image_recipes import ROOT, Copy, Image, both, let_through

RELEASE = "bookworm"
NEEDED = ("debootstrap", "unshare", "chroot", "ip", "git")
EMPTY = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
SPACE = 16  # GB that have to be free
# In namespaces of its own: what is mounted goes with the last process.
INSIDE = """
mount -t tmpfs tmpfs "$ROOM/dev/shm"
for place in $PLACES; do mkdir -p "$ROOM$place"; mount --bind "$place" "$ROOM$place"; done
[ -z "$ALONE" ] || ip link set lo up
exec chroot $AS "$ROOM" "$@"
"""


class Room:
    """An empty Debian in a folder, and a recipe's steps in it."""

    def __init__(self, folder: Path, image: Image, pip: dict[str, str], places: list[str]) -> None:
        self.folder, self.image, self.pip, self.places = folder, image, pip, places

    def build(self) -> None:
        """All steps in their order.  Raises Broken where a line fails."""
        ignored, docker = (ROOT / ".dockerignore").read_text(encoding="utf-8"), self.image.user != ""
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
        files = [name for name in listed.stdout.split("\0") if name and (not docker or let_through(ignored, name))]
        for step in self.image.steps:
            if isinstance(step, Copy):
                self.copy(step, files)
            else:
                self.run(["sh", "-c", step.script], EMPTY | self.pip, f"RUN {step.script}")

    def copy(self, step: Copy, files: Sequence[str]) -> None:
        for source in step.sources:
            meant = [name for name in files if name == source or name.startswith(f"{source}/")]
            check(meant, f"COPY {source}: {len(meant)} files")
            for name in meant:
                inner = name.removeprefix(source).lstrip("/") or (Path(source).name if step.into.endswith("/") else "")
                target = Path(f"{self.folder}{step.into.rstrip('/')}", inner)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, target)

    def use(self, words: Sequence[str]) -> str:
        """What somebody types who has the image: as its user, in its environment, without any network."""
        home = self.image.home if self.image.user else "/tmp"
        inside = ["env", "--chdir", home, *words]
        return self.run(inside, EMPTY | self.image.env | {"HOME": home}, " ".join(words), alone=True)

    def run(self, words: Sequence[str], env: dict[str, str], told: str, alone: bool = False) -> str:
        """A program in the room.  returns what it prints   Raises Broken where it fails."""
        tell(f"$ {' '.join(told.split())[:200]}")
        began = time.monotonic()
        outside = {"PATH": os.environ["PATH"], "ROOM": str(self.folder), "ALONE": "yes" if alone else ""}
        outside |= {"PLACES": "" if alone else " ".join(self.places)}
        outside |= {"AS": f"--userspec={self.image.user}" if alone and self.image.user else ""}
        spaces = ["--mount", "--pid", "--fork", "--kill-child", f"--mount-proc={self.folder}/proc"]
        spaces += ["--net"] if alone else []
        clean = ["env", "-i", *(f"{name}={value}" for name, value in env.items())]
        command = ["unshare", *spaces, "sh", "-euc", INSIDE, "sh", *clean, *words]
        done = subprocess.run(
            command, env=outside, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL
        )
        both_of_it = done.stdout + done.stderr
        tell(f"  [{done.returncode}, {time.monotonic() - began:.1f} s] {both_of_it.strip().splitlines()[-1:]}")
        if done.returncode:
            raise Broken(f"$ {told}\nleft with {done.returncode}:\n{both_of_it[-3000:]}")
        return both_of_it


def sources_of_pip() -> tuple[dict[str, str], list[str]]:
    """Where this machine's pip finds packages: variables, and folders, which the room sees while it is built."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    found = dict(re.findall(r"^[\w:]+\.\.?(find-links|index-url|extra-index-url)='(.*)'$", listed, re.MULTILINE))
    variables = {f"PIP_{name.upper().replace('-', '_')}": value for name, value in found.items()}
    places = [
        place for place in re.findall(r"(?:^|file://|\s)(/[^\s']+)", " ".join(found.values())) if Path(place).is_dir()
    ]
    return variables, sorted(
        {str(Path(place).parent if place.endswith("/simple") else Path(place)) for place in places}
    )


def journey(walk: Walk) -> None:
    """The recipes one after the other."""
    go(list(both()), walk.folder)


def go(names: Sequence[str], scratch: Path) -> None:
    """Raises Broken where a line fails, Skipped where this machine cannot execute any."""
    missing = [name for name in NEEDED if not shutil.which(name)]
    if os.geteuid() or missing:
        raise Skipped(f"needs root and {', '.join(NEEDED)}; missing: {', '.join(missing) or 'root'}")
    if shutil.disk_usage(scratch).free < SPACE << 30:
        raise Skipped(f"needs {SPACE} GB in {scratch}")
    base = scratch / "base"
    tell(f"$ debootstrap --variant=minbase {RELEASE}")
    made = subprocess.run(["debootstrap", "--variant=minbase", RELEASE, base], capture_output=True, text=True)
    if made.returncode:
        raise Skipped(f"debootstrap could not make an empty Debian: {made.stdout.strip()[-200:]}")
    shutil.copy("/etc/resolv.conf", base / "etc/resolv.conf")
    variables, places = sources_of_pip()
    if certificate := os.environ.get("PIP_CERT"):
        shutil.copy(certificate, base / "etc/host.crt")
        variables["PIP_CERT"] = "/etc/host.crt"
    for name in names:
        tell(f"\n--- {name}")
        room = scratch / "room"
        subprocess.run(["cp", "-a", base, room], check=True)
        try:
            walk_through(Room(room, both()[name], variables, places))
        finally:
            subprocess.run(["rm", "-rf", "--one-file-system", room], check=True)


def walk_through(room: Room) -> None:
    began = time.monotonic()
    room.build()
    tell(f"  built in {time.monotonic() - began:.0f} s")
    check(not (room.folder / "src").exists(), "no sources are left in the image")
    check("0 FAIL" in room.use(room.image.health), "the health check finds no fault")
    command = room.image.command
    room.use([*command, "shard", "build", "--from", "phantom", "24", "SET", "--size", "96"])
    train = f"train --data SET --out RUN --recipe paper --no-report {tiny()}"
    room.use(["sh", "-c", f"{' '.join(command)} {train}"])
    state = room.use(["cat", "RUN/run_state.json"])
    check('"complete"' in state, "a training comes to its end without any network")
    if room.image.user:
        check(room.use(["id", "--user"]).strip() == "1000", "the user is not root")


def main(arguments: Sequence[str] = ()) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(both()), help="one recipe")
    parser.add_argument("--scratch", type=Path, help="where the folders are made; default: the system's")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=chosen.scratch, prefix="ecamp-containers-") as scratch:
        try:
            go([chosen.only] if chosen.only else list(both()), Path(scratch))
        except Skipped as why:
            tell(f"skipped: {why}")
        except Broken as what:
            tell(f"BROKEN: {what}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
