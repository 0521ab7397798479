"""Keep passwords and tokens out of what is printed and recorded: `redact` removes them from a text."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from urllib.parse import unquote

MARK = "***"
MIN_LENGTH = 4  # characters of a secret that is searched for as a word; shorter ones would match other words

# Variables whose value is a secret. Variables with a URI are not listed, because passwords in URIs are always found.
VARIABLES = (
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "PGPASSWORD",
    "DATABRICKS_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_STORAGE_ACCESS_KEY",
    "RAY_AUTH_TOKEN",
)

# scheme://user:password@host. A password with @, / or ? should be percent-encoded and often is not: SQLAlchemy accepts
# it unencoded. In a web address, digits and a slash after the colon are a port and a path. A URI that was mistaken for
# a path has one slash.
_USER = r"[^\s/?#:@'\"<>\[]*"
_PASSWORD = re.compile(
    rf"(?i)(?P<before>\b(?:(?P<web>https?):/|(?!https?:)[a-z][a-z0-9+.-]*:/(?=/))/?{_USER}:)"
    r"(?P<secret>[^\s/?#'\"<>]*|(?(web)(?!\d{1,5}[/?#]))[^\s'\"<>]*)(?=@)"
)
_LONE_TOKEN = re.compile(r"(?i)(?P<before>\bhttps?://?)(?P<secret>[^\s/?#:@'\"<>\[]+)(?=@)")
_KEYED = re.compile(
    r"(?i)(?P<before>(?:[\w-]*(?:password|passwd|pwd|secret|credential|api_?key|access_?key|x-amz-signature)"
    r"|\b(?:sig|signature|(?:[\w-]*(?:access|auth|refresh|session|security)[_-])?token|(?-i:[A-Z][A-Z0-9_]*_TOKEN)))=)"
    r"(?P<secret>\"[^\"]*\"|'[^']*'|[^\s&;#,'\"<>)\]}]+)"
)
_HEADER = re.compile(r"(?i)(?P<before>authorization['\"]?\s*[:=]\s*['\"]?(?:basic|bearer)\s+)(?P<secret>[^\s'\",]+)")
_PATTERNS = (_PASSWORD, _LONE_TOKEN, _KEYED, _HEADER)

_learned: set[str] = set()


def redact(text: str, *, words: bool = True) -> str:
    """Return a text without its passwords and tokens.

    These are the passwords of URIs, the values of keys such as `token=`, and, if `words` is true, the secrets from
    `learn` and the values of MLFLOW_TRACKING_PASSWORD, MLFLOW_TRACKING_TOKEN and the like as whole words.

    >>> redact("http://ann:s3cret@mlflow.example:5000/?token=abc failed")
    'http://ann:***@mlflow.example:5000/?token=*** failed'
    >>> redact("X-Amz-Signature=abc, input_signature=[x], pad_token=0")
    'X-Amz-Signature=***, input_signature=[x], pad_token=0'
    """
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\g<before>{MARK}", text)
    if not words:
        return text
    secrets = {value for name in VARIABLES if len(value := os.environ.get(name, "")) >= MIN_LENGTH}
    return _alone(frozenset(_learned | secrets)).sub(MARK, text)


def learn(uri: str) -> None:
    """Remember the secrets of a URI before it is opened: an error may contain them without the rest of the URI."""
    for pattern in _PATTERNS:
        for found in pattern.finditer(uri):
            secret = found["secret"]
            # If a password has an @, errors may name its second part as the host: "cannot resolve 'word@host'".
            parts = {secret, unquote(secret), *secret.split("@")}
            _learned.update(part for part in parts if len(part) >= MIN_LENGTH)


def redact_chain(error: BaseException) -> None:
    """Redact the messages of an error and of its causes, which a traceback shows."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        one.args = tuple(redact(part) if isinstance(part, str) else part for part in one.args)
        if isinstance(message := getattr(one, "message", None), str):  # MLflow's
            one.message = redact(message)  # type: ignore[attr-defined]
        left += [one.__cause__, one.__context__]


@lru_cache(maxsize=8)
def _alone(secrets: frozenset[str]) -> re.Pattern[str]:
    """Return a pattern for secrets that are not parts of longer words; without secrets, it matches nothing."""
    listed = "|".join(map(re.escape, sorted(secrets, key=len, reverse=True)))
    return re.compile(rf"(?<![^\W_])(?:{listed})(?![^\W_])" if listed else r"(?!)")
