"""The table of acts: what each verb is called on a button, while it happens, when it has, and when it has not. CONSOLE.md §12."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


@dataclass(frozen=True, kw_only=True)
class Act:
    """One verb. `label`: on the button; `doing`, `done`, `undone` (it did not happen): with the thing's name. `effect`: what it means,
    in a confirmation."""

    label: Promise | str
    doing: Promise | str
    done: Promise | str
    undone: Promise | str
    icon: str = "zap"
    effect: Promise | str = ""
    effects: Promise | str = ""  # the same of several
    critical: bool = False


ACTS: dict[str, Act] = {
    "machine.start": Act(label=_("Start"), doing=_("Starting {}"), done=_("{} started"), undone=_("{} was not started"), icon="play"),
    "machine.stop": Act(
        label=_("Stop"),
        doing=_("Stopping {}"),
        done=_("{} stopped"),
        undone=_("{} was not stopped"),
        icon="square",
        effect=_("It is shut down. Start brings it back."),
        effects=_("They are shut down. Start brings them back."),
    ),
    "machine.reboot": Act(
        label=_("Reboot"),
        doing=_("Rebooting {}"),
        done=_("{} rebooted"),
        undone=_("{} was not rebooted"),
        icon="rotate-cw",
        effect=_("What runs on it is interrupted."),
        effects=_("What runs on them is interrupted."),
    ),
    "machine.power_cycle": Act(
        label=_("Power cycle"),
        doing=_("Power cycling {}"),
        done=_("{} power cycled"),
        undone=_("{} was not power cycled"),
        icon="power",
        effect=_("Its power is cut and given back. What was not written to disk is lost."),
        effects=_("Their power is cut and given back. What was not written to disk is lost."),
    ),
    "machine.suspend": Act(
        label=_("Suspend"),
        doing=_("Suspending {}"),
        done=_("{} suspended"),
        undone=_("{} was not suspended"),
        icon="pause",
        effect=_("It is frozen in memory. Resume lets it go on."),
        effects=_("They are frozen in memory. Resume lets them go on."),
    ),
    "machine.resume": Act(label=_("Resume"), doing=_("Resuming {}"), done=_("{} resumed"), undone=_("{} was not resumed"), icon="play"),
    "machine.resize": Act(
        label=_("Resize"),
        doing=_("Resizing {}"),
        done=_("{} resized"),
        undone=_("{} was not resized"),
        icon="scaling",
        effect=_("Many clouds resize stopped machines only."),
    ),
    "machine.rename": Act(label=_("Rename"), doing=_("Renaming {}"), done=_("{} renamed"), undone=_("{} was not renamed"), icon="pencil"),
    "machine.clone": Act(label=_("Clone"), doing=_("Cloning {}"), done=_("{} cloned"), undone=_("{} was not cloned"), icon="copy"),
    "machine.create_snapshot": Act(
        label=_("Take snapshot"),
        doing=_("Taking a snapshot of {}"),
        done=_("Snapshot of {} taken"),
        undone=_("No snapshot of {} was taken"),
        icon="camera",
    ),
    "machine.remove_snapshot": Act(
        label=_("Remove snapshot"),
        doing=_("Removing a snapshot of {}"),
        done=_("Snapshot of {} removed"),
        undone=_("Snapshot of {} was not removed"),
        icon="trash-2",
        effect=_("The snapshot cannot be brought back. The machine stays as it is."),
        critical=True,
    ),
    "machine.revert_to_snapshot": Act(
        label=_("Revert"),
        doing=_("Reverting {}"),
        done=_("{} reverted"),
        undone=_("{} was not reverted"),
        icon="undo-2",
        effect=_("What happened on it since the snapshot is lost."),
        critical=True,
    ),
    "machine.list_snapshots": Act(
        label=_("Look again"),
        doing=_("Reading the snapshots of {}"),
        done=_("Snapshots of {} read"),
        undone=_("Snapshots of {} were not read"),
        icon="refresh-cw",
    ),
    "machine.destroy": Act(
        label=_("Destroy"),
        doing=_("Destroying {}"),
        done=_("{} destroyed"),
        undone=_("{} was not destroyed"),
        icon="trash-2",
        effect=_("It stops at once and cannot be brought back."),
        effects=_("They stop at once and cannot be brought back."),
        critical=True,
    ),
    "machine.undefine": Act(
        label=_("Undefine"),
        doing=_("Undefining {}"),
        done=_("{} undefined"),
        undone=_("{} was not undefined"),
        icon="eraser",
        effect=_("It leaves its hypervisor’s books. Its disk images stay unless you say otherwise."),
        critical=True,
    ),
    "machine.remove": Act(
        label=_("Forget"),
        doing=_("Forgetting {}"),
        done=_("{} forgotten"),
        undone=_("{} was not forgotten"),
        icon="eye-off",
        effect=_("It leaves this list. Nothing at the provider is touched."),
    ),
    "machine.shell": Act(
        label=_("Shell"),
        doing=_("Opening a shell on {}"),
        done=_("Shell on {}"),
        undone=_("No shell was opened on {}"),
        icon="square-terminal",
    ),
    "session.watch": Act(
        label=_("Watch"),
        doing=_("Watching the shell on {}"),
        done=_("Shell on {} watched"),
        undone=_("Shell on {} was not watched"),
        icon="eye",
    ),
    "session.join": Act(
        label=_("Join"),
        doing=_("Joining the shell on {}"),
        done=_("Shell on {} joined"),
        undone=_("Shell on {} was not joined"),
        icon="square-terminal",
    ),
    "session.replay": Act(
        label=_("Replay"),
        doing=_("Replaying the shell on {}"),
        done=_("Shell on {} replayed"),
        undone=_("Shell on {} was not replayed"),
        icon="play",
    ),
    "session.kill": Act(
        label=_("End"),
        doing=_("Ending the shell on {}"),
        done=_("Shell on {} is being ended"),
        undone=_("Shell on {} was not ended"),
        icon="square",
        effect=_("What runs in it is cut off. The recording stays."),
    ),
    "session.delete": Act(
        label=_("Delete"),
        doing=_("Deleting the recording of {}"),
        done=_("Recording of {} deleted"),
        undone=_("Recording of {} was not deleted"),
        icon="trash-2",
        effect=_("The recording cannot be brought back. The audit log keeps that it was."),
        critical=True,
    ),
    "machine.push_tags": Act(
        label=_("Send tags"),
        doing=_("Sending the tags of {} to its cloud"),
        done=_("Tags of {} sent to its cloud"),
        undone=_("Tags of {} were not sent to its cloud"),
        icon="tag",
    ),
    "machine.tag": Act(label=_("Tag"), doing=_("Tagging {}"), done=_("{} tagged"), undone=_("{} was not tagged"), icon="tag"),
    "machine.set_owner": Act(
        label=_("Set owner"),
        doing=_("Giving {} an owner"),
        done=_("{} has another owner"),
        undone=_("{} was not given another owner"),
        icon="user",
    ),
    "machine.set_expiration": Act(
        label=_("Set end date"),
        doing=_("Dating {}"),
        done=_("{} has another end date"),
        undone=_("{} was not given another end date"),
        icon="calendar-clock",
    ),
    "machine.extend": Act(
        label=_("Extend by a day"), doing=_("Extending {}"), done=_("{} extended"), undone=_("{} was not extended"), icon="calendar-plus"
    ),
    "machine.edit": Act(label=_("Set address"), doing=_("Editing {}"), done=_("{} edited"), undone=_("{} was not edited"), icon="map-pin"),
    "machine.associate_key": Act(
        label=_("Associate key"),
        doing=_("Associating a key with {}"),
        done=_("{} has another key"),
        undone=_("{} was not given the key"),
        icon="key-round",
    ),
    "machine.disassociate_key": Act(
        label=_("Disassociate"),
        doing=_("Taking a key from {}"),
        done=_("{} has a key less"),
        undone=_("The key was not taken from {}"),
        icon="x",
    ),
    "machine.trust_ca": Act(
        label=_("Trust the certificate authority"),
        doing=_("Having {} trust the certificate authority"),
        done=_("{} trusts the certificate authority"),
        undone=_("{} was not made to trust the certificate authority"),
        icon="shield-check",
    ),
    "machine.distrust_ca": Act(
        label=_("Trust it no more"),
        doing=_("Taking the certificate authority from {}"),
        done=_("{} trusts the certificate authority no more"),
        undone=_("The certificate authority was not taken from {}"),
        icon="x",
        effect=_("Nobody is let in by a certificate of the organization any more."),
    ),
    "authority.create": Act(
        label=_("Make an authority"), doing=_("Making {}"), done=_("{} made"), undone=_("{} was not made"), icon="plus"
    ),
    "authority.rotate": Act(
        label=_("Rotate"), doing=_("Rotating {}"), done=_("{} rotated"), undone=_("{} was not rotated"), icon="refresh-cw"
    ),
    "authority.delete": Act(
        label=_("Delete"), doing=_("Deleting {}"), done=_("{} deleted"), undone=_("{} was not deleted"), icon="trash-2", critical=True
    ),
    "machine.create": Act(label=_("Create"), doing=_("Creating {}"), done=_("{} created"), undone=_("{} was not created"), icon="plus"),
    "machine.run": Act(
        label=_("Run script"),
        doing=_("Running a script on {}"),
        done=_("Script run on {}"),
        undone=_("Script was not run to its end on {}"),
        icon="file-code",
    ),
    "script.create": Act(label=_("New script"), doing=_("Making {}"), done=_("{} made"), undone=_("{} was not made"), icon="plus"),
    "script.edit": Act(label=_("Edit"), doing=_("Editing {}"), done=_("{} edited"), undone=_("{} was not edited"), icon="pencil"),
    "script.tag": Act(label=_("Tag"), doing=_("Tagging {}"), done=_("{} tagged"), undone=_("{} was not tagged"), icon="tag"),
    "script.run": Act(label=_("Run"), doing=_("Running {}"), done=_("{} run"), undone=_("{} was not run to its end"), icon="play"),
    "script.delete": Act(
        label=_("Delete"), doing=_("Deleting {}"), done=_("{} deleted"), undone=_("{} was not deleted"), icon="trash-2", critical=True
    ),
    "preset.create": Act(
        label=_("Save preset"), doing=_("Saving preset {}"), done=_("Preset {} saved"), undone=_("Preset {} was not saved"), icon="bookmark"
    ),
    "preset.edit": Act(
        label=_("Edit preset"),
        doing=_("Editing preset {}"),
        done=_("Preset {} edited"),
        undone=_("Preset {} was not edited"),
        icon="pencil",
    ),
    "preset.delete": Act(
        label=_("Delete preset"),
        doing=_("Deleting preset {}"),
        done=_("Preset {} deleted"),
        undone=_("Preset {} was not deleted"),
        icon="trash-2",
    ),
    "view.create": Act(
        label=_("Save view"), doing=_("Saving view {}"), done=_("View {} saved"), undone=_("View {} was not saved"), icon="star"
    ),
    "view.edit": Act(
        label=_("Edit view"), doing=_("Editing view {}"), done=_("View {} edited"), undone=_("View {} was not edited"), icon="pencil"
    ),
    "view.delete": Act(
        label=_("Delete view"), doing=_("Deleting view {}"), done=_("View {} deleted"), undone=_("View {} was not deleted"), icon="trash-2"
    ),
    "image.star": Act(
        label=_("Star"),
        doing=_("Changing the star of {}"),
        done=_("Star of {} changed"),
        undone=_("Star of {} was not changed"),
        icon="star",
    ),
    "team.create": Act(label=_("Make team"), doing=_("Making {}"), done=_("{} made"), undone=_("{} was not made"), icon="users"),
    "team.edit": Act(label=_("Edit"), doing=_("Editing {}"), done=_("{} edited"), undone=_("{} was not edited"), icon="pencil"),
    "team.set_policy": Act(
        label=_("Set policy"),
        doing=_("Setting the policy of {}"),
        done=_("Policy of {} set"),
        undone=_("Policy of {} was not set"),
        icon="shield-check",
    ),
    "team.add_member": Act(
        label=_("Add member"),
        doing=_("Adding somebody to {}"),
        done=_("Somebody added to {}"),
        undone=_("Nobody was added to {}"),
        icon="plus",
    ),
    "team.remove_member": Act(
        label=_("Remove member"),
        doing=_("Taking somebody from {}"),
        done=_("Somebody taken from {}"),
        undone=_("Nobody was taken from {}"),
        icon="x",
    ),
    "team.delete": Act(
        label=_("Delete team"), doing=_("Deleting {}"), done=_("{} deleted"), undone=_("{} was not deleted"), icon="trash-2", critical=True
    ),
    "token.create": Act(
        label=_("Make token"), doing=_("Making token {}"), done=_("Token {} made"), undone=_("Token {} was not made"), icon="key-square"
    ),
    "token.delete": Act(
        label=_("Revoke token"), doing=_("Revoking token {}"), done=_("Token {} revoked"), undone=_("Token {} was not revoked"), icon="x"
    ),
    "invitation.create": Act(
        label=_("Invite"), doing=_("Inviting somebody"), done=_("Somebody invited"), undone=_("Nobody was invited"), icon="plus"
    ),
    "invitation.delete": Act(
        label=_("Withdraw"),
        doing=_("Withdrawing an invitation"),
        done=_("Invitation withdrawn"),
        undone=_("Invitation was not withdrawn"),
        icon="x",
    ),
    "org.create": Act(label=_("Make organization"), doing=_("Making {}"), done=_("{} made"), undone=_("{} was not made"), icon="plus"),
    "org.transfer": Act(
        label=_("Transfer"), doing=_("Transferring {}"), done=_("{} transferred"), undone=_("{} was not transferred"), icon="arrow-right"
    ),
    "member.remove": Act(label=_("Remove member"), doing=_("Removing {}"), done=_("{} removed"), undone=_("{} was not removed"), icon="x"),
    "member.ask": Act(
        label=_("Ask for access"),
        doing=_("Asking the owners for access"),
        done=_("Owners asked for access"),
        undone=_("Owners were not asked for access"),
        icon="hand",
    ),
    "member.decline": Act(
        label=_("Decline"),
        doing=_("Declining a request for access"),
        done=_("A request for access declined"),
        undone=_("No request for access was declined"),
        icon="x",
    ),
    "org.edit": Act(label=_("Edit"), doing=_("Editing {}"), done=_("{} edited"), undone=_("{} was not edited"), icon="pencil"),
    "cloud.create": Act(label=_("Add cloud"), doing=_("Adding {}"), done=_("{} added"), undone=_("{} was not added"), icon="plus"),
    "cloud.edit": Act(label=_("Edit"), doing=_("Editing {}"), done=_("{} edited"), undone=_("{} was not edited"), icon="pencil"),
    "cloud.rotate": Act(
        label=_("Change credentials"),
        doing=_("Changing credentials of {}"),
        done=_("{} has other credentials"),
        undone=_("{} was not given other credentials"),
        icon="key-round",
    ),
    "cloud.refresh": Act(
        label=_("Read again"), doing=_("Reading {}"), done=_("{} is being read again"), undone=_("{} was not read again"), icon="refresh-cw"
    ),
    "cloud.tag": Act(label=_("Tag"), doing=_("Tagging {}"), done=_("{} tagged"), undone=_("{} was not tagged"), icon="tag"),
    "cloud.remove": Act(
        label=_("Remove cloud"),
        doing=_("Removing {}"),
        done=_("{} removed"),
        undone=_("{} was not removed"),
        icon="trash-2",
        effect=_("Mist forgets the cloud, its credentials and what it listed. Nothing at the provider is touched."),
        critical=True,
    ),
    "secret.create": Act(label=_("New secret"), doing=_("Keeping {}"), done=_("{} kept"), undone=_("{} was not kept"), icon="plus"),
    "secret.adopt": Act(label=_("Adopt"), doing=_("Adopting {}"), done=_("{} adopted"), undone=_("{} was not adopted"), icon="plus"),
    "secret.edit": Act(label=_("Edit"), doing=_("Editing {}"), done=_("{} edited"), undone=_("{} was not edited"), icon="pencil"),
    "secret.restore": Act(
        label=_("Restore"), doing=_("Restoring {}"), done=_("{} restored"), undone=_("{} was not restored"), icon="undo-2"
    ),
    "secret.refresh": Act(
        label=_("Look again"),
        doing=_("Looking at {}"),
        done=_("{} looked at again"),
        undone=_("{} was not looked at again"),
        icon="refresh-cw",
    ),
    "secret.read_value": Act(
        label=_("Show values"),
        doing=_("Showing values of {}"),
        done=_("Values of {} shown"),
        undone=_("Values of {} were not shown"),
        icon="eye",
    ),
    "secret.use": Act(label=_("Use"), doing=_("Using {}"), done=_("{} used"), undone=_("{} was not used"), icon="arrow-right"),
    "secret.tag": Act(label=_("Tag"), doing=_("Tagging {}"), done=_("{} tagged"), undone=_("{} was not tagged"), icon="tag"),
    "secret.delete": Act(
        label=_("Delete"), doing=_("Deleting {}"), done=_("{} deleted"), undone=_("{} was not deleted"), icon="trash-2", critical=True
    ),
    "secret_store.create": Act(label=_("Add store"), doing=_("Adding {}"), done=_("{} added"), undone=_("{} was not added"), icon="plus"),
    "secret_store.edit": Act(
        label=_("Edit store"), doing=_("Editing {}"), done=_("{} edited"), undone=_("{} was not edited"), icon="pencil"
    ),
    "secret_store.delete": Act(
        label=_("Forget store"),
        doing=_("Forgetting {}"),
        done=_("{} forgotten"),
        undone=_("{} was not forgotten"),
        icon="trash-2",
        critical=True,
    ),
    "export.create": Act(label=_("Make file"), doing=_("Making {}"), done=_("{} is ready"), undone=_("{} was not made"), icon="file-down"),
    "export.delete": Act(
        label=_("Delete file"), doing=_("Deleting {}"), done=_("{} deleted"), undone=_("{} was not deleted"), icon="trash-2", critical=True
    ),
    "key.create": Act(label=_("Add key"), doing=_("Adding {}"), done=_("{} added"), undone=_("{} was not added"), icon="plus"),
    "key.edit": Act(label=_("Edit"), doing=_("Editing {}"), done=_("{} edited"), undone=_("{} was not edited"), icon="pencil"),
    "key.tag": Act(label=_("Tag"), doing=_("Tagging {}"), done=_("{} tagged"), undone=_("{} was not tagged"), icon="tag"),
    "key.export": Act(label=_("Export"), doing=_("Exporting {}"), done=_("{} exported"), undone=_("{} was not exported"), icon="download"),
    "host_key.trust": Act(
        label=_("Trust host"), doing=_("Trusting {}"), done=_("{} trusted"), undone=_("{} was not trusted"), icon="shield-check"
    ),
    "host_key.retrust": Act(
        label=_("Trust new host key"), doing=_("Trusting {}"), done=_("{} trusted"), undone=_("{} was not trusted"), icon="shield-check"
    ),
    "host_key.delete": Act(
        label=_("Forget host key"), doing=_("Forgetting {}"), done=_("{} forgotten"), undone=_("{} was not forgotten"), icon="trash-2"
    ),
    "key.delete": Act(
        label=_("Delete"),
        doing=_("Deleting {}"),
        done=_("{} deleted"),
        undone=_("{} was not deleted"),
        icon="trash-2",
        effect=_("Machines keep it in their authorized_keys; Mist can no longer use it."),
        critical=True,
    ),
}
