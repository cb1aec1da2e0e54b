"""Look for published advisories on what images are made of: `make audit`, and in `make check`.

Runs pip-audit on the lock files with hashes. Where PyPI's advisories cannot be reached it says so in one line and is
content: a machine without a network can still check its change.
"""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOL = "pip-audit==2.10.1"
INDEX = os.environ.get("RACKSERVE_ADVISORIES", "https://pypi.org/pypi")
"""Where the advisories are; another place is for tests."""
TIMEOUT_S = 5.0


def why_unreachable(locks: list[Path]) -> str:
    """Return why advisories on the first locked package cannot be read, in words; "": they can."""
    name, _, version = locks[0].read_text().splitlines()[1].split()[0].partition("==")
    try:
        with urllib.request.urlopen(f"{INDEX}/{name}/{version}/json", timeout=TIMEOUT_S) as answer:
            found = json.load(answer)
    except (OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return "" if "vulnerabilities" in found else "the index there tells of none"


def verdict(report: dict[str, list[dict[str, object]]]) -> tuple[list[str], int, int]:
    """Return a line for each advisory, and how many packages were looked at and how many were not.

    Args:
        report: what pip-audit says as JSON.
    """
    advisories, seen, skipped = [], 0, 0
    for package in report["dependencies"]:
        if "skip_reason" in package:
            skipped += 1
            continue
        seen += 1
        for found in package["vulns"]:
            fixed = ", ".join(found["fix_versions"]) or "no version"
            advisories.append(f"{package['name']} {package['version']}: {found['id']}, fixed in {fixed}")
    return advisories, seen, skipped


def main() -> int:
    """Print what was found; return the exit code: 1 if there is an advisory or pip-audit itself failed."""
    locks = sorted((ROOT / ".setup" / "hashes").glob("*.txt"))
    reason = why_unreachable(locks)
    if reason:
        print(f"pip-audit: skipped, as no advisories can be read at {INDEX} ({reason})")
        return 0
    code = 0
    for lock in locks:
        command = [sys.executable, "-m", "uv", "tool", "run", "--quiet", "--from", TOOL, "pip-audit"]
        command += ["-r", str(lock), "--require-hashes", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        try:
            advisories, seen, skipped = verdict(json.loads(done.stdout))
        except ValueError:
            print(f"pip-audit of {lock.name} failed: {done.stderr.strip()}")
            code = 1
            continue
        told = f"pip-audit of {lock.name}: {seen} packages, {len(advisories)} advisories, {skipped} not known there"
        print(*advisories, told, sep="\n")
        code = code or bool(advisories)
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
