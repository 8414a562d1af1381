"""A simulated ward in a process of its own: Modbus slaves and MQTT devices, faults, and a ledger of what they gave.

Begin with `ward.py` (the command), then `unit.py` (a Modbus device made from its profile) and `slave.py` (the wires it
answers on), or `publisher.py` (MQTT). `ledger.py` is what was generated; `compare.py` holds it against a database;
`process.py` starts the command from another program.
"""
