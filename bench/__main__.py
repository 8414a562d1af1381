"""All benchmarks, one table: `python -m bench [--quick]`, which `make bench` calls. Takes about 10 minutes, quick 2."""

import sys

from bench import disk, drain, end_to_end, flat_out, modbus, mqtt, start, thingsboard
from bench.command import main

BENCHMARKS = (
    end_to_end.benchmark,
    flat_out.benchmark,
    drain.benchmark,
    mqtt.benchmark,
    disk.benchmark,
    start.benchmark,
    modbus.benchmark,
    thingsboard.benchmark,
)

if __name__ == "__main__":
    sys.exit(main(BENCHMARKS, __doc__))
