"""The palette: every command by its name, found without marks too, for not every keyboard at a cabinet has them."""

from __future__ import annotations

from textual.command import DiscoveryHit, Hit, Hits, Provider

from edge_agent.tui.rows import bare
from edge_agent.tui.shell import Shell


class Commands(Provider):
    """Those of `get_system_commands`."""

    async def discover(self) -> Hits:
        """All of them, while nothing is typed."""
        for title, tells, does, *_ in self.app.get_system_commands(self.screen):
            yield DiscoveryHit(title, does, help=tells)

    async def search(self, query: str) -> Hits:
        """Those whose name has these letters, in any case, with marks or without; or a line that there are none."""
        matcher, any_of_them = self.matcher(bare(query)), False
        for title, tells, does, *_ in self.app.get_system_commands(self.screen):
            if (score := matcher.match(bare(title))) > 0:
                any_of_them = True
                yield Hit(score, title, does, help=tells)
        if not any_of_them and isinstance(self.app, Shell):  # Textual would say so in English
            yield Hit(1.0, self.app.none_found(), lambda: None)
