"""Letters: to who is invited, to owners whom somebody asks for access, and to who asked."""

from __future__ import annotations

import logging
from smtplib import SMTPException

from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string

from accounts.models import Invitation, Membership, Team, User

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


def send_request(member: Membership, owners: list[User]) -> int:
    """Tell these owners who asks for what, each in a letter of their own.  Returns: how many could be sent."""
    context = {"member": member, "link": f"{settings.MIST_PUBLIC_URL}/o/{member.org.slug}/teams#asks"}
    body = render_to_string("account/email/access.txt", context)
    subject = f"{' '.join(member.user.full_name.split())} asks for access to {' '.join(member.org.name.split())}"
    sent = 0
    for owner in owners:
        try:
            sent += send_mail(subject, body, None, [owner.email])
        except (OSError, SMTPException):
            log.exception("the request of the member %s could not be mailed to %s", member.pk, owner.pk)
    return sent


def send_answer(member: Membership, reason: str, team: Team | None = None) -> bool:
    """Tell who asked for access that they are in this team now; no team: that it was declined.  Returns: was it sent?"""
    context = {"member": member, "reason": reason, "team": team, "link": f"{settings.MIST_PUBLIC_URL}/o/{member.org.slug}/"}
    body = render_to_string("account/email/answer.txt", context)
    said = "have access to" if team is not None else "were not given access to"
    try:
        return bool(send_mail(f"You {said} {' '.join(member.org.name.split())}", body, None, [member.user.email]))
    except (OSError, SMTPException):
        log.exception("the answer to the member %s could not be mailed", member.pk)
        return False
