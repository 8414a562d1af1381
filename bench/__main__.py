"""All benchmarks, one table: `python -m bench [--quick]`, which `make bench` calls. Takes about 14 minutes, quick 3."""

import sys

from bench import (
    disk,
    drain,
    end_to_end,
    flat_out,
    meeting,
    meeting_relay,
    modbus,
    modbus_line,
    mqtt,
    start,
    thingsboard,
    tui,
)
from bench.command import main

BENCHMARKS = (
    end_to_end.benchmark,
    flat_out.benchmark,
    drain.benchmark,
    mqtt.benchmark,
    disk.benchmark,
    start.benchmark,
    modbus.benchmark,
    modbus_line.benchmark,
    tui.benchmark,
    thingsboard.benchmark,
    meeting.benchmark,
    meeting_relay.benchmark,
)

if __name__ == "__main__":
    sys.exit(main(BENCHMARKS, __doc__))
