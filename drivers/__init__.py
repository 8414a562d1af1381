"""Turns the field into readings: Modbus buses, MQTT brokers and the box itself.

Begin with `reading.py` (what comes out), then `driver.py` (what a driver is), then the path
`modbus.py` -> `register.py` or `mqtt.py` -> `decoders/`. A Modbus model is a YAML file in `devices/`, no Python.
"""
