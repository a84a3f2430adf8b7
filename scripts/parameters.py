"""Typed parameters of a script: what it takes, checked once here, and how a value reaches the script.

A value goes as an environment variable, as `--name value`, or as a word of the command line; never through a shell's eyes, so
that quotes, newlines and `$(…)` arrive as they are. A secret is a reference (`name/key`), read when the run
begins, and goes as a variable alone: command lines are shown to everybody on a host.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from core.errors import Invalid
from keys.references import parse

TYPES = ("text", "number", "boolean", "choice", "secret")
VIAS = ("environment", "option", "argument")
MOST = 50
MOST_VALUE = 32_768
NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"
# What would change how the host's own programs are found or loaded, under sudo too.
FORBIDDEN = re.compile(r"^(LD_.*|DYLD_.*|BASH_ENV|ENV|IFS|PATH|SHELLOPTS|BASHOPTS|PS4|PYTHONSTARTUP|PERL5OPT|RUBYOPT|NODE_OPTIONS)$")


@extend_schema_field({"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "boolean"}], "nullable": True})
class DefaultField(serializers.JSONField):
    """What a parameter is where nobody says: of the parameter's own type."""


class ParameterSerializer(serializers.Serializer[Any]):
    """One parameter: its name, type, and how it is handed over."""

    name = serializers.RegexField(NAME, max_length=64)
    type = serializers.ChoiceField(choices=TYPES, required=False, default="text")
    label = serializers.CharField(max_length=120, required=False, allow_blank=True, default="")
    help = serializers.CharField(max_length=500, required=False, allow_blank=True, default="")
    required = serializers.BooleanField(required=False, default=False)
    default = DefaultField(required=False, default=None, allow_null=True)
    choices = serializers.ListField(child=serializers.CharField(max_length=255), required=False, default=list, max_length=200)
    pattern = serializers.CharField(max_length=255, required=False, allow_blank=True, default="")
    minimum = serializers.FloatField(required=False, allow_null=True, default=None)
    maximum = serializers.FloatField(required=False, allow_null=True, default=None)
    via = serializers.ChoiceField(choices=VIAS, required=False, default="environment")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["type"] == "choice" and not attrs["choices"]:
            raise serializers.ValidationError({"choices": ["A choice needs something to choose from."]})
        if attrs["type"] == "secret" and attrs["via"] != "environment":
            raise serializers.ValidationError({"via": ["A secret goes as an environment variable: command lines are public."]})
        if attrs["via"] == "environment" and FORBIDDEN.match(attrs["name"]):
            raise serializers.ValidationError({"name": ["This variable changes how programs are loaded: choose another name."]})
        if attrs["pattern"]:
            if len(attrs["pattern"]) > 120 or re.search(r"[+*}]\)?[+*{]|\(\?", attrs["pattern"]):
                raise serializers.ValidationError({"pattern": ["A short regular expression without nested repetition."]})
            try:
                re.compile(attrs["pattern"])
            except re.error as error:
                raise serializers.ValidationError({"pattern": ["This is no regular expression."]}) from error
        if attrs["default"] is not None:
            try:
                attrs["default"] = checked(attrs, attrs["default"])
            except ValueError as error:
                raise serializers.ValidationError({"default": [str(error)]}) from error
        return attrs


def validate_all(parameters: Sequence[Mapping[str, Any]]) -> None:
    """Raises: serializers.ValidationError for a name twice."""
    names = [p["name"] for p in parameters]
    if len(names) != len(set(names)):
        raise serializers.ValidationError("Two parameters have the same name.")


