"""Acts on scripts and exports."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from frontend.words.acts.act import Act

ACTS: dict[str, Act] = {
    "script.create": Act(
        label=_("New script"),
        doing=_("Making {}"),
        done=_("{} made"),
        undone=_("{} was not made"),
        undones=_("{} were not made"),
        icon="plus",
        did=_("made {}"),
    ),
    "script.edit": Act(
        label=_("Edit"),
        doing=_("Editing {}"),
        done=_("{} edited"),
        undone=_("{} was not edited"),
        undones=_("{} were not edited"),
        icon="pencil",
        did=_("edited {}"),
    ),
    "script.tag": Act(
        label=_("Tag"),
        doing=_("Tagging {}"),
        done=_("{} tagged"),
        undone=_("{} was not tagged"),
        undones=_("{} were not tagged"),
        icon="tag",
        did=_("tagged {}"),
    ),
    "script.run": Act(
        label=_("Run"), doing=_("Running {}"), done=_("{} run"), undone=_("{} was not run to its end"), icon="play", did=_("ran {}")
    ),
    "script.delete": Act(
        label=_("Delete"),
        doing=_("Deleting {}"),
        done=_("{} deleted"),
        undone=_("{} was not deleted"),
        undones=_("{} were not deleted"),
        icon="trash-2",
        critical=True,
        did=_("deleted {}"),
    ),
    "export.create": Act(
        label=_("Make file"),
        doing=_("Making {}"),
        done=_("{} is ready"),
        undone=_("{} was not made"),
        undones=_("{} were not made"),
        icon="file-down",
        did=_("made {}"),
    ),
    "export.delete": Act(
        label=_("Delete file"),
        doing=_("Deleting {}"),
        done=_("{} deleted"),
        undone=_("{} was not deleted"),
        icon="trash-2",
        critical=True,
        did=_("deleted {}"),
    ),
}
