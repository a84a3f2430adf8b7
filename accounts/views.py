"""The page behind an invitation's link: join, or make an account first."""

from __future__ import annotations

from django import forms
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from accounts import people
from accounts.auth import address_of
from accounts.models import User
from core.errors import Invalid, NotFound


class JoinForm(forms.Form):
    """Name and password of a new account; the address is the invited one."""

    first_name = forms.CharField(
        max_length=100, required=False, widget=forms.TextInput(attrs={"class": "in", "autocomplete": "given-name"})
    )
    last_name = forms.CharField(
        max_length=100, required=False, widget=forms.TextInput(attrs={"class": "in", "autocomplete": "family-name"})
    )
    password = forms.CharField(
        max_length=4096, strip=False, widget=forms.PasswordInput(attrs={"class": "in", "autocomplete": "new-password"})
    )


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "POST"])
def invitation(request: HttpRequest, secret: str) -> HttpResponse:
    """Shows who invites whom; joins on POST. Whoever has an account signs in to it first; the link is no password."""
    try:
        row = people.invitation_of(secret)
    except NotFound as error:
        return render(request, "account/invitation.html", {"gone": error.detail}, status=404)
    known = User.objects.filter(email__iexact=row.email).first()
    user = request.user if request.user.is_authenticated else None
    form = JoinForm(request.POST or None) if known is None and user is None else None
    context = {"invitation": row, "form": form, "other": user is not None and user.email.lower() != row.email.lower()}
    if request.method == "GET" or context["other"]:
        if known is not None and user is None:
            return HttpResponseRedirect(f"{reverse('account_login')}?next={request.path}")
        return render(request, "account/invitation.html", context)
    if user is None:
        if form is None:
            return HttpResponseRedirect(f"{reverse('account_login')}?next={request.path}")
        if not form.is_valid():
            return render(request, "account/invitation.html", context, status=422)
        names = {"first_name": form.cleaned_data["first_name"], "last_name": form.cleaned_data["last_name"]}
        try:
            people.check_new_password(form.cleaned_data["password"], User(email=row.email, **names))
        except Invalid as error:
            form.add_error("password", error.fields["password"])
            return render(request, "account/invitation.html", context, status=422)
        user = people.join(secret, form.cleaned_data["password"], address=address_of(request), **names)
        people.sign_in(request, user)
    else:
        people.accept(secret, user, address=address_of(request))
    return HttpResponseRedirect("/")
