from __future__ import annotations

import os

import pytest

from scggml.core.measures import _memory as module
from scggml.core.measures._memory import available_memory

GB = 2**30


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Write files of a system; `available_memory` of it, without limits of this process."""
    monkeypatch.setattr(module.resource, "getrlimit", lambda _: (module.resource.RLIM_INFINITY,) * 2)

    def write(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return available_memory(str(tmp_path))

    return write


MACHINE = {"proc/meminfo": f"MemTotal: {32 * 2**20} kB\nMemFree: 1 kB\nMemAvailable:  {20 * 2**20} kB\n"}


def test_of_the_machine(system):
    assert system(MACHINE) == 20 * GB


def test_where_the_system_does_not_say(system, monkeypatch):
    monkeypatch.setattr(os, "sysconf_names", {})
    assert system({}) is None


def test_physical_memory_where_nothing_else_is_known(system):
    assert system({}) == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_a_control_group_of_a_container(system):
    group = {
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/memory.max": f"{4 * GB}\n",
        "sys/fs/cgroup/memory.current": f"{3 * GB}\n",
        # of what is used, a gigabyte are files that can be read again
        "sys/fs/cgroup/memory.stat": f"anon 1\nactive_file 5\ninactive_file {GB}\n",
    }
    assert system(MACHINE | group) == 2 * GB


def test_the_narrowest_of_nested_groups_counts(system):
    job = "sys/fs/cgroup/slurm/job_7"
    groups = {
        "proc/self/cgroup": "0::/slurm/job_7/step_0\n",
        f"{job}/step_0/memory.max": "max\n",
        f"{job}/step_0/memory.current": "5\n",
        f"{job}/memory.max": f"{8 * GB}\n",
        f"{job}/memory.current": f"{GB}\n",
        "sys/fs/cgroup/slurm/memory.max": f"{16 * GB}\n",
        "sys/fs/cgroup/slurm/memory.current": f"{2 * GB}\n",
    }
    assert system(MACHINE | groups) == 7 * GB


def test_control_groups_of_the_first_version(system):
    top = "sys/fs/cgroup/memory"
    groups = {
        "proc/self/cgroup": "9:name=systemd:/x\n5:cpu,cpuacct:/y\n4:memory:/docker/abc\n0::/\n",
        # the container cannot see the path, and has its group at the top
        f"{top}/memory.limit_in_bytes": f"{3 * GB}\n",
        f"{top}/memory.usage_in_bytes": f"{GB}\n",
        f"{top}/memory.stat": f"inactive_file 7\ntotal_inactive_file {GB // 2}\n",
    }
    assert system(MACHINE | groups) == 2.5 * GB


def test_nothing_is_left(system):
    group = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "5\n", "sys/fs/cgroup/memory.current": "9\n"}
    assert system(MACHINE | group) == 0


def test_limit_of_the_process(system, monkeypatch):
    monkeypatch.setattr(module.resource, "getrlimit", lambda _: (GB, GB))
    page = module.resource.getpagesize()
    assert system(MACHINE | {"proc/self/statm": f"{GB // 4 // page} 5 5\n"}) == GB - GB // 4
