"""The pages and docstrings use the field's words: docs/contributing.md has the table."""

import ast
import io
import pathlib
import re
import tokenize

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
WORDS = {
    r"\b(lie|lies|lay|lying)\b": "is, is sharded",
    r"\bon the spot\b": "on the local device",
    r"\bslots?\b": "place",
    r"\bleft ?overs?\b": "remainder",
    r"\b(gives?|giving|given) back\b": "returns, sends back",
    r"\bretained fraction\b": "decay rate",
    r"\bmemor(y|ies)\b": "state",
    r"\brefus(e|es|ed|ing|al)\b": "raises",
    r"\bepsilon=": "eps",
    r"\bsecond_moment=": "second_moment_decay",
    r"\bOnTheSpot\b": "Local",
}
# Where a word is the field's own: the bytes of a device, their records, associative memory; a ratio, a remainder.
NATURAL = re.compile(
    r"(temporary|device|gpu|tpu|bounded|peak|associative|activations'|time,)[\s_]+memory"
    r"|memory on a mesh|\[memory\]|--memory|mesh_memory|left over (right|a multiple)",
    flags=re.IGNORECASE,
)
# The pages that say what things were called.
QUOTES = {"changelog.md", "contributing.md"}
PAGES = [*(p for p in sorted((ROOT / "docs").glob("*.md")) if p.name not in QUOTES), ROOT / "README.md"]
# Every folder of the package: docstrings, comments and messages are held to the same words.
FILES = sorted((ROOT / "optax_muon").rglob("*.py"))


def prose(path):
    """What a file says in words: a page whole, of a module its docstrings, messages and comments."""
    text = path.read_text()
    if path.suffix == ".md":
        return text
    strings = [n.value for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    comments = [t.string for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type == tokenize.COMMENT]
    # A string with a blank in it is a sentence or a part of one; others are names, old ones among them.
    return "\n".join([*(string for string in strings if " " in string), *comments])


def wrong(text):
    """Every word that has a better one, with it."""
    text = NATURAL.sub("", text)
    return [
        f"{m[0]!r}: write {better}" for word, better in WORDS.items() for m in re.finditer(word, text, re.IGNORECASE)
    ]


@pytest.mark.parametrize("path", [*PAGES, *FILES], ids=lambda p: str(p.relative_to(ROOT)))
def test_words_are_the_field_s(path):
    found = wrong(prose(path))
    assert not found, f"{path.relative_to(ROOT)}: {found}"


def test_the_list_finds_what_it_is_for():
    assert wrong("Computes on the spot, and gives back what is left in the memory.") != []
    assert wrong("The temporary memory stays small; the state decays.") == []
