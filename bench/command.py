"""The command line of a benchmark: `python -m bench.NAME [--quick]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from bench import machine
from bench.table import Result, render

Benchmark = Callable[[bool], list[Result]]
"""Takes `quick` and measures. Quick: fewer and shorter runs, to see that it works; its figures are rough."""


def main(benchmarks: Sequence[Benchmark], about: str | None) -> int:
    """Run them one after the other and print one table; 1 when a budget is missed."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs; the figures are rough")
    quick = parser.parse_args().quick
    head = machine.describe()
    machine.stay_aside()
    results: list[Result] = []
    for i, benchmark in enumerate(benchmarks, 1):
        print(f"[{i}/{len(benchmarks)}] {benchmark.__module__}", file=sys.stderr, flush=True)
        results += benchmark(quick)
    print(head, render(results), sep="\n\n")
    return 1 if any(result.verdict == "MISSED" for result in results) else 0
