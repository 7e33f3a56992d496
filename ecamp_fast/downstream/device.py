"""Where a task computes: the device that is named, or a GPU where there is one."""

import re

import torch

from ecamp_fast.errors import ConfigError, EnvironmentFault

NAME = r"^(cpu|cuda(:\d+)?)$"


def open_device(name: str | None) -> torch.device:
    """A GPU where there is one, if none is named.

    Raises ConfigError for a name that is none, EnvironmentFault for a device that is not here.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name is None:
        return torch.device("cuda" if count else "cpu")
    if not re.match(NAME, name):
        raise ConfigError(f"--device {name}: there is no such device", "name cpu, cuda or cuda:N")
    known = ["cpu", *(["cuda"] if count else []), *(f"cuda:{number}" for number in range(count))]
    if name not in known:
        raise EnvironmentFault(f"device {name}: there is no such device here", f"name one of {', '.join(known)}")
    return torch.device(name)
