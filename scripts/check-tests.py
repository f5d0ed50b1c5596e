#!/usr/bin/env python3
"""Is every test named in docs/requirements.md and in the README's RFC table there, and run?

    check-tests.py [LIST]        LIST: what `cargo nextest list --workspace -T oneline` printed; without it, files alone are read

A name is `path/file.rs::test`, `path/file.rs` (has a test), `folder/` (has a file with one; a client's folder has any file), `sipp-tests SUBCOMMAND`,
`sipp-tests/scenarios/NAME` (NAME may end in *), or in the README a bare file name in the folder of the name before it."""
import glob
import os
import re
import sys

os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
ALIASES = {"sim/": "intercom/tests/simulation/", "sip/": "sip-proxy/"}
TEST = re.compile(r"#\[test\]((?:\s*#\[[^\]]*\])*)\s*(?:async )?fn ([a-z0-9_]+)\(|^\s*fn ([a-z0-9_]+)\([a-z_]+ in ", re.M)
faults, listed = [], None
if len(sys.argv) > 1:
    listed = {line.split()[-1].split("::")[-1] for line in open(sys.argv[1]) if " " in line.strip()}


def tests(path):
    """Names of the tests in a file, ignored ones left out; a macro's or a simulation's file may have none of its own."""
    text = open(path, encoding="utf-8").read()
    found = [b or c for a, b, c in TEST.findall(text) if "ignore" not in a]
    # One test a word, as fuzz/targets/tests/smoke.rs has them.
    for macro in re.findall(r"\$\(#\[test\] *\n?\s*fn \$name.*?\n\}\n(.*)", text, re.S):
        found += re.findall(r"^    ([a-z0-9_ ]+)$", macro, re.M)[:1]
    return found


def subcommand(name):
    text = open("sipp-tests/src/main.rs", encoding="utf-8").read()
    body = text[text.index("enum Command"):text.index("\n}\n", text.index("enum Command"))]
    return name in [variant.lower() for variant in re.findall(r"^    ([A-Z][A-Za-z]*)", body, re.M)]


def check(name, where, base=""):
    """Returns the folder that the next bare name may be in."""
    for short, long in ALIASES.items():
        if name.startswith(short):
            name = long + name[len(short):]
    if name.startswith("sipp-tests ") or name.startswith("scenario "):
        word = name.split()[1]
        if not (subcommand(word) if name.startswith("sipp-tests") else os.path.isfile(f"sipp-tests/scenarios/{word}/scenario.toml")):
            faults.append(f"{where}: no {name}")
        return base
    path, _, test = name.partition("::")
    candidates = [path, os.path.join(base, path), os.path.join(base.split("/")[0], path)]
    found = [hit for candidate in candidates for hit in sorted(glob.glob(candidate))]
    if not found:
        faults.append(f"{where}: no {name}")
        return base
    path = found[0]
    if "sipp-tests/scenarios" in path:
        folders = found if not path.rstrip("/").endswith("scenarios") else glob.glob("sipp-tests/scenarios/*")
        if not any(os.path.isfile(os.path.join(folder, "scenario.toml")) for folder in folders):
            faults.append(f"{where}: no scenario in {name}")
        return os.path.dirname(path.rstrip("/"))
    if os.path.isdir(path):
        files = glob.glob(os.path.join(path, "**/*"), recursive=True)
        if not any(file.startswith("sipp-tests/clients/") and os.path.isfile(file) or file.endswith(".rs") and tests(file) for file in files):
            faults.append(f"{where}: no test in {name}")
        return path.rstrip("/")
    names = tests(path)
    driver = path.startswith("sipp-tests/src/") or path.startswith("sipp-tests/clients/")
    if not names and not driver:
        faults.append(f"{where}: {path} has no test")
    if test and test not in names:
        faults.append(f"{where}: {path} has no test {test}, or ignores it")
    if listed is not None and not driver:
        for one in ([test] if test else names[:1]):
            if one not in listed:
                faults.append(f"{where}: {path}::{one} is not run")
    return os.path.dirname(path)


def rows(text):
    """The last cell of each row of a table."""
    for line in text.splitlines():
        if line.startswith("|") and not line.startswith("|---"):
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if len(cells) >= 2 and cells[-1] != "tests":
                yield cells


count = 0
for requirement, *_, cell in rows(open("docs/requirements.md", encoding="utf-8").read()):
    names = [("scenario " if scenario else "") + name for scenario, name in re.findall(r"(scenario )?`([^`]+)`", cell)]
    if not names:
        faults.append(f"docs/requirements.md: {requirement}: no test")
    for name in names:
        check(name, "docs/requirements.md")
        count += 1
readme = open("README.md", encoding="utf-8").read()
table = readme[readme.index("## Standards and where they are tested"):]
table = table[:table.index("\n## ", 5)]
for standard, *_, cell in rows(table):
    base = ""
    names = re.findall(r"`([^`]+)`", cell)
    if not names:
        faults.append(f"README.md: {standard}: no test")
    for name in names:
        if name.endswith("snapshots/") or name in ("sipp-tests list",):
            continue
        base = check(name, "README.md", base)
        count += 1
for fault in faults:
    print(f"tests: {fault}", file=sys.stderr)
if not faults:
    print(f"tests: all {count} names in docs/requirements.md and README.md are there" + ("" if listed is None else " and run"))
sys.exit(1 if faults else 0)
