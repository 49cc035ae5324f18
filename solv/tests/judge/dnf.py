# What dnf would install into an empty root, for many lists of requirements: a question as JSON on
# stdin, the answers as JSON on stdout. The steps are those of `dnf builddep`, which mock calls.
import json
import os
import sys

import dnf
import dnf.goal
import dnf.selector

question = json.load(sys.stdin)
root = question["root"]
modules = os.path.join(root, "etc/dnf/modules.d")
os.makedirs(modules)
for name, (stream, state) in question["modules"].items():
    with open(os.path.join(modules, name + ".module"), "w") as file:
        file.write(f"[{name}]\nname={name}\nstream={stream}\nprofiles=\nstate={state}\n")

base = dnf.Base()
conf = base.conf
conf.installroot = root
conf.cachedir = os.path.join(root, "cache")
conf.persistdir = os.path.join(root, "persist")
conf.reposdir = [os.path.join(root, "etc/yum.repos.d")]
conf.pluginpath = []
conf.gpgcheck = False
conf.install_weak_deps = False
conf.best = False
conf.module_platform_id = question["platform"]
conf.substitutions["releasever"] = "1"
# In files, as people have them: set by the API, lists of one repository count for others too.
os.makedirs(conf.reposdir[0])
for repo in question["repositories"]:
    options = {
        "name": repo["id"], "baseurl": "file://" + repo["path"], "priority": repo["priority"],
        "cost": repo["cost"], "excludepkgs": " ".join(repo["excludes"]),
        "includepkgs": " ".join(repo["includes"]), "module_hotfixes": int(repo["module_hotfixes"]),
    }
    with open(os.path.join(conf.reposdir[0], repo["id"] + ".repo"), "w") as file:
        file.write(f"[{repo['id']}]\n")
        file.writelines(f"{name}={value}\n" for name, value in options.items() if value != "")
base.read_all_repos()
base.fill_sack(load_system_repo=False)


def picks(requirements):
    goal = dnf.goal.Goal(base.sack)
    for requirement in requirements:
        selector = dnf.selector.Selector(base.sack)
        selector.set(provides=requirement)
        found = selector.matches()
        if not found and requirement.startswith("/"):
            selector = dnf.selector.Selector(base.sack)
            selector.set(file=requirement)
            found = selector.matches()
        if not found and not requirement.startswith("("):
            return None
        goal.install(select=selector, optional=False)
    if not goal.run(ignore_weak_deps=True):
        return None
    return sorted(f"{p.name}-{p.evr}.{p.arch}" for p in goal.list_installs())


json.dump([picks(request) for request in question["requests"]], sys.stdout)
