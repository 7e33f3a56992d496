"""Journey: the wheel in a fresh environment, HOME empty, in a folder without a checkout: demo, train, deepspeed.

The long one installs requirements.lock; the short one takes the libraries of this environment, the wheel being its own.
"""

import site
import sys

from journeys.harness import BIN, ROOT, Walk, check, check_complete, check_file, program, tiny

WHERE = """python -c 'import ecamp_fast as e, ecamp_fast.shards.load as load; print(e.__file__, load.__path__)'"""


def journey(walk: Walk) -> None:
    install(walk)
    leave(walk)
    environment = walk.folder / "env"
    told = walk.type(WHERE).out
    check(told.count(str(environment)) == 2 and str(ROOT) not in told, "what is imported is the wheel's")
    walk.type("ecamp-fast shard build --from phantom 24 SHARDS --size 96 --workers 1")
    if walk.short:
        walk.type("ecamp-fast recipes show paper", says=["model.vision"])
        walk.type("ecamp-fast shard verify SHARDS")
        return
    walk.type(f"ecamp-fast train --recipe paper --data SHARDS --out runs/first {tiny()}")
    check_complete(walk.state("runs/first"))
    walk.type("pip check")
    walk.type("ecamp-fast doctor", says=["0 FAIL"])
    check_file(walk.here / "runs/first/report.html", 10_000)
    again = f"--ds_config --recipe paper --data SHARDS --no-report {tiny()}"
    for name, start in {"second": "deepspeed --module", "third": "torchrun -m", "fourth": "python -m"}.items():
        walk.type(f"{start} ecamp_fast.train {again} --out runs/{name}")
        walk.type(f"ecamp-fast compare-runs runs/first runs/{name}", says=["to the bit"])
    walk.type("ecamp-fast export runs/first exported")
    walk.type("ecamp-fast bench roofline --json")
    walk.type("ecamp-fast demo", says=["report"])
    check_file(walk.here / "runs/demo/report.html", 10_000)


def install(walk: Walk) -> None:
    """A fresh environment in ``env`` with nothing of ecamp-fast but its wheel."""
    walk.env["PATH"] = f"{BIN}:/usr/bin:/bin"  # pip asks rustc for its version, which writes into HOME on some machines
    walk.type(f"cd {ROOT} && python .ci/wheel.py {walk.folder}/dist")
    walk.type(f"python -m venv {'--without-pip ' if walk.short else ''}{walk.folder}/env", env={"PYTHONPATH": ""})
    inside = f"{walk.folder}/env/bin/python"
    if walk.short:
        (packages,) = (walk.folder / "env/lib").glob("python*/site-packages")
        wheel = next((walk.folder / "dist").glob("*.whl"))
        walk.type(f"python -m pip install -q --no-deps --no-index --target {packages} {wheel}")
        # As a folder to look into: links to a checkout that an editable installation has there are not followed.
        (packages / "libraries.pth").write_text("\n".join(site.getsitepackages()) + "\n")
        script = packages.parents[2] / "bin" / "ecamp-fast"
        script.write_text(f"#!{inside}\nimport sys\nfrom ecamp_fast.cli import main\nsys.exit(main())\n")
        script.chmod(0o755)
        return
    quiet = "-m pip install -q --no-input --disable-pip-version-check"
    walk.type(f"{inside} {quiet} --require-hashes --no-deps --no-compile -r {ROOT}/requirements.lock", timeout=3600)
    walk.type(f"{inside} {quiet} --no-deps --no-index {walk.folder}/dist/*.whl")


def leave(walk: Walk) -> None:
    """From here on commands are typed in an empty folder, with nothing of the checkout in the environment."""
    walk.here = walk.folder / "elsewhere"
    walk.here.mkdir()
    walk.env.pop("PYTHONPATH", None)
    walk.env["PATH"] = f"{walk.folder}/env/bin:/usr/bin:/bin"


def main() -> int:
    return program(journey)


if __name__ == "__main__":
    sys.exit(main())
