"""What it takes to connect to a broker: its settings, with the password and the certificates read."""

from __future__ import annotations

import ssl

from drivers.decoders.values import MAX_PAYLOAD
from drivers.mqtt_seam import Wanted
from drivers.settings import Broker

MAX_PACKET = MAX_PAYLOAD + 70_000
"""A packet is little more than its payload; what is longer the broker keeps from us."""


def wanted(broker: Broker, client_id: str) -> Wanted:
    """How to connect. Blocks: reads the password and the certificates. Raises SecretMissing, SSLError and OSError."""
    tls = None
    if broker.tls:
        for path in (broker.ca, broker.cert, broker.key):
            if path:
                path.open("rb").close()  # names the file that cannot be read, which OpenSSL does not
        tls = ssl.create_default_context(cafile=str(broker.ca) if broker.ca else None)
        if broker.cert and broker.key:
            tls.load_cert_chain(str(broker.cert), str(broker.key))
    return Wanted(
        host=broker.host,
        port=broker.port,
        client_id=client_id,
        username=broker.username,
        password=broker.password.reveal() if broker.password else None,
        tls=tls,
        session_expiry=int(broker.session_expiry),
        receive_maximum=broker.receive_maximum,
        max_packet=MAX_PACKET,
        keepalive=int(broker.keepalive),
    )
