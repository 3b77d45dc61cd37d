"""A function for the shell: how many words each of some files has.

Run it: manycore map examples/words.py:words --input 'docs/*.md' --journal words.journal
"""

from pathlib import Path


def words(path: str) -> int:
    return len(Path(path).read_text(encoding="utf-8").split())
