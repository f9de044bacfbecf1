"""How much memory there is for more: of the machine, within control groups (containers, SLURM) and `ulimit -v`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator

# files of a control group: limit, use, the line of memory.stat with the part that is given back on demand
_UNIFIED = ("memory.max", "memory.current", "inactive_file")
_FIRST_VERSION = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def available_memory(root: str = "/") -> int | None:
    """Return the bytes that can be taken without swapping or being killed; None where the system does not say.

    Parameters
    ----------
    root
        Folder that holds `proc` and `sys`.
    """
    system = Path(root)
    found = [*_of_machine(system), *_within_groups(system), *_within_limit_of_process(system)]
    return max(min(found), 0) if found else None


def _of_machine(system: Path) -> Iterator[int]:
    fields = _table(system / "proc/meminfo")
    if "MemAvailable:" in fields:
        yield 1024 * fields["MemAvailable:"]
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:  # macOS: all that there is
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _within_groups(system: Path) -> Iterator[int]:
    """Yield what is left in the control group of this process and in those above it."""
    for line in _text(system / "proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            top, names = system / "sys/fs/cgroup", _UNIFIED
        elif "memory" in controllers.split(","):
            top, names = system / "sys/fs/cgroup/memory", _FIRST_VERSION
        else:
            continue
        group = top / path.lstrip("/")
        # a container sees its own group as the top, under a path that it cannot see
        for folder in (group, *group.parents):
            limit, used = (_text(folder / name).strip() for name in names[:2])
            if limit.isdigit() and used.isdigit():
                yield int(limit) - int(used) + _table(folder / "memory.stat").get(names[2], 0)
            if folder == top:
                break


def _within_limit_of_process(system: Path) -> Iterator[int]:
    pages = _text(system / "proc/self/statm").split()
    if resource is None or not pages:
        return
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        yield limit - int(pages[0]) * resource.getpagesize()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _table(path: Path) -> dict[str, int]:
    """Return the numbers of a file with lines of names and numbers."""
    lines = (line.split() for line in _text(path).splitlines())
    return {line[0]: int(line[1]) for line in lines if len(line) > 1 and line[1].isdigit()}
