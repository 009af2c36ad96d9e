"""Pages of HTML as trees of their elements."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "wbr", "hr", "img", "input"}


@dataclass
class Node:
    """An element of a page, with its text as it is read."""

    tag: str
    attributes: dict[str, str]
    children: list["Node | str"] = field(default_factory=list)

    def all(self, *tags: str) -> list["Node"]:
        """Return the elements below with one of some tags, in document order; all of them without tags."""
        below = [child for child in self.children if isinstance(child, Node)]
        return [
            result
            for child in below
            for result in ([child] if child.tag in tags or not tags else []) + child.all(*tags)
        ]

    @property
    def text(self) -> str:
        parts = (child if isinstance(child, str) else child.text for child in self.children if _is_shown(child))
        return re.sub(r"\s+", " ", "".join(parts))


def _is_shown(child: "Node | str") -> bool:
    return isinstance(child, str) or child.tag not in {"style", "head", "script", "template"}


class Tree(HTMLParser):
    """Builds nodes, and fails where an element is closed that is not open."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [Node("root", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Node(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parse(page: str) -> Node:
    """Return the tree of a page, in which every element is closed."""
    tree = Tree()
    tree.feed(page)
    tree.close()
    assert [node.tag for node in tree.open] == ["root"], "an element is left open"
    return tree.open[0]
