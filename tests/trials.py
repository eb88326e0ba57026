"""How often a checkpoint was attacked, and how often that harmed it: runs the suites and prints the numbers.

    python tests/trials.py            # what follows is given to pytest, as -n 0 on one core

Faults are injected into the commit one by one (deaths, torn writes, errors of the system, interrupts, kills); hostile
inputs are run through the command in a child process under limits, mutated files are opened by the library; edge cases
are whole transplants of tiny models.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

TESTS = Path(__file__).resolve().parent
SUITES = {
    "faults injected into a commit": [
        "test_commit_faults.py",
        "test_commit_resume.py",
        "test_commit_refusals.py",
    ],
    "hostile inputs": ["attacks", "test_checkpoint_abuse.py"],
    "edge cases (A1 to A26)": ["acceptance"],
    "damages that verify has to name": ["test_verification.py", "test_diagnosis.py", "test_auditing.py"],
    "properties, restoring": ["test_properties.py", "test_restoring.py"],
}


def main() -> None:
    rows: list[tuple[str, int, int]] = []
    for name, paths in SUITES.items():
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.xml"
            files = [str(TESTS / path) for path in paths]
            command = [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-o",
                "junit_family=xunit1",
                f"--junitxml={report}",
                *files,
                *sys.argv[1:],
            ]
            subprocess.run(command, stdout=sys.stderr, check=False)
            rows.append((name, *counted(report)))
    print("| | tried | lost, half-written or silently wrong |\n|---|---|---|")
    for name, tried, failed in rows:
        print(f"| {name} | {tried:,} | {failed} |")
    sys.exit(1 if any(failed for _, _, failed in rows) else 0)


def counted(report: Path) -> tuple[int, int]:
    """Return how much was tried and how many tests failed: a test that injects many faults says how many."""
    tried = failed = 0
    for case in ET.parse(report).iter("testcase"):
        faults = [int(p.get("value", 0)) for p in case.iter("property") if p.get("name") == "faults"]
        tried += sum(faults) or 1
        failed += any(case.iter("failure")) or any(case.iter("error"))
    return tried, failed


if __name__ == "__main__":
    main()
