"""The kernel loses or cuts a meeting's datagrams, by nft, on its own port only. Needs root."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

NFT = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or ""
needs_nft = pytest.mark.skipif(
    not NFT or os.geteuid() != 0, reason="nft is not installed (apt-get install nftables), or this is not root"
)


class KernelLine:
    """As `relay.Relay`, without a process between: `loss` and `cut` are set, `lost` is read."""

    def __init__(self, port: int) -> None:
        """Nothing is lost yet."""
        self._port = port
        self._table = f"edge_test_{port}"
        self._loss, self._cut = 0.0, False

    @property
    def loss(self) -> float:
        """Share of the datagrams of both ways that is dropped."""
        return self._loss

    @loss.setter
    def loss(self, share: float) -> None:
        self._loss = share
        self._write()

    @property
    def cut(self) -> bool:
        """True: nothing comes through."""
        return self._cut

    @cut.setter
    def cut(self, cut: bool) -> None:
        self._cut = cut
        self._write()

    @property
    def lost(self) -> int:
        """Dropped since `loss` or `cut` was last set."""
        told = json.loads(_nft("-j", "list", "table", "inet", self._table))
        rules = [one["rule"]["expr"] for one in told["nftables"] if "rule" in one]
        return sum(int(part["counter"]["packets"]) for rule in rules for part in rule if "counter" in part)

    def close(self) -> None:
        """All comes through again."""
        _nft("delete", "table", "inet", self._table)

    def _write(self) -> None:
        which = "" if self._cut else f"numgen random mod 1000 < {round(self._loss * 1000)} "
        rules = [f"udp {way} {self._port} {which}counter drop" for way in ("dport", "sport")]
        chain = "type filter hook input priority 0;"
        if not self._cut and not self._loss:
            rules = []
        new = f"table inet {self._table} {{ chain lose {{ {chain}\n" + "\n".join(rules) + "\n}\n}"
        _nft("-f", "-", given=f"add table inet {self._table}\ndelete table inet {self._table}\n{new}\n")


def _nft(*words: str, given: str = "") -> str:
    done = subprocess.run([NFT, *words], input=given, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout
