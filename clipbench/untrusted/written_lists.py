"""Lists of texts that stand in one cell of a table, as Python writes them: ``['a cat', "a dog's tail"]``.

Only quoted texts are made into anything: what Python itself would make of a cell may be deep, large or slow.
"""

import ast
import re

from clipbench.untrusted.reading import check_text

_QUOTED = r"""(?:'(?:[^'\\\n]|\\[\\'"nrtxuU])*'|"(?:[^"\\\n]|\\[\\'"nrtxuU])*")"""
_LIST = re.compile(rf"\s*\[\s*{_QUOTED}(?:\s*,\s*{_QUOTED})*(?:\s*,)?\s*\]\s*")


def read_written_list(text: str) -> list[str] | None:
    """Return the texts of a list that is written in a text; None where it is no such list, or an empty one.

    Example:
        >>> read_written_list('''['a cat', "a dog's tail"]''')
        ['a cat', "a dog's tail"]
        >>> read_written_list("[sic] a cat") is None
        True
    """
    if _LIST.fullmatch(text) is None:
        return None
    try:
        texts = [ast.literal_eval(quoted) for quoted in re.findall(_QUOTED, text)]
        check_text(texts)
    except (SyntaxError, ValueError):
        return None
    return texts
