"""The fields of a provider's credentials: checked, and split into what may be shown and what goes to the vault."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from clouds.providers.base import Provider
from clouds.providers.facts import Field
from core.errors import Invalid

LONGEST = 100_000  # characters of one value: certificates are long, books are not


def validate(cls: type[Provider], sent: Mapping[str, Any], *, fields: tuple[Field, ...] | None = None) -> dict[str, Any]:
    """The values by their own names, with defaults.  Raises: Invalid, naming each wrong field."""
    if not isinstance(sent, Mapping):
        raise Invalid(fields={"credentials": ["Send an object of the provider's fields."]})
    values, errors = _validate(cls.credential_fields if fields is None else fields, sent)
    if errors:
        raise Invalid(fields={"credentials": errors})
    return values


def _validate(fields: tuple[Field, ...], sent: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    values: dict[str, Any] = {}
    errors: dict[str, Any] = {}
    names = {alias: field.name for field in fields for alias in (field.name, *field.aliases)}
    for key in sent:
        if key not in names:
            errors[str(key)[:60]] = [f"No such field. There are: {', '.join(field.name for field in fields)}."]
    given = {names[key]: value for key, value in sent.items() if key in names}
    for field in fields:
        value = given.get(field.name)
        if value is None or value == "" or value == []:
            if field.required:
                errors[field.name] = ["This is needed."]
            else:
                values[field.name] = field.default
            continue
        try:
            values[field.name] = _value(field, value)
        except ValueError as error:
            errors[field.name] = error.args[0] if isinstance(error.args[0], dict | list) else [str(error)]
    return values, errors


def keys_in(fields: tuple[Field, ...], values: Mapping[str, Any]) -> Iterator[str]:
    """The keys that credentials name, by id or name."""
    for field in fields:
        value = values.get(field.name)
        if field.kind == "key" and value:
            yield str(value)
        elif field.kind == "list" and isinstance(value, list):
            for row in value:
                yield from keys_in(field.fields, row)


def pasted(field: Field, text: str) -> list[dict[str, Any]]:
    """The rows of a text.  Raises: ValueError, with a sentence for each line that is wrong."""
    assert field.paste
    try:
        return field.paste(text)
    except Invalid as error:
        raise ValueError(error.fields.get(field.name) or [error.detail]) from error


def _value(field: Field, value: Any) -> Any:
    if field.kind == "list":
        if isinstance(value, str) and field.paste:
            value = pasted(field, value)
        if not isinstance(value, list):
            raise ValueError("Send a list.")
        if len(value) > 5000:
            raise ValueError("At most 5,000 rows.")
        rows, errors = [], {}
        for index, row in enumerate(value):
            if not isinstance(row, Mapping):
                errors[str(index)] = ["Send an object."]
                continue
            checked, wrong = _validate(field.fields, row)
            rows.append(checked)
            if wrong:
                errors[str(index)] = wrong
        if errors:
            raise ValueError(errors)
        return rows
    if field.kind == "toggle":
        if isinstance(value, bool):
            return value
        if str(value).lower() in {"true", "1", "on", "yes"}:
            return True
        if str(value).lower() in {"false", "0", "off", "no"}:
            return False
        raise ValueError("True or false.")
    if field.kind in ("integer", "number"):
        return _number(field, value)
    if not isinstance(value, str | int | float):
        raise ValueError("Send text.")
    text = str(value) if field.secret or field.kind == "textarea" else str(value).strip()
    if "\x00" in text or len(text) > LONGEST:
        raise ValueError("Too long." if len(text) > LONGEST else "A null character is not allowed.")
    if not field.secret and field.kind == "text" and len(text) > 1000:
        raise ValueError("At most 1,000 characters.")
    if field.choices and text not in {choice for choice, _ in field.choices}:
        raise ValueError(f"One of: {', '.join(choice for choice, _ in field.choices)}.")
    return text


def _number(field: Field, value: Any) -> int | float:
    try:
        number = int(str(value)) if field.kind == "integer" else float(str(value))
    except ValueError:
        raise ValueError("A whole number." if field.kind == "integer" else "A number.") from None
    if number != number or (field.minimum is not None and number < field.minimum) or (field.maximum is not None and number > field.maximum):
        raise ValueError(
            f"Between {field.minimum:g} and {field.maximum:g}." if field.maximum is not None else f"At least {field.minimum or 0:g}."
        )
    return number


def split(cls: type[Provider], values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what may be shown, what goes to the vault). A list with a secret field goes to the vault whole."""
    public, secret = {}, {}
    for field in cls.credential_fields:
        hidden = field.secret or any(inner.secret for inner in field.fields)
        (secret if hidden else public)[field.name] = values.get(field.name)
    return public, {name: value for name, value in secret.items() if value not in (None, "")}
