"""Several ranks and machines: what launcher, scheduler and variables say, whether they agree, whether names resolve."""

import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from ecamp_fast.doctor.finding import CONFIG, Finding, fail, ok, warn
from ecamp_fast.doctor.run_setup import RunSetup
from ecamp_fast.doctor.variables import Harm, is_on, is_set
from ecamp_fast.rendezvous import VARIABLES, is_alone

HOSTFILE = Path("/job/hostfile")  # where DeepSpeed's launcher looks without --hostfile
PATIENCE = 2.0  # seconds that a name server may take
MPI = ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "PMI_RANK", "PMI_SIZE", "MV2_COMM_WORLD_RANK")
INTERFACES = ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "TP_SOCKET_IFNAME")
NCCL = {
    "NCCL_P2P_DISABLE": Harm(is_on, "GPUs of a machine do not write to each other"),
    "NCCL_SHM_DISABLE": Harm(is_on, "ranks of a machine talk over the network"),
    "NCCL_IB_DISABLE": Harm(is_on, "machines talk over the slow network"),
    "NCCL_NET_GDR_LEVEL": Harm(lambda value: value.upper() in ("0", "LOC"), "the network goes through main memory"),
    "NCCL_ALGO": Harm(is_set, "one way to sum is taken, however large the tensor"),
    "NCCL_PROTO": Harm(is_set, "one protocol is taken, however large the tensor"),
    "NCCL_NTHREADS": Harm(is_set, "NCCL's own choice of threads is overruled"),
    "NCCL_MAX_NCHANNELS": Harm(lambda value: value in ("1", "2"), "few channels: a fraction of the bandwidth"),
    "NCCL_DEBUG": Harm(lambda value: value.upper() == "TRACE", "every call is written to the log"),
    "NCCL_BLOCKING_WAIT": Harm(is_on, "the old name: the program waits for every collective"),
    "TORCH_NCCL_BLOCKING_WAIT": Harm(is_on, "the program waits for every collective"),
    "NCCL_ASYNC_ERROR_HANDLING": Harm(lambda value: value == "0", "a rank that dies leaves the others waiting", True),
    "TORCH_NCCL_ASYNC_ERROR_HANDLING": Harm(lambda v: v == "0", "a rank that dies leaves the others waiting", True),
    "TORCH_NCCL_ENABLE_MONITORING": Harm(lambda value: value == "0", "a collective that hangs is not noticed"),
}


