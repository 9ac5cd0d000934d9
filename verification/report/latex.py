"""LaTeX to MathML, so that the report shows equations without a network.

MathML is drawn by the browser itself. The subset is what the notes use; an unknown command is
shown by its name, and an equation that cannot be parsed is shown as it was written.
"""

import re
import unicodedata
from html import escape

from verification.report.latex_tables import (
    ACCENTS,
    ALPHABETS,
    FENCES,
    FUNCTIONS,
    GREEK,
    IGNORED,
    LARGE_OPERATORS,
    LIMIT_FUNCTIONS,
    OPERATORS,
    SPACES,
    TABLES,
    TEXT,
    UPRIGHT,
)

_TOKEN = re.compile(r"\\(?:operatorname\*|[a-zA-Z]+|.)|\d+(?:\.\d+)?|\s+|.", re.DOTALL)
_END = ""
_GAP = '<mspace width="0.17em"></mspace>'
_NO_GAP = {_END, "&", "\\\\", "\\left", *"()[]},"}
# Deep nesting is an accident of the note, and recursion must not take the report down with it.
_DEPTH = 60


class LatexError(ValueError):
    """The equation is outside the subset or does not balance."""


def to_html(source: str, display: bool) -> str:
    """Returns MathML for an equation, or the escaped source where it cannot be parsed.

    Args:
        source: LaTeX without its dollar signs.
        display: whether the equation stands on its own.

    Returns:
        HTML; the LaTeX is kept in an annotation of the MathML.
    """
    try:
        body = _Parser(source).parse()
    except LatexError:
        tag = "pre" if display else "code"
        return f'<{tag} class="equation">{escape(source.strip())}</{tag}>'
    note = f'<annotation encoding="application/x-tex">{escape(source.strip())}</annotation>'
    mode = ' display="block"' if display else ""
    return f"<math{mode}><semantics>{body}{note}</semantics></math>"


def _element(tag: str, text: str, attributes: str = "") -> str:
    return f"<{tag}{attributes}>{escape(text)}</{tag}>"


def _row(items: list[str]) -> str:
    items = [item for item in items if item]
    return items[0] if len(items) == 1 else f"<mrow>{''.join(items)}</mrow>"


def _upright(text: str) -> str:
    return _element("mi", text, ' mathvariant="normal"')


def _plain(text: str) -> str:
    """Text of a group without its spacing commands and the backslashes of its characters."""
    return re.sub(r"\\([_&%#$])", r"\1", re.sub(r"\\[,;:!]", "", text))


def _operator(text: str) -> str:
    # Only \left and \right stretch; a bar does not say which side of its content it is on.
    spacing = ' lspace="0" rspace="0"' if text in {"|", "‖"} else ""
    return _element("mo", text, f' stretchy="false"{spacing}')


def _styled(letter: str, alphabet: str) -> str:
    """The letter in a mathematical alphabet of Unicode, itself where the alphabet lacks it."""
    try:
        case = "CAPITAL" if letter.isupper() else "SMALL"
        kind = unicodedata.name(letter).split()[-1]
    except ValueError:
        return letter
    for prefix in (f"MATHEMATICAL {alphabet} ", f"{alphabet} "):
        for name in (f"{prefix}{case} {kind}", f"{prefix}DIGIT {kind}"):
            try:
                return unicodedata.lookup(name)
            except KeyError:
                continue
    return letter


