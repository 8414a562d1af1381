"""A UDP relay on another loopback address, that loses packets at random or cuts the line."""

from __future__ import annotations

import asyncio
import random
import socket

Address = tuple[str, int]


class Relay:
    """Listens where clients are told to dial and forwards to the meeting's port, one socket per client."""

    def __init__(self, host: str, port: int, seed: int = 1) -> None:
        self.loss = 0.0
        self.cut = False
        self.passed = self.lost = 0
        self._rng = random.Random(seed)
        self._target = ("127.0.0.1", port)
        self._front = _socket(host, port)
        self._back: dict[Address, socket.socket] = {}
        asyncio.get_running_loop().add_reader(self._front, self._inward)

    def close(self) -> None:
        for sock in (self._front, *self._back.values()):
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()

    def _takes(self) -> bool:
        taken = not self.cut and self._rng.random() >= self.loss
        self.passed += taken
        self.lost += not taken
        return taken

    def _inward(self) -> None:
        for _ in range(64):
            try:
                data, client = self._front.recvfrom(2048)
            except BlockingIOError:
                return
            if client not in self._back:
                self._back[client] = _socket("127.0.0.1", 0)
                asyncio.get_running_loop().add_reader(self._back[client], self._outward, client)
            if self._takes():
                self._back[client].sendto(data, self._target)

    def _outward(self, client: Address) -> None:
        for _ in range(64):
            try:
                data = self._back[client].recv(2048)
            except (BlockingIOError, ConnectionError):
                return
            if self._takes():
                self._front.sendto(data, client)


def _socket(host: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((host, port))
    made.setblocking(False)
    return made