def launch(setup: RunSetup) -> Iterator[Finding]:
    """The variables of a launcher: all of them, or none; numbers that go together."""
    given = {name: os.environ[name] for name in VARIABLES if os.environ.get(name)}
    unset = f"unset {' '.join(given)}"
    if not given:
        yield ok("launch", "no launcher's variables: `ecamp-fast train` or `deepspeed` set them")
        return
    missing = [name for name in VARIABLES if name not in given]
    if "WORLD_SIZE" in given and "RANK" not in given:
        found = f"is set to {given['WORLD_SIZE']}: a run started by hand waits for ranks that do not exist"
        yield fail("WORLD_SIZE", found, "unset WORLD_SIZE")
        return
    if missing:
        tell = warn if is_alone(given) else fail  # a run refuses half a launch
        yield tell("launch", f"{', '.join(given)} set, {', '.join(missing)} not: left by an earlier launch?", unset)
        return
    wrong = [name for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT") if not given[name].isdecimal()]
    if wrong:
        yield fail("launch", "; ".join(f"{name} is {given[name]!r}, no number" for name in wrong), unset)
        return
    rank, local, world = (int(given[name]) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"))
    if not (rank < world and local <= rank):
        yield fail("launch", f"rank {rank} (local {local}) of {world} cannot be", unset)
    elif setup.asked_ranks not in (None, world):
        found = f"WORLD_SIZE is {world}, --ranks {setup.asked_ranks}"
        yield fail("launch", found, f"--ranks {world}, or {unset}", CONFIG)
    else:
        yield ok("launch", f"rank {rank} of {world}, as its launcher says")


def master(setup: RunSetup) -> Iterator[Finding]:
    """MASTER_ADDR resolves; MASTER_PORT is a port that is free, where it is this machine's."""
    host, port = os.environ.get("MASTER_ADDR", ""), os.environ.get("MASTER_PORT", "")
    if host and not resolves(host):
        hint = "export MASTER_ADDR=... to a name or address that all machines know"
        yield fail("MASTER_ADDR", f"{host} does not resolve: ranks would wait for it", hint)
    elif host:
        yield ok("MASTER_ADDR", f"{host} resolves")
    if port and not (port.isdecimal() and 1 <= int(port) <= 65535):
        yield fail("MASTER_PORT", f"is {port!r}, not a port from 1 to 65535", "export MASTER_PORT=29500")
    elif port and int(port) < 1024 and os.getuid():
        yield fail("MASTER_PORT", f"{port} is a port for root alone", "export MASTER_PORT=29500")
    elif port and _is_here(host) and _taken(int(port)):
        found = f"{port} is in use on this machine: by another run?"
        yield warn("MASTER_PORT", found, "export MASTER_PORT=... to a free one, if that is not this run")
    elif port:
        yield ok("MASTER_PORT", port)
    if not (host or port):
        yield ok("master", "chosen by the launcher")


def host_name(setup: RunSetup) -> Iterator[Finding]:
    """Gloo asks for the address of this machine's own name."""
    name = socket.gethostname()
    if resolves(name):
        yield ok("host name", f"{name} resolves")
    elif os.environ.get("GLOO_SOCKET_IFNAME"):
        yield ok("host name", f"{name} does not resolve; GLOO_SOCKET_IFNAME says where to listen")
    else:
        hint = f"echo 127.0.0.1 {name} >> /etc/hosts, or export GLOO_SOCKET_IFNAME=lo (one machine)"
        yield warn("host name", f"{name} does not resolve: Gloo may not find this machine", hint)


def interfaces(setup: RunSetup) -> Iterator[Finding]:
    """Network interfaces that a variable names, against those there are."""
    known = [name for _, name in socket.if_nameindex()]
    found = []
    for variable in INTERFACES:
        wanted = [name for name in os.environ.get(variable, "").lstrip("^=").split(",") if name]
        excluded = os.environ.get(variable, "").startswith("^")
        begin = variable == "NCCL_SOCKET_IFNAME" and not os.environ.get(variable, "").startswith("=")
        fits = [n for n in wanted for one in known if one == n or (begin and one.startswith(n))]
        if wanted and not excluded and not fits:
            hint = f"export {variable}= one of {', '.join(known)}, or unset it"
            found.append(fail(variable, f"{', '.join(wanted)} is no interface of this machine", hint))
    yield from found
    if not found:
        yield ok("interfaces", ", ".join(known) or "none")


def nccl(setup: RunSetup) -> Iterator[Finding]:
    """Variables of NCCL that are often set once for a reason, and stay."""
    found = [(name, harm) for name, harm in NCCL.items() if name in os.environ and harm.by(os.environ[name])]
    for name, harm in found:
        what = f"is set to {os.environ[name]}: {harm.why}"
        yield (fail if harm.fatal else warn)(name, what, f"unset {name}, unless this machine needs it")
    if not found:
        yield ok("NCCL", "no variable that is known to hurt")


def slurm(setup: RunSetup) -> Iterator[Finding]:
    """What a SLURM job was given, against the ranks asked for and the GPUs seen."""
    job = os.environ.get("SLURM_JOB_ID")
    if not job:
        yield ok("SLURM", "not in a job")
        return
    tasks, world = os.environ.get("SLURM_NTASKS", "1"), os.environ.get("WORLD_SIZE")
    nodes, cores = os.environ.get("SLURM_NNODES", "1"), os.environ.get("SLURM_CPUS_PER_TASK")
    found = f"job {job}: {tasks} task(s) on {nodes} node(s)"
    if os.environ.get("SLURM_PROCID") and world and world != tasks:
        hint = "srun with one task per rank, or one per node and a launcher in each"
        yield warn("SLURM", f"{found}, but WORLD_SIZE is {world}", hint)
    elif setup.recipe and cores and cores.isdecimal() and int(cores) < setup.recipe.loader.threads:
        hint = f"#SBATCH --cpus-per-task={setup.recipe.loader.threads + 2}, or --set loader.threads={cores}"
        yield warn("SLURM", f"{found}, {cores} core(s) each, for {setup.recipe.loader.threads} decoding threads", hint)
    else:
        yield ok("SLURM", found)


def mpi(setup: RunSetup) -> Iterator[Finding]:
    """Variables of MPI, from which DeepSpeed takes ranks where a launcher's are not there."""
    found = [name for name in MPI if os.environ.get(name)]
    if found and not os.environ.get("RANK"):
        hint = f"unset {' '.join(found)}, or start the ranks with `ecamp-fast train`"
        yield warn("MPI", f"{', '.join(found)} set: DeepSpeed takes this process for a rank of mpirun", hint)
    else:
        yield ok("MPI", "no mpirun's variables" if not found else "under mpirun, with a launcher's variables")


def hostfile(setup: RunSetup) -> Iterator[Finding]:
    """The machines of a hostfile: ``HOST slots=N`` on every line, each once, each known."""
    file = Path(setup.hostfile or os.environ.get("DLTS_HOSTFILE") or HOSTFILE)
    if setup.hostfile is None and not file.exists():
        yield ok("hostfile", "none: this machine alone")
        return
    try:
        lines = [line.split("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        yield fail(
            "hostfile", f"{file} cannot be read ({type(error).__name__})", "name another: --hostfile FILE", CONFIG
        )
        return
    rows = [(number, line) for number, line in enumerate(lines, 1) if line]
    parsed = [(number, re.fullmatch(r"(\S+)\s+slots=([1-9]\d*)", line)) for number, line in rows]
    wrong = [f"line {number}" for number, found in parsed if not found]
    hosts = [found[1] for _, found in parsed if found]
    twins = sorted({host for host in hosts if hosts.count(host) > 1})
    unknown = [] if wrong or twins else [host for host in hosts if not resolves(host)]
    slots = sum(int(found[2]) for _, found in parsed if found)
    if not rows or wrong:
        what = f"{file}: {', '.join(wrong) or 'no line'} does not say HOST slots=N"
        yield fail("hostfile", what, "write lines such as `node1 slots=8`", CONFIG)
    elif twins:
        yield fail("hostfile", f"{file}: {', '.join(twins)} stands there twice", "name each machine once", CONFIG)
    elif unknown:
        hint = "correct the names, or add them to /etc/hosts"
        yield fail("hostfile", f"{file}: {', '.join(unknown)} cannot be resolved", hint)
    else:
        yield ok("hostfile", f"{file}: {len(hosts)} machine(s), {slots} slot(s)")


def resolves(host: str) -> bool:
    """Whether a name has an address, as far as the name servers tell within ``PATIENCE``."""
    found: list[object] = []

    def ask() -> None:
        try:
            found.extend(socket.getaddrinfo(host, None))
        except (OSError, UnicodeError):
            return

    query = threading.Thread(target=ask, daemon=True)
    query.start()
    query.join(PATIENCE)
    return bool(found)


def _is_here(host: str) -> bool:
    return host in ("", "localhost", "127.0.0.1", "::1", socket.gethostname())


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
