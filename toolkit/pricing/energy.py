"""The energy that an engine's device has consumed, where it can be measured."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

_RAPL = Path("/sys/class/powercap")
"""Linux's counters of Intel's and AMD's processors
(https://docs.kernel.org/power/powercap/powercap.html). On most systems only root may read them."""


@dataclass(frozen=True)
class Counter:
    """A device's own counter of its energy."""

    read: Callable[[], float]
    """Joules since some time of the device's choice. Raises OSError when it cannot be read."""
    wraps_at: float = 0.0
    """Joules at which it starts again from 0; 0 for one that does not."""


@dataclass
class Meter:
    """Joules of some devices since the meter was made. A counter may wrap within a minute: read it more often.

    It measures all use of the devices, not only the engine's."""

    counters: Sequence[Counter]
    joules: float = 0.0
    _last: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self._last = [counter.read() for counter in self.counters]

    def read(self) -> float:
        """Joules up to now. Raises OSError when a counter can no longer be read."""
        for i, counter in enumerate(self.counters):
            now = counter.read()
            step = now - self._last[i]
            self.joules += step if step >= 0 else step + counter.wraps_at
            self._last[i] = now
        return self.joules


def meter(device: Mapping[str, Any] | None) -> Meter | None:
    """A meter of an engine's device, as its fingerprint names it: GPUs by NVML, a CPU's packages by RAPL. None where
    there are no counters, or this user may not read them, and for a server's device, which is not known."""
    if device is None:
        return None
    try:
        counters = _nvml(int(device["count"])) if device["kind"] == "cuda" else _rapl(_RAPL)
        return Meter(counters) if counters else None
    except (OSError, ValueError):
        return None


def _rapl(folder: Path) -> list[Counter]:
    """The counters of whole packages; zones within them (cores, memory) would be counted twice."""
    zones = sorted(zone for zone in folder.glob("intel-rapl:*") if zone.name.count(":") == 1)
    return [
        Counter(partial(_joules, zone / "energy_uj"), _joules(zone / "max_energy_range_uj")) for zone in zones
    ]


def _joules(file: Path) -> float:
    return int(file.read_text()) / 1e6


def _nvml(count: int) -> list[Counter]:
    """The counters of the first `count` GPUs that this process may use. NVML counts from the driver's start (Volta
    and later)."""
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(
            map(str, range(pynvml.nvmlDeviceGetCount()))
        )
        handles = [_handle(pynvml, name.strip()) for name in visible.split(",")[:count]]
        return [Counter(partial(_nvml_joules, pynvml, handle)) for handle in handles]
    except pynvml.NVMLError as error:
        raise OSError(str(error)) from error


def _handle(nvml: Any, name: str) -> Any:
    """A GPU by number or UUID, as CUDA_VISIBLE_DEVICES names it."""
    return (
        nvml.nvmlDeviceGetHandleByIndex(int(name)) if name.isdigit() else nvml.nvmlDeviceGetHandleByUUID(name)
    )


def _nvml_joules(nvml: Any, handle: Any) -> float:
    try:
        return float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000
    except nvml.NVMLError as error:
        raise OSError(str(error)) from error
