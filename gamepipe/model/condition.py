"""Reads an `if` condition into terms; the grammar stands in `gamepipe.model.expression`."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from gamepipe.model.errors import GamePipeError
from gamepipe.model.reference import ROOTS, Reference, ReferenceSyntax, read_path, reference_of
from gamepipe.model.state import StepState

MAX_LENGTH = 1000
MAX_DEPTH = 20
FUNCTIONS = ("success", "failure", "canceled", "always")
_STATUS_FUNCTIONS = frozenset(FUNCTIONS)
_TOKEN = re.compile(
    r"""(?P<space>\s+)|(?P<operator>==|!=|<=|>=|<|>)|(?P<and>&&)|(?P<or>\|\|)|(?P<not>!)
    |(?P<open>\()|(?P<close>\))|(?P<text>'[^']*'|"[^"]*")
    |(?P<number>-?\d+(?:\.\d+)?(?![\w.-]))|(?P<word>[\w.-]+)""",
    re.VERBOSE,
)
_WRAPPED = re.compile(r"\s*\$\{\{(?P<inner>.*)\}\}\s*", re.DOTALL)
_WORDS = {"and": "and", "or": "or", "not": "not"}


class ExpressionError(GamePipeError):
    """A condition that cannot be read or evaluated; `position` counts from 0."""

    reason = "CONDITION_INVALID"

    def __init__(self, problem: str, remedy: str, position: int) -> None:
        super().__init__(f"condition, character {position + 1}: {problem}; {remedy}")
        self.problem, self.remedy, self.position = problem, remedy, position


@dataclass(frozen=True, slots=True)
class Literal:
    value: str | float | bool


@dataclass(frozen=True, slots=True)
class Call:
    name: str


@dataclass(frozen=True, slots=True)
class Name:
    reference: Reference
    position: int


@dataclass(frozen=True, slots=True)
class Negation:
    inner: "Term"


@dataclass(frozen=True, slots=True)
class Logic:
    """`operator` is `and` or `or`."""

    operator: str
    terms: tuple["Term", ...]


@dataclass(frozen=True, slots=True)
class Compare:
    operator: str
    left: "Term"
    right: "Term"
    position: int


Term = Literal | Call | Name | Negation | Logic | Compare


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that was read; `names` are its references in the order they stand."""

    term: Term
    names: tuple[Name, ...]
    calls: frozenset[str]

    @property
    def asks_status(self) -> bool:
        """Whether it decides itself what a failed or canceled pipeline means for the step."""
        if self.calls & _STATUS_FUNCTIONS:
            return True
        return any(n.reference.root == "steps" and not n.reference.output for n in self.names)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int
    reference: Reference | None = None


def parse(text: str) -> Condition:
    """Read a condition; "" means `success()`."""
    if len(text) > MAX_LENGTH:
        remedy = f"keep it within {MAX_LENGTH} characters"
        raise ExpressionError("the condition is too long", remedy, MAX_LENGTH)
    inner, offset = unwrap(text)
    if not inner.strip():
        return Condition(Call("success"), (), frozenset({"success"}))
    return _Parser(_tokens(inner, offset)).read()


def unwrap(text: str) -> tuple[str, int]:
    """The condition without `${{ }}`, and where it begins in the text."""
    wrapped = _WRAPPED.fullmatch(text)
    return (wrapped["inner"], wrapped.start("inner")) if wrapped else (text, 0)


def _tokens(text: str, offset: int) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise ExpressionError(*_strange(text[at]), offset + at)
        kind, word = match.lastgroup, match.group()
        if kind == "word" and word.split(".")[0] in ROOTS:
            token, at = _reference(text, at, offset)
            tokens.append(token)
            continue
        if kind != "space":
            tokens.append(_Token(_WORDS.get(word, kind), word, offset + at))
        at = match.end()
    tokens.append(_Token("end", "", offset + len(text)))
    return tokens


def _strange(char: str) -> tuple[str, str]:
    if char in "'\"":
        return "a text is not closed", f"end it with {char}"
    if char == "=":
        return "`=` is no comparison", "write `==`"
    return f"`{char}` is out of place", "remove it"


