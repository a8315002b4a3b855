#!/usr/bin/env python3
"""Breaks the library in known ways, one at a time, and shows that a test fails for each.

Reads mutants.toml beside it: a mutant is an exact text in a file, what stands there instead, and the
test that must fail. The source is copied to a scratch tree first and built there, so that the one
at hand stays as it is; of a mutant only what depends on its file is built again. Exit code 1 when a
mutant survives or breaks the build, 2 when the list or the tests are wrong before anything is broken.

    tests/mutants/run.py                    # all of them
    tests/mutants/run.py --only 'qar|mocq'  # those whose name matches
    tests/mutants/run.py --check            # whether every text stands once in its file; builds nothing
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEST_SECONDS = 300  # a mutant may loop for ever


def fail(text):
    print(f"mutants: error: {text}", file=sys.stderr)
    sys.exit(2)


class Mutant:
    def __init__(self, entry):
        unknown = set(entry) - {"name", "file", "find", "with", "test", "programs"}
        missing = {"name", "file", "find", "with", "test"} - set(entry)
        if unknown or missing:
            fail(f"'{entry.get('name', '?')}': unknown {sorted(unknown)}, missing {sorted(missing)}")
        self.name, self.file = entry["name"], entry["file"]
        self.find, self.instead = entry["find"], entry["with"]
        # "test_quant Suite.Test": the program and the filter of its tests
        self.program, self.filter = entry["test"].split(" ", 1)
        self.programs = entry.get("programs", [])  # that the test runs
        self.targets = [self.program, *("app_" + p for p in self.programs)]

    def problem(self):
        path = ROOT / self.file
        if not path.is_file():
            return f"'{self.name}': {self.file} is not there"
        found = path.read_text().count(self.find)
        return None if found == 1 else f"'{self.name}': expected its text once in {self.file}, found it {found} times"


def load(only):
    with open(Path(__file__).with_name("mutants.toml"), "rb") as file:
        mutants = [Mutant(entry) for entry in tomllib.load(file)["mutant"]]
    names = [m.name for m in mutants]
    problems = [f"'{n}' is there twice" for n in sorted(set(names)) if names.count(n) > 1]
    problems += [p for p in (m.problem() for m in mutants) if p]
    if problems:
        fail("\n  ".join(problems))
    chosen = [m for m in mutants if re.search(only, m.name)]
    if not chosen:
        fail(f"no name matches '{only}'")
    return sorted(chosen, key=lambda m: m.file)  # what they build again is the same


def copy_tree(tree):
    """Brings the scratch tree to the state of the source; what is the same keeps its time."""
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            check=True, capture_output=True).stdout.decode().split("\0")
    wanted = {name for name in listed if name and (ROOT / name).is_file()}
    for name in wanted:
        to, content = tree / name, (ROOT / name).read_bytes()
        if not to.is_file() or to.read_bytes() != content:
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, to)
    for folder, folders, files in os.walk(tree):
        if Path(folder) == tree and "build" in folders:
            folders.remove("build")
        for name in files:
            path = Path(folder) / name
            if str(path.relative_to(tree)) not in wanted:
                path.unlink()


class Tree:
    def __init__(self, folder, jobs):
        self.folder, self.jobs = folder, jobs
        self.build_folder = folder / "build" / "release"

    def build(self, targets):
        done = subprocess.run(["ninja", "-C", self.build_folder, f"-j{self.jobs}", *targets],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.returncode == 0, done.stdout

    def run(self, program, filter):
        """Whether the tests pass, and the names of those that fail, or what else happened."""
        environment = dict(os.environ, OMP_WAIT_POLICY="passive")
        try:
            done = subprocess.run([self.build_folder / "bin" / program, f"--gtest_filter={filter}"], env=environment,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TEST_SECONDS)
        except subprocess.TimeoutExpired:
            return False, f"no end after {TEST_SECONDS} s"
        text = done.stdout.decode(errors="replace")
        failed = sorted(set(re.findall(r"^\[  FAILED  \] ([^\s,]+)", text, re.M)) - {""})
        failed = [name for name in failed if not name.isdigit()]
        if done.returncode != 0:
            return False, ", ".join(failed) or f"ended with {done.returncode}"
        return True, text

    def require_passing(self, mutants):
        """Every filter names a test, and all pass as long as nothing is broken."""
        for program in sorted({m.program for m in mutants}):
            for filter in sorted({m.filter for m in mutants if m.program == program}):
                passed, text = self.run(program, filter)
                if not passed:
                    fail(f"{program} {filter} fails without a mutant: {text}")
                if not re.search(r"^\[  PASSED  \] [1-9]", text, re.M):
                    fail(f"{program} {filter} names no test that runs")

    def kill(self, mutant):
        """(how it ended, by what)"""
        path = self.folder / mutant.file
        text = path.read_text()
        path.write_text(text.replace(mutant.find, mutant.instead))
        try:
            built, output = self.build(mutant.targets)
            if not built:
                return "DOES NOT BUILD", output[-2000:]
            passed, by = self.run(mutant.program, mutant.filter)
            return ("SURVIVED", mutant.filter) if passed else ("killed", by)
        finally:
            path.write_text(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="regular expression of names")
    parser.add_argument("--check", action="store_true", help="only look whether every text stands once in its file")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "mutants", help="folder of the scratch tree")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="of the build")
    args = parser.parse_args()
    mutants = load(args.only)
    if args.check:
        print(f"{len(mutants)} mutants, each of a text that stands once in its file")
        return 0
    copy_tree(args.work)
    tree = Tree(args.work, args.jobs)
    subprocess.run(["cmake", "--preset", "release", "--log-level=WARNING", "-DTESSERA_BUILD_BENCH=OFF"],
                   cwd=args.work, check=True, stdout=subprocess.DEVNULL)
    print("building what is not broken", flush=True)
    built, output = tree.build(sorted({t for m in mutants for t in m.targets}))
    if not built:
        fail(output[-2000:])
    tree.require_passing(mutants)
    alive = 0
    for i, mutant in enumerate(mutants, 1):
        start = time.monotonic()
        end, by = tree.kill(mutant)
        alive += end != "killed"
        print(f"[{i}/{len(mutants)}] {end:9} {mutant.name}: {by} ({time.monotonic() - start:.0f} s)", flush=True)
    print(f"{len(mutants) - alive} of {len(mutants)} mutants killed")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
