"""Browser to room to browser: a meeting in the ward, nothing decoded on the way.

A packet takes one straight path: mux (one UDP port) -> peer (one browser) -> ingress (one incoming stream) -> slot (one
outgoing stream of one viewer) -> mux. Who is seen in which slot is decided aside, in room and router. The package knows
neither the drivers nor the agent.
"""