def checked(parameter: Mapping[str, Any], value: Any) -> Any:
    """The value in its type.  Raises: ValueError with what is wrong."""
    kind = parameter["type"]
    if kind == "boolean":
        words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False, "": False}
        if isinstance(value, bool):
            return value
        if str(value).lower() not in words:
            raise ValueError("true or false.")
        return words[str(value).lower()]
    if kind == "number":
        try:
            number = float(value) if not isinstance(value, bool) else math.nan
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise ValueError("A number.")
        low, high = parameter.get("minimum"), parameter.get("maximum")
        if (low is not None and number < low) or (high is not None and number > high):
            raise ValueError(f"A number{'' if low is None else f' from {low:g}'}{'' if high is None else f' up to {high:g}'}.")
        return int(number) if number.is_integer() and abs(number) < 2**53 else number
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("Text.")
    text = str(value)
    if "\0" in text or any(0xD800 <= ord(c) < 0xE000 for c in text):
        raise ValueError("A null character is not allowed.")
    if len(text) > MOST_VALUE:
        raise ValueError(f"At most {MOST_VALUE:,} characters.")
    if kind == "choice" and text not in parameter["choices"]:
        raise ValueError(f"One of: {', '.join(parameter['choices'][:20])}.")
    if kind == "secret":
        parse(text)
    if kind == "text" and parameter.get("pattern") and not re.fullmatch(parameter["pattern"], text[:2000]):
        raise ValueError(f"It does not match {parameter['pattern']}.")
    return text


def values(parameters: Sequence[Mapping[str, Any]], given: Mapping[str, Any], where: str = "params") -> dict[str, Any]:
    """The value of each parameter, defaults filled in.  Raises: Invalid, naming each that is wrong."""
    known = {p["name"]: p for p in parameters}
    errors: dict[str, list[str]] = {}
    for name in sorted(given.keys() - known.keys())[:20]:
        errors[f"{where}.{str(name)[:60]}"] = [f"It has no such parameter. There are: {', '.join(known) or 'none'}."]
    found: dict[str, Any] = {}
    for name, parameter in known.items():
        value = given.get(name)
        empty = value is None or (value == "" and parameter["type"] != "boolean")
        if empty and parameter["default"] is not None:
            value, empty = parameter["default"], False
        if empty:
            if parameter["required"]:
                errors[f"{where}.{name}"] = ["This is needed."]
            continue
        try:
            found[name] = checked(parameter, value)
        except ValueError as error:
            errors[f"{where}.{name}"] = [str(error)]
    if errors:
        raise Invalid(fields=errors)
    return found


@dataclass(frozen=True, kw_only=True)
class Handed:
    """What a script gets: variables, and words after its name. `secrets`: values to mask in its output."""

    environment: dict[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()


def written(value: Any) -> str:
    """A value as a script reads it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def handed(
    parameters: Sequence[Mapping[str, Any]],
    found: Mapping[str, Any],
    *,
    words: Sequence[str],
    environment: Mapping[str, str],
    secrets: Mapping[str, str],
) -> Handed:
    """From values to variables and words. `secrets`: {reference: value}, read just now."""
    env, options, arguments = dict(environment), list[str](), list[str]()
    hidden = []
    for parameter in parameters:
        name = parameter["name"]
        if name not in found:
            continue
        value = found[name]
        if parameter["type"] == "secret":
            env[name] = secrets[value]
            hidden.append(secrets[value])
        elif parameter["via"] == "environment":
            env[name] = written(value)
        elif parameter["via"] == "argument":
            arguments.append(written(value))
        elif parameter["type"] == "boolean":
            options += [f"--{name.replace('_', '-')}"] if value else []
        else:
            options += [f"--{name.replace('_', '-')}", written(value)]
    for key, value in env.items():
        if isinstance(value, dict):
            env[key] = secrets[value["secret"]]
            hidden.append(env[key])
    return Handed(environment=env, words=(*options, *arguments, *words), secrets=tuple(s for s in hidden if s))


def references(parameters: Sequence[Mapping[str, Any]], found: Mapping[str, Any], environment: Mapping[str, Any]) -> set[str]:
    """The secrets that are referred to."""
    typed = {found[p["name"]] for p in parameters if p["type"] == "secret" and p["name"] in found}
    return typed | {value["secret"] for value in environment.values() if isinstance(value, dict)}
