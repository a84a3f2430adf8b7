"""The first admin of an installation."""

from __future__ import annotations

from accounts.people import create_first_admin


def ensure_admin() -> str:
    """Make the first admin when there is nobody. Returns: the lines that say who it is, or nothing."""
    made = create_first_admin()
    if made is None:
        return ""
    user, password = made
    shown = f"{password}  (for one use: you choose another at the first sign-in)" if password else "the one of MIST_ADMIN_PASSWORD"
    return f"  E-mail:   {user.email}\n  Password: {shown}"