class _Parser:
    """Recursive descent over the tokens of one equation."""

    def __init__(self, source: str) -> None:
        self.tokens = _TOKEN.findall(source.strip())
        self.position = 0
        self.depth = 0

    def parse(self) -> str:
        body = self.table({_END})
        if self.peek() != _END:
            raise LatexError(f"unbalanced {self.peek()!r}")
        return body

    def peek(self) -> str:
        while self.position < len(self.tokens) and self.tokens[self.position].isspace():
            self.position += 1
        return self.tokens[self.position] if self.position < len(self.tokens) else _END

    def take(self) -> str:
        token = self.peek()
        if token == _END:
            raise LatexError("the equation ends too early")
        self.position += 1
        return token

    def expect(self, token: str) -> None:
        if self.take() != token:
            raise LatexError(f"expected {token!r}")

    def raw_group(self) -> str:
        """The text of a braced group, its spaces kept."""
        self.expect("{")
        start, open_groups = self.position, 1
        while open_groups:
            if self.position == len(self.tokens):
                raise LatexError("a group is not closed")
            open_groups += {"{": 1, "}": -1}.get(self.tokens[self.position], 0)
            self.position += 1
        return "".join(self.tokens[start : self.position - 1])

    def table(self, stops: set[str], aligned: bool = True) -> str:
        """Rows of cells up to a stop; a single cell is no table."""
        rows: list[list[str]] = [[self.row(stops | {"&", "\\\\"})]]
        while self.peek() in {"&", "\\\\"}:
            if self.take() == "&":
                rows[-1].append(self.row(stops | {"&", "\\\\"}))
            else:
                rows.append([self.row(stops | {"&", "\\\\"})])
        if rows[-1] == ["<mrow></mrow>"] and len(rows) > 1:
            rows.pop()
        if len(rows) == 1 and len(rows[0]) == 1:
            return rows[0][0]
        body = "".join(
            "<mtr>" + "".join(f"<mtd>{cell}</mtd>" for cell in row) + "</mtr>" for row in rows
        )
        css = ' class="aligned"' if aligned else ""
        return f'<mtable{css} displaystyle="true">{body}</mtable>'

    def row(self, stops: set[str]) -> str:
        items = []
        while self.peek() not in stops:
            if self.peek() in {_END, "}"}:
                raise LatexError(f"expected one of {sorted(stops)}")
            items.append(self.scripted())
        return _row(items)

    def scripted(self) -> str:
        """An atom with its sub- and superscripts."""
        token = self.peek()
        base = "<mrow></mrow>" if token in {"^", "_"} else self.atom()
        below = above = None
        while self.peek() in {"^", "_", "'"}:
            mark = self.take()
            if mark == "_":
                below = self.argument()
            else:
                added = _element("mo", "′") if mark == "'" else self.argument()
                above = added if above is None else f"<mrow>{above}{added}</mrow>"
        name = token.removeprefix("\\")
        # Applied to a bare argument, as in \log x, a function name needs a gap.
        applied = name in FUNCTIONS or name.startswith("operatorname")
        gap = _GAP if applied and self.peek() not in _NO_GAP else ""
        under = name in LIMIT_FUNCTIONS or name in LARGE_OPERATORS or name == "operatorname*"
        tags = ("munder", "mover", "munderover") if under else ("msub", "msup", "msubsup")
        if below is not None and above is not None:
            base = f"<{tags[2]}>{base}{below}{above}</{tags[2]}>"
        elif below is not None:
            base = f"<{tags[0]}>{base}{below}</{tags[0]}>"
        elif above is not None:
            base = f"<{tags[1]}>{base}{above}</{tags[1]}>"
        return _row([base, gap])

    def argument(self) -> str:
        if self.peek() != "{":
            # In x^12 only the first digit is the exponent.
            token = self.peek()
            if len(token) > 1 and token[0].isdigit():
                self.tokens[self.position : self.position + 1] = [token[0], token[1:]]
            return self.atom()
        self.take()
        body = self.row({"}"})
        self.expect("}")
        return body

    def atom(self) -> str:
        self.depth += 1
        if self.depth > _DEPTH:
            raise LatexError("nested too deeply")
        body = self.argument() if self.peek() == "{" else self.symbol(self.take())
        self.depth -= 1
        return body

    def symbol(self, token: str) -> str:
        if token.startswith("\\"):
            return self.command(token[1:])
        if token[0].isdigit():
            return _element("mn", token)
        if token.isalpha():
            return _element("mi", token)
        if token == "~":
            return '<mspace width="0.25em"></mspace>'
        return _operator({"-": "−", "*": "∗"}.get(token, token))

    def command(self, name: str) -> str:
        if name in GREEK:
            return _element("mi", GREEK[name])
        if name in ACCENTS:
            return f'<mover accent="true">{self.argument()}{_element("mo", ACCENTS[name])}</mover>'
        if name in OPERATORS:
            return _operator(OPERATORS[name])
        if name in LARGE_OPERATORS:
            return _element("mo", LARGE_OPERATORS[name], ' largeop="true"')
        if name in FUNCTIONS:
            return _upright(name)
        if name in SPACES:
            return f'<mspace width="{SPACES[name]}"></mspace>'
        if name in IGNORED:
            return ""
        return self.construct(name)

    def construct(self, name: str) -> str:
        """Commands that take arguments."""
        if name in {"frac", "dfrac", "tfrac", "cfrac"}:
            return f"<mfrac>{self.argument()}{self.argument()}</mfrac>"
        if name == "sqrt":
            return self.root()
        if name in TEXT:
            return _element("mtext", _plain(self.raw_group()).replace(" ", "\u00a0"))
        if name in UPRIGHT and self.peek() != "{":
            return _upright(self.take())
        if name in UPRIGHT:
            return _upright(_plain(self.raw_group()).strip())
        if name in ALPHABETS:
            return self.alphabet(ALPHABETS[name])
        if name == "tag":
            return _element("mtext", f"\u2003({self.raw_group()})")
        if name in {"underbrace", "overbrace"}:
            tag, brace = ("munder", "⏟") if name == "underbrace" else ("mover", "⏞")
            return f"<{tag}>{self.argument()}{_element('mo', brace)}</{tag}>"
        if name == "left":
            return self.fenced()
        if name == "begin":
            return self.environment()
        if name in {"right", "end", "\\", "middle"}:
            raise LatexError(f"\\{name} without its opening")
        return _element("mtext", "\\" + name)

    def root(self) -> str:
        if self.peek() != "[":
            return f"<msqrt>{self.argument()}</msqrt>"
        self.take()
        degree = self.row({"]"})
        self.expect("]")
        return f"<mroot>{self.argument()}{degree}</mroot>"

    def alphabet(self, alphabet: str) -> str:
        if self.peek() != "{":
            return _upright(_styled(self.take(), alphabet))
        letters = self.raw_group()
        if letters.startswith("\\"):
            letters = GREEK.get(letters[1:].strip(), letters)
        return _upright("".join(_styled(letter, alphabet) for letter in letters))

    def fence(self) -> str:
        token = self.take()
        if token == ".":
            return ""
        text = OPERATORS.get(token[1:], token) if token.startswith("\\") else token
        return _element("mo", text, ' stretchy="true"')

    def fenced(self) -> str:
        opening = self.fence()
        body = self.row({"\\right"})
        self.expect("\\right")
        return f"<mrow>{opening}{body}{self.fence()}</mrow>"

    def environment(self) -> str:
        name = self.raw_group()
        if name not in TABLES:
            raise LatexError(f"unknown environment {name!r}")
        if name == "array":
            self.raw_group()
        body = self.table({"\\end"}, aligned=name not in FENCES and name != "array")
        self.expect("\\end")
        if self.raw_group() != name:
            raise LatexError(f"\\begin{{{name}}} is not closed")
        fences = FENCES.get(name, "")
        marks = [_element("mo", mark, ' stretchy="true"') for mark in fences]
        return f"<mrow>{''.join(marks[:1])}{body}{''.join(marks[1:])}</mrow>"
