"""The page's files: texts in both languages, size, and that nothing points outside the box."""

import json
import re
import shutil
import subprocess
import unicodedata
from pathlib import Path

import pytest

from conference import messages
from conference.server import WEB

TEXTS = {name: json.loads((WEB / "text" / f"{name}.json").read_text()) for name in ("vi", "en")}
SOURCES = {path.name: path.read_text() for path in [*WEB.glob("*.js"), *WEB.glob("*.html"), *WEB.glob("*.css")]}


def test_texts_have_the_same_ids_and_placeholders() -> None:
    """Every sentence is there in both languages with the same blanks, and none is left untranslated."""
    assert list(TEXTS["vi"]) == list(TEXTS["en"])
    for id, text in TEXTS["vi"].items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", TEXTS["en"][id])), id
        assert text != TEXTS["en"][id] or id in {"meet.camera", "check.camera"}, id
        assert text == unicodedata.normalize("NFC", text)


def test_every_text_is_used_and_every_use_has_a_text() -> None:
    """Ids in the scripts are in the files; ids in the files are in the scripts or made from a known prefix."""
    code = "\n".join(SOURCES.values())
    used = set(re.findall(r'"((?:app|home|check|device|meet|role|lost|end|refused)\.\w+)"', code))
    assert used <= set(TEXTS["vi"])
    made = ("refused.", "role.", "device.no_", "device.busy_", "device.aborted_", "device.unfit_", "check.", "meet.")
    assert [id for id in TEXTS["vi"] if id not in used and not id.startswith(made)] == []


def test_every_refusal_has_a_sentence() -> None:
    """Each reason that the box can give is explained."""
    sources = "\n".join(path.read_text() for path in Path(messages.__file__).parent.glob("*.py"))
    reasons = set(re.findall(r'(?:Refused|Refusal|put_out\(room, member,|drop)\(?\s*"(\w+)"', sources)) - {
        "not_allowed"
    }
    assert {"expired", "full", "revoked", "taken_over", "too_many"} <= reasons
    assert {f"refused.{reason}" for reason in reasons} <= set(TEXTS["vi"])


def test_reduced_motion() -> None:
    """Nothing moves by itself for those who asked for that: what moves stands below the question for it."""
    asked = re.compile(r"@media \(prefers-reduced-motion: no-preference\) \{(?:[^{}]|\{[^{}]*\})*\}")
    assert asked.search(SOURCES["style.css"])
    moving = r"\b(?:transition|animation|scroll-behavior)\s*:|@keyframes|\.animate\(|\bsmooth\b"
    for name, text in SOURCES.items():
        assert not re.findall(moving, asked.sub("", text)), name


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed (apt-get install nodejs)")
def test_chime_of_the_device_check(tmp_path: Path) -> None:
    """Two notes, the second later and higher, out of the speaker that was chosen; the check plays it on a press."""
    script = tmp_path / "chime.mjs"
    script.write_text(
        SPEAKER + SOURCES["devices.js"] + 'await chime("usb");\nconsole.log(JSON.stringify(heard));\nprocess.exit();\n'
    )
    told = subprocess.run(["node", script], capture_output=True, text=True, timeout=30, check=True).stdout
    assert json.loads(told) == ["to usb", "660 Hz at 0 until 0.7", "880 Hz at 0.35 until 1.05"]
    assert re.search(r"play\.onclick = async \(\) => \{\s+await chime\(localStorage", SOURCES["check.js"])


SPEAKER = """const heard = [];
globalThis.AudioContext = class {
  currentTime = 0;
  async setSinkId(id) { heard.push(`to ${id}`); }
  close() {}
};
const knob = { setValueAtTime() {}, exponentialRampToValueAtTime() {} };
globalThis.GainNode = class { gain = knob; connect(next) { return next; } };
globalThis.OscillatorNode = class {
  constructor(_context, { frequency }) { this.frequency = frequency; }
  connect(next) { return next; }
  start(at) { this.at = at; }
  stop(at) { heard.push(`${this.frequency} Hz at ${this.at} until ${at.toFixed(2).replace(/0$/, "")}`); }
};
"""
"""What Web Audio would be asked to play."""
PLAYED = """
await chime("usb");
console.log(JSON.stringify(heard));
process.exit();
"""


def test_page_is_small_and_stays_at_home() -> None:
    """At most 200 kB in all, and no address of another host."""
    assert sum(path.stat().st_size for path in WEB.rglob("*") if path.is_file()) <= 200_000
    for name, text in SOURCES.items():
        outside = set(re.findall(r"(?:https?:)?//[a-z][\w.-]+\.[a-z]{2,}", text)) - {"http://www.w3.org"}
        assert not outside, name
