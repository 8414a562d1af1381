"""What all commands share of argparse: `-c FILE`, sub-commands, and its sentences in the language that was chosen.

argparse has every sentence from gettext, by the English one; here each gets its own from `text/`. One that is not in
the table stays English, so that another version of Python costs a translation and nothing else.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.text import Text

if TYPE_CHECKING:
    Group = argparse._SubParsersAction[argparse.ArgumentParser]

SENTENCES = {
    "usage: ": ("arguments.usage", ""),
    "positional arguments": ("arguments.positional", ""),
    "options": ("arguments.options", ""),
    "show this help message and exit": ("arguments.help", ""),
    "%(prog)s: error: %(message)s\n": ("arguments.error", "prog message"),
    "argument %(argument_name)s: %(message)s": ("arguments.of", "argument_name message"),
    "unrecognized arguments: %s": ("arguments.unrecognized", "it"),
    "the following arguments are required: %s": ("arguments.required", "it"),
    "one of the arguments %s is required": ("arguments.one_of", "it"),
    "not allowed with argument %s": ("arguments.not_with", "it"),
    "ignored explicit argument %r": ("arguments.explicit", "it"),
    "ambiguous option: %(option)s could match %(matches)s": ("arguments.ambiguous", "option matches"),
    "expected one argument": ("arguments.expects_one", ""),
    "expected at most one argument": ("arguments.expects_at_most_one", ""),
    "expected at least one argument": ("arguments.expects_some", ""),
    "expected %s argument": ("arguments.expects", "it"),
    "expected %s arguments": ("arguments.expects", "it"),
    "invalid choice: %(value)r (choose from %(choices)s)": ("arguments.choice", "value choices"),
    "invalid %(type)s value: %(value)r": ("arguments.value", "value"),
}
"""By argparse's own words: the key and the facts; `it` is a fact without a name."""
ENDS = {"usage: ": " ", "%(prog)s: error: %(message)s\n": "\n"}
"""What argparse wants behind a sentence."""


def take_config(parser: argparse.ArgumentParser, text: Text) -> None:
    """`-c FILE`; without it nothing is set, so that the one before a sub-command holds unless another stands behind."""
    suppressed = argparse.SUPPRESS
    parser.add_argument("-c", "--config", type=Path, default=suppressed, metavar="FILE", help=text("help.config"))


def sub_commands(parser: argparse.ArgumentParser, text: Text) -> Group:
    """Room for the sub-commands of a command that works on a configuration."""
    take_config(parser, text)
    return parser.add_subparsers(metavar=text("help.command"), required=True)


def speak(text: Text) -> None:
    """From now on argparse does in this language."""

    def told(words: str) -> str:
        key, facts = SENTENCES.get(words, ("", ""))
        named = {fact: "%s" if fact == "it" else f"%({fact})s" for fact in facts.split()}
        return text(key, **named) + ENDS.get(words, "") if key else words

    def counted(one: str, many: str, count: int) -> str:
        return told(one if count == 1 else many)

    own: Any = argparse  # its two names of gettext are the only way to another language, and typeshed hides them
    own._, own.ngettext = told, counted