def _reference(text: str, at: int, offset: int) -> tuple[_Token, int]:
    try:
        names, end = read_path(text, at)
        reference = reference_of(names, at)
    except ReferenceSyntax as error:
        raise ExpressionError(error.problem, error.remedy, offset + error.position) from None
    if reference.root == "secrets":
        remedy = "test an arg or an env instead"
        raise ExpressionError("a condition may not read secrets", remedy, offset + at)
    return _Token("name", text[at:end], offset + at, reference), end


class _Parser:
    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = self._depth = 0
        self._names: list[Name] = []
        self._calls: set[str] = set()

    def read(self) -> Condition:
        term = self._any()
        self._expect("end", "an operator (and, or, ==, ...)")
        return Condition(term, tuple(self._names), frozenset(self._calls))

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._next
        self._at += 1
        return token

    def _expect(self, kind: str, wanted: str) -> _Token:
        if self._next.kind != kind:
            raise self._unexpected(wanted)
        return self._take()

    def _unexpected(self, wanted: str) -> ExpressionError:
        token = self._next
        found = f"`{token.text}` is out of place" if token.text else "the condition ends too soon"
        return ExpressionError(found, f"expected {wanted}", token.position)

    def _any(self) -> Term:
        return self._logic("or", self._all)

    def _all(self) -> Term:
        return self._logic("and", self._negation)

    def _logic(self, operator: str, read: Callable[[], Term]) -> Term:
        terms = [read()]
        while self._next.kind == operator:
            self._take()
            terms.append(read())
        return terms[0] if len(terms) == 1 else Logic(operator, tuple(terms))

    def _negation(self) -> Term:
        if self._next.kind != "not":
            return self._comparison()
        self._enter()
        self._take()
        inner = self._negation()
        self._depth -= 1
        return Negation(inner)

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            remedy = f"nest at most {MAX_DEPTH} deep"
            raise ExpressionError("nested too deeply", remedy, self._next.position)

    def _comparison(self) -> Term:
        left = self._value()
        if self._next.kind != "operator":
            return left
        operator = self._take()
        right = self._value()
        if self._next.kind == "operator":
            raise self._unexpected("`and` between two comparisons")
        _check_comparison(left, right, operator)
        return Compare(operator.text, left, right, operator.position)

    def _value(self) -> Term:
        match self._next.kind:
            case "open":
                return self._group()
            case "text":
                return Literal(self._take().text[1:-1])
            case "number":
                return Literal(float(self._take().text))
            case "name":
                return self._name()
            case "word":
                return self._word()
        raise self._unexpected("a value")

    def _group(self) -> Term:
        self._enter()
        self._take()
        term = self._any()
        self._expect("close", "`)`")
        self._depth -= 1
        return term

    def _name(self) -> Term:
        token = self._take()
        assert token.reference is not None  # noqa: S101 - every "name" token carries one
        name = Name(token.reference, token.position)
        self._names.append(name)
        return name

    def _word(self) -> Term:
        token = self._next
        if token.text in {"true", "false"}:
            return Literal(self._take().text == "true")
        if token.text not in FUNCTIONS:
            calls = ", ".join(f"{name}()" for name in FUNCTIONS)
            remedy = f"use {calls}, a quoted text, a number, or args.X, envs.X, steps.X.state"
            raise ExpressionError(f"unknown name `{token.text}`", remedy, token.position)
        self._take()
        self._expect("open", f"`{token.text}()`")
        self._expect("close", f"`{token.text}()` without arguments")
        self._calls.add(token.text)
        return Call(token.text)


def _check_comparison(left: Term, right: Term, operator: _Token) -> None:
    for one, other in ((left, right), (right, left)):
        if not isinstance(one, Name):
            continue
        if one.reference.root == "envs":
            remedy = f"write `{one.reference}` alone: true when it is set"
            raise ExpressionError("the value of an env cannot be compared", remedy, one.position)
        is_state = one.reference.root == "steps" and not one.reference.output
        if is_state and isinstance(other, Literal) and other.value not in set(StepState):
            remedy = f"a state is one of {', '.join(StepState)}"
            problem = f"{other.value!r} is no state of a step"
            raise ExpressionError(problem, remedy, operator.position)
