"""The folder as the package ``journeys``, which ``make journeys`` finds by itself."""

import sys
from pathlib import Path
from types import ModuleType

if "journeys" not in sys.modules:
    sys.modules["journeys"] = ModuleType("journeys", __doc__)
    sys.modules["journeys"].__path__ = [str(Path(__file__).parent)]  # type: ignore[attr-defined]
