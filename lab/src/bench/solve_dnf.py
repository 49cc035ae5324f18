"""How long dnf takes to solve: REPOSITORY REQUIREMENT...; prints times in milliseconds as JSON."""

import json
import statistics
import sys
import tempfile
import time

import dnf

repository, requirements = sys.argv[1], sys.argv[2:]
with tempfile.TemporaryDirectory() as directory:
    base = dnf.Base()
    base.conf.installroot = directory
    base.conf.cachedir = directory + "/cache"
    base.conf.persistdir = directory + "/persist"
    base.conf.install_weak_deps = False
    base.conf.substitutions["releasever"] = "1"
    base.repos.add_new_repo("bench", base.conf, baseurl=["file://" + repository])
    begin = time.monotonic()
    base.fill_sack(load_system_repo=False)
    load = time.monotonic() - begin
    times = []
    for _ in range(11):
        base.reset(goal=True)
        for requirement in requirements:
            base.install(requirement)
        begin = time.monotonic()
        base.resolve()
        times.append(time.monotonic() - begin)
    answer = {
        "packages": len(base.sack),
        "chosen": len(base.transaction.install_set),
        "load_ms": load * 1000,
        "solve_ms": statistics.median(times) * 1000,
    }
    base.close()
print(json.dumps(answer))
