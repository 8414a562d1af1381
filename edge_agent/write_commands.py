"""`edge modbus write`: a device's setting, or its address, confirmed by typing and read back.

What may be written is said by the device's profile; without a setting the command lists it. Whoever writes holds the
maintenance lock meanwhile, and the agent keeps an audit line.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from typing import Any
from urllib.parse import urlencode

import msgspec

from drivers.frames import Outcome
from drivers.scan import Progress
from drivers.settings import Bus
from drivers.writing import Written
from edge_agent.bench_ask import Bar, bus_of, follow_bench, unit_of, wait_of
from edge_agent.bench_events import Stopped
from edge_agent.bench_show import failure
from edge_agent.commands import Wrong, asked, loaded, print_json
from edge_agent.config import Config
from edge_agent.config_commands import maintaining
from edge_agent.show import painted, table
from edge_agent.text import Text
from edge_agent.write_events import Writable, WriteAsk


def write(arguments: argparse.Namespace) -> int:
    """`edge modbus write BUS UNIT [SETTING VALUE | --device-address N]`: 0 read back as wanted, 1 not."""
    config, text = loaded(arguments)
    bus = bus_of(config, arguments.bus, text)
    unit_of(bus, arguments.unit, text)
    wait_of(arguments.wait, text)
    if arguments.device_address is not None:
        unit_of(bus, arguments.device_address, text)
    query = urlencode({"bus": bus.id, "unit": arguments.unit, "profile": arguments.profile or ""})
    writable: list[Writable] = asked(config, text, f"/modbus/writable?{query}", list[Writable])
    if arguments.device_address is not None:
        ask = WriteAsk(bus.id, arguments.unit, address=arguments.device_address)
        _confirmed(arguments, (str(ask.address),), ask, text)
        return _write(arguments, config, text, bus, _with(arguments, ask, text))
    if arguments.setting is None:
        return _list(arguments, writable, text)
    setting = _setting(writable, arguments.setting, text)
    if arguments.value is None:
        raise Wrong(text("modbus.write.no_value", setting=setting.key, allowed=_allowed(setting) or "–"))
    if setting.role == "address":
        raise Wrong(text("modbus.write.guarded", key=setting.key, unit=arguments.unit))
    ask = WriteAsk(bus.id, arguments.unit, setting.key, _value(setting, arguments.value, text))
    name = setting.choices.get(int(ask.value)) if ask.value.is_integer() else None
    _confirmed(arguments, (name, f"{ask.value:g}") if name else (f"{ask.value:g}",), ask, text)
    return _write(arguments, config, text, bus, _with(arguments, ask, text))


def _with(arguments: argparse.Namespace, ask: WriteAsk, text: Text) -> WriteAsk:
    return msgspec.structs.replace(ask, profile=arguments.profile or "", wait=wait_of(arguments.wait, text))


def _list(arguments: argparse.Namespace, writable: list[Writable], text: Text) -> int:
    """What may be written."""
    if arguments.json:
        print_json(writable)
    elif not writable:
        print(text("modbus.write.nothing", unit=arguments.unit))
    else:
        head = [text(f"modbus.write.{name}") for name in ("setting", "address", "allowed", "what")]
        rows = [[each.key, str(each.addr), _allowed(each), each.what] for each in writable]
        print(table(head, rows, right=(1,)))
    return 0


def _allowed(each: Writable) -> str:
    if each.choices:
        return " ".join(f"{raw}={name}" for raw, name in each.choices.items())
    span = f"{each.range[0]:g}..{each.range[1]:g}" if each.range else ""
    return f"{span} {each.unit if each.unit != '1' else ''}".strip()


def _setting(writable: list[Writable], name: str, text: Text) -> Writable:
    for each in writable:
        if name in (each.key, str(each.addr)):
            return each
    names = ", ".join(f"{each.addr} ({each.key})" for each in writable) or "–"
    raise Wrong(text("modbus.write.not_writable", name=name, names=names))


def _value(setting: Writable, word: str, text: Text) -> float:
    """A number, or the meaning of one of the choices."""
    for raw, name in setting.choices.items():
        if word == name:
            return float(raw)
    try:
        return float(word.replace(",", "."))
    except ValueError:
        raise Wrong(text("modbus.write.not_a_number", value=word)) from None


def _write(arguments: argparse.Namespace, config: Config, text: Text, bus: Bus, ask: WriteAsk) -> int:
    with maintaining(arguments, config, text) as token:
        how: dict[str, Any] = {"method": "POST", "body": msgspec.json.encode(ask), "token": token}
        if ask.address is None:
            written: Written = asked(config, text, "/modbus/write", Written, timeout=60.0, **how)
        else:
            written = _readdressed(config, text, bus, how)
    print_json(written) if arguments.json else print("\n".join(_told(written, ask, text)))
    return 0 if written.done else 1


def _confirmed(arguments: argparse.Namespace, words: tuple[str, ...], ask: WriteAsk, text: Text) -> None:
    """The person types one of `words`, the first is shown. Raises Wrong where it is another."""
    what = "confirm_address" if ask.address is not None else "confirm"
    question = text(f"modbus.write.{what}", bus=ask.bus, unit=ask.unit, setting=ask.setting, value=words[0])
    typed = arguments.confirm
    if typed is None and sys.stdin.isatty():
        typed = input(question + " ")
    if typed is None:
        raise Wrong(text("modbus.write.unconfirmed", value=words[0]))
    if typed.strip() not in words:
        raise Wrong(text("modbus.write.mistyped"))


def _readdressed(config: Config, text: Text, bus: Bus, how: dict[str, Any]) -> Written:
    bar = Bar()
    kinds = Progress | Written | Stopped
    with bar, closing(follow_bench(config, text, "write", {"bus": bus.id}, kinds, **how)) as events:
        for event in events:
            if isinstance(event, Written):
                return event
            if isinstance(event, Progress):
                bar.show(event.done, event.total, text("modbus.write.looking", unit=event.unit))
    raise Wrong(text("modbus.write.no_end"))


def _told(written: Written, ask: WriteAsk, text: Text) -> list[str]:
    """What became of it, and what is left to do."""
    facts = {"setting": written.key, "unit": written.answers_at or written.unit, "wanted": f"{written.wanted:g}"}
    facts |= {"before": _number(written.before), "after": _number(written.after)}
    lines = [f"TX  {written.sent}", f"RX  {written.heard or '–'}"]
    if written.done:
        lines.append(painted(text("modbus.write.done", **facts), "good"))
        if ask.address is not None:
            lines.append(text("modbus.write.now_configure", old=written.unit, new=ask.address))
        return lines
    if written.outcome == Outcome.exception.value:
        return [*lines, painted(text("modbus.write.refused", code=written.code, **facts), "bad")]
    lines.append(painted(text("modbus.write.not_done", **facts), "bad"))
    return lines if written.outcome == Outcome.ok.value else [*lines, failure(written.outcome, written.code, text)]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"
