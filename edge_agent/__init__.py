"""The program of a ward's box: configuration, data path, journal, sinks, status and the commands.

Begin with `config.py` (what a box is told), then follow `pipeline.py`: drivers -> checks -> journal -> sinks.
"""

__version__ = "0.1.0"
