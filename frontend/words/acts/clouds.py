"""Acts on clouds and what lives in them beside machines."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from frontend.words.acts.act import Act

ACTS: dict[str, Act] = {
    "image.star": Act(
        label=_("Star"),
        doing=_("Changing the star of {}"),
        done=_("Star of {} changed"),
        undone=_("Star of {} was not changed"),
        icon="star",
        did=_("changed the star of {}"),
    ),
    "cloud.create": Act(
        label=_("Add cloud"),
        doing=_("Adding {}"),
        done=_("{} added"),
        undone=_("{} was not added"),
        undones=_("{} were not added"),
        icon="plus",
        did=_("added {}"),
    ),
    "cloud.edit": Act(
        label=_("Edit"),
        doing=_("Editing {}"),
        done=_("{} edited"),
        undone=_("{} was not edited"),
        undones=_("{} were not edited"),
        icon="pencil",
        did=_("edited {}"),
    ),
    "cloud.rotate": Act(
        label=_("Change credentials"),
        doing=_("Changing credentials of {}"),
        done=_("{} has other credentials"),
        undone=_("{} was not given other credentials"),
        undones=_("{} were not given other credentials"),
        icon="key-round",
        order=_("Change the credentials of {}"),
        did=_("changed the credentials of {}"),
    ),
    "cloud.refresh": Act(
        label=_("Read again"),
        doing=_("Reading {}"),
        done=_("{} is being read again"),
        undone=_("{} was not read again"),
        undones=_("{} were not read again"),
        icon="refresh-cw",
        did=_("had {} read again"),
    ),
    "cloud.tag": Act(
        label=_("Tag"),
        doing=_("Tagging {}"),
        done=_("{} tagged"),
        undone=_("{} was not tagged"),
        undones=_("{} were not tagged"),
        icon="tag",
        did=_("tagged {}"),
    ),
    "cloud.remove": Act(
        label=_("Remove cloud"),
        doing=_("Removing {}"),
        done=_("{} removed"),
        undone=_("{} was not removed"),
        undones=_("{} were not removed"),
        icon="trash-2",
        effect=_("Mist forgets the cloud, its credentials and what it listed. Nothing at the provider is touched."),
        critical=True,
        did=_("removed {}"),
    ),
    "volume.delete": Act(
        label=_("Delete"),
        doing=_("Deleting {}"),
        done=_("{} deleted"),
        undone=_("{} was not deleted"),
        undones=_("{} were not deleted"),
        icon="trash-2",
        effect=_("All that is on it is lost."),
        critical=True,
        did=_("deleted {}"),
    ),
}
