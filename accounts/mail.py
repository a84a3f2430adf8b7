"""Letters to people who are not signed in."""

from __future__ import annotations

import logging
from smtplib import SMTPException

from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string

from accounts.models import Invitation, User

log = logging.getLogger(__name__)


def link_of(secret: str) -> str:
    """Where an invitation is accepted."""
    return f"{settings.MIST_PUBLIC_URL}/invitations/{secret}"


def send_invitation(invitation: Invitation, secret: str, by: User | None) -> bool:
    """Send the link. Returns: was it sent? The one who invites has the link either way."""
    context = {"invitation": invitation, "link": link_of(secret), "by": by, "public_url": settings.MIST_PUBLIC_URL}
    body = render_to_string("account/email/invitation.txt", context)
    subject = f"Join {' '.join(invitation.org.name.split())} on Mist"
    try:
        return bool(send_mail(subject, body, None, [invitation.email]))
    except (OSError, SMTPException):
        log.exception("the invitation %s could not be mailed", invitation.pk)
        return False
