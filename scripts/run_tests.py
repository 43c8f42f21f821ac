#!/usr/bin/env python3
"""Runs the tests of one build folder and one lane, and ends with a line "N passed, N failed".

usage: run_tests.py BUILD_DIR [LANE [SUITE ..]]

ctest runs one program a room; each leaves its cases in an XML file, which is what is counted. A
program that crashed or ran out of time leaves none and counts as one failure.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree


def count(build, reports):
    passed = failed = 0
    ctest = ElementTree.parse(build / "ctest.xml").getroot()
    for test in ctest.iter("testcase"):
        ok = test.get("status") == "run"
        report = reports / f"{test.get('name')}_test.xml"
        cases = list(ElementTree.parse(report).iter("testcase")) if report.exists() else []
        bad = sum(case.find("failure") is not None for case in cases)
        skipped = sum(case.get("result") == "skipped" or case.find("skipped") is not None for case in cases)
        passed += len(cases) - bad - skipped if cases else int(ok)
        failed += bad if cases else int(not ok)
        if cases and not ok and not bad:  # failed after its last case: a leak, a race, an abort at exit
            failed += 1
    return passed, failed


def main():
    build, lane, suites = pathlib.Path(sys.argv[1]).resolve(), (sys.argv[2:] or ["ci"])[0], sys.argv[3:]
    only = ["-R", f"^({'|'.join(suites)})$"] if suites else []
    reports = build / "test-reports"
    for folder in (reports, build / "test-scratch"):  # the second: what killed tests have left
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(exist_ok=True)
    (build / "ctest.xml").unlink(missing_ok=True)
    # The closing slash makes gtest name the file after the program.
    environment = dict(os.environ, GTEST_OUTPUT=f"xml:{reports}/")
    code = subprocess.run(
        ["ctest", "--test-dir", build, "-L", f"^{lane}$", *only, "--output-on-failure", "--output-junit", build / "ctest.xml"],
        env=environment).returncode
    if not (build / "ctest.xml").exists():
        return code or 1
    passed, failed = count(build, reports)
    print(f"{passed} passed, {failed} failed", flush=True)
    return int(code != 0 or failed > 0 or passed == 0)


if __name__ == "__main__":
    sys.exit(main())
