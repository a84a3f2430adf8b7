"""Letters: to who is invited, to who can give access or approval that somebody asks for, and to who asked."""

from __future__ import annotations

import logging
from smtplib import SMTPException

from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string

from accounts.models import Invitation, Membership, Organization, Team, User
from core.models import Job

log = logging.getLogger(__name__)


def link_of(secret: str) -> str:
    """Where an invitation is accepted."""
    return f"{settings.MIST_PUBLIC_URL}/invitations/{secret}"


def send_invitation(invitation: Invitation, secret: str, by: User | None) -> bool:
    """Send the link. Returns: was it sent? The one who invites has the link either way."""
    context = {"invitation": invitation, "link": link_of(secret), "by": by, "public_url": settings.MIST_PUBLIC_URL}
    body = render_to_string("account/email/invitation.txt", context)
    subject = f"Join {in_a_line(invitation.org.name)} on Mist"
    return _sent(subject, body, invitation.email, f"invitation {invitation.pk}")


def send_request(member: Membership, owners: list[User]) -> int:
    """Tell these owners who asks for what, each in a letter of their own.  Returns: how many could be sent."""
    context = {"member": member, "link": f"{settings.MIST_PUBLIC_URL}/o/{member.org.slug}/teams#asks"}
    body = render_to_string("account/email/access.txt", context)
    subject = f"{in_a_line(member.user.full_name)} asks for access to {in_a_line(member.org.name)}"
    return sum(_sent(subject, body, owner.email, f"request of the member {member.pk}") for owner in owners)


def send_answer(member: Membership, reason: str, team: Team | None = None) -> bool:
    """Tell who asked for access that they are in this team now; no team: that it was declined.  Returns: was it sent?"""
    context = {"member": member, "reason": reason, "team": team, "link": f"{settings.MIST_PUBLIC_URL}/o/{member.org.slug}/"}
    body = render_to_string("account/email/answer.txt", context)
    said = "have access to" if team is not None else "were not given access to"
    return _sent(f"You {said} {in_a_line(member.org.name)}", body, member.user.email, f"answer to the member {member.pk}")


def send_asked(org: Organization, job: Job, approvers: list[User], names: list[str]) -> int:
    """Tell these that somebody asks for their approval, each in a letter of their own.  Returns: how many could be sent."""
    body = render_to_string("account/email/approval.txt", _of_approval(org, job, names))
    subject = f"{in_a_line(job.user.full_name) if job.user else 'Somebody'} asks for approval: {_order(job)}"
    return sum(_sent(subject, body, user.email, f"letter about the job {job.pk}") for user in approvers)


def send_answered(org: Organization, job: Job, names: list[str]) -> bool:
    """Tell who asked for approval what came of that.  Returns: was it sent?"""
    body = render_to_string("account/email/approved.txt", _of_approval(org, job, names))
    said = "Approved" if job.approved_at else "Not approved"
    return job.user is not None and _sent(f"{said}: {_order(job)}", body, job.user.email, f"letter about the job {job.pk}")


def _of_approval(org: Organization, job: Job, names: list[str]) -> dict[str, object]:
    """What others wrote stands in one line each: a line of its own would read as ours."""
    said = {name: in_a_line(getattr(job, name)) for name in ("ask", "needs", "answer")}
    people = {name: _named(getattr(job, name)) for name in ("user", "answered_by")}
    return {
        "org": {"name": in_a_line(org.name)},
        "job": {**said, **people, "approved_at": job.approved_at, "error_code": job.error_code},
        "names": [in_a_line(name) for name in names],
        "more": max(0, (job.total or 0) - len(names)),
        "order": _order(job),
        "link": f"{settings.MIST_PUBLIC_URL}/o/{org.slug}/jobs/{job.pk.hex}",
    }


def in_a_line(text: str) -> str:
    return " ".join(text.split())


def _named(user: User | None) -> dict[str, str] | None:
    return None if user is None else {"full_name": in_a_line(user.full_name), "email": user.email}


def _order(job: Job) -> str:
    """“destroy kafka-3”."""
    return f"{job.action.partition('.')[2].replace('_', ' ')} {in_a_line(job.target_name)}"


def _sent(subject: str, body: str, to: str, which: str) -> bool:
    """One letter to one address. Was it sent? Where it could not be, the log says `which`, and not to whom."""
    try:
        return bool(send_mail(subject[:200], body, None, [to]))
    except (OSError, SMTPException):
        log.exception("the %s could not be mailed", which)
        return False
