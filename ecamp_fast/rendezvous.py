"""Which rank this process is and where all of them meet, as launchers and SLURM say it in variables.

``deepspeed``, ``torchrun`` and their like set all of ``VARIABLES``. SLURM's ``srun`` starts one task per rank and sets
variables of its own, which ``adopt`` translates; where neither has spoken, the process is alone. Nothing heavy is
imported, since this is settled before anything else of a rank.
"""

import os
import re
from collections.abc import Mapping, MutableMapping

from ecamp_fast.errors import EnvironmentFault

RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
VARIABLES = (*RANKS, "MASTER_ADDR", "MASTER_PORT")
_PORTS = range(15000, 30000)  # below those that Linux hands out by itself
_STEPS = 0xFFFFFFF0  # numbers from here on are SLURM's own: the batch script, an interactive shell


def adopt(environment: MutableMapping[str, str] = os.environ) -> None:
    """Put a rank's variables into ``environment``, where ``srun`` started it; look at those that are there.

    Raises EnvironmentFault where they are half set or contradict each other.
    """
    if _of_srun(environment):
        environment.update(_translated(environment))
    check(environment)


def is_alone(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether no launcher has started this process as one of several ranks, or as the only one."""
    return not any(environment.get(name) for name in RANKS)


def check(environment: Mapping[str, str]) -> None:
    """Raises EnvironmentFault where a rank's variables are half set or contradict each other."""
    given = [name for name in VARIABLES if environment.get(name)]
    hint = f"unset {' '.join(given)}, or start the ranks with torchrun, deepspeed or srun"
    if is_alone(environment):
        return
    if missing := [name for name in VARIABLES if name not in given]:
        raise EnvironmentFault(f"half a launch: {', '.join(given)} set, {', '.join(missing)} not", hint)
    rank, local, world = (_number(environment, name, hint) for name in RANKS)
    together = _number(environment, "LOCAL_WORLD_SIZE", hint) if environment.get("LOCAL_WORLD_SIZE") else world
    if not (local <= rank < world and local < together <= world):
        what = f"rank {rank} of {world}, number {local} of {together} on its machine, cannot be"
        raise EnvironmentFault(what, hint)
    if not 0 < _number(environment, "MASTER_PORT", hint) < 65536:
        raise EnvironmentFault(f"MASTER_PORT is {environment['MASTER_PORT']}, not a port from 1 to 65535", hint)


def _of_srun(environment: Mapping[str, str]) -> bool:
    """Whether this process is a task of ``srun`` that no other launcher has made a rank.

    In a batch script SLURM sets most of a task's variables too, but no step's number.
    """
    step = environment.get("SLURM_STEP_ID", "")
    launched = all(environment.get(name) for name in VARIABLES)
    return "SLURM_PROCID" in environment and step.isdecimal() and int(step) < _STEPS and not launched


def _translated(environment: Mapping[str, str]) -> dict[str, str]:
    """A rank's variables of SLURM's.  Raises EnvironmentFault where those are half set, or the former say otherwise."""
    hint = "start the ranks with srun, one task per rank, and set none of " + ", ".join(RANKS)
    tasks = "SLURM_STEP_NUM_TASKS" if environment.get("SLURM_STEP_NUM_TASKS") else "SLURM_NTASKS"
    needed = ("SLURM_PROCID", "SLURM_LOCALID", tasks)
    if missing := [name for name in needed if not environment.get(name)]:
        raise EnvironmentFault(f"half a task of srun: {', '.join(missing)} not set", hint)
    rank, local, world = (_number(environment, name, hint) for name in needed)
    found = {"RANK": rank, "LOCAL_RANK": local, "WORLD_SIZE": world}
    for name, number in found.items():
        if environment.get(name) not in (None, "", str(number)):
            raise EnvironmentFault(f"{name} is {environment[name]}, SLURM says {number}", hint)
    translated = {name: str(number) for name, number in found.items()}
    if together := _tasks_of_node(environment):
        translated["LOCAL_WORLD_SIZE"] = str(together)
    translated["MASTER_ADDR"] = environment.get("MASTER_ADDR") or _first_host(environment, world)
    translated["MASTER_PORT"] = environment.get("MASTER_PORT") or str(_port(environment, hint))
    return translated


def _tasks_of_node(environment: Mapping[str, str]) -> int:
    """How many run on this one, from ``2(x3),1`` for each node in turn; 0 where SLURM does not say."""
    node, counts = environment.get("SLURM_NODEID", ""), list[int]()
    for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", environment.get("SLURM_STEP_TASKS_PER_NODE", "")):
        counts += [int(count)] * int(times or 1)
    return counts[int(node)] if node.isdecimal() and int(node) < len(counts) else 0


def _first_host(environment: Mapping[str, str], world: int) -> str:
    """Of the step's nodes, where rank 0 is: ``gpu03`` of ``gpu[03-06,09],big1``."""
    if environment.get("SLURM_STEP_NUM_NODES") == "1" or world == 1:
        return "127.0.0.1"
    nodes = environment.get("SLURM_STEP_NODELIST", "")
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])+", nodes)
    if first is None:
        raise EnvironmentFault("SLURM_STEP_NODELIST names no node", "export MASTER_ADDR= the host of rank 0")
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", first[0])


def _port(environment: Mapping[str, str], hint: str) -> int:
    """The same on all ranks of a step; another for the next job of the machine."""
    numbers = [_number(environment, name, hint) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID")]
    return _PORTS[sum(numbers) % len(_PORTS)]


def _number(environment: Mapping[str, str], name: str, hint: str) -> int:
    value = environment.get(name, "")
    if not (value.isascii() and value.isdecimal()):
        raise EnvironmentFault(f"{name} is {value!r}, no number", hint)
    return int(value)
