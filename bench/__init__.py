"""Speed and size: each benchmark is a command that prints a table, `python -m bench` all of them in one.

The agent runs alone on the last core, servers and simulated devices on the others; everything is on loopback, in a
temporary folder, on free ports. A figure is the median of runs that take turns, so that a busy moment of the machine
does not hit one kind of run only. How to read the table: `docs/performance.md`.
"""
