"""The table of acts: what each verb is called on a button, while it happens, when it has, and when it has not. CONSOLE.md §12."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


@dataclass(frozen=True, kw_only=True)
class Act:
    """One verb. `label`: on the button; `doing`, `done`, `undone` (it did not happen): with the thing's name. `effect`: what it means,
    in a confirmation. `order`: what is asked for, where that is not the label and the name; `did`: of somebody, after their name.
    """

    label: Promise | str
    doing: Promise | str
    done: Promise | str
    undone: Promise | str
    icon: str = "zap"
    effect: Promise | str = ""
    effects: Promise | str = ""  # the same of several
    critical: bool = False
    order: Promise | str = ""
    did: Promise | str = ""


ACTS: dict[str, Act] = {
    "machine.start": Act(
        label=_("Start"), doing=_("Starting {}"), done=_("{} started"), undone=_("{} was not started"), icon="play", did=_("started {}")
    ),
    "machine.stop": Act(
        label=_("Stop"),
        doing=_("Stopping {}"),
        done=_("{} stopped"),
        undone=_("{} was not stopped"),
        icon="square",
        effect=_("It is shut down. Start brings it back."),
        effects=_("They are shut down. Start brings them back."),
        did=_("stopped {}"),
    ),
    "machine.reboot": Act(
        label=_("Reboot"),
        doing=_("Rebooting {}"),
        done=_("{} rebooted"),
        undone=_("{} was not rebooted"),
        icon="rotate-cw",
        effect=_("What runs on it is interrupted."),
        effects=_("What runs on them is interrupted."),
        did=_("rebooted {}"),
    ),
    "machine.power_cycle": Act(
        label=_("Power cycle"),
        doing=_("Power cycling {}"),
        done=_("{} power cycled"),
        undone=_("{} was not power cycled"),
        icon="power",
        effect=_("Its power is cut and given back. What was not written to disk is lost."),
        effects=_("Their power is cut and given back. What was not written to disk is lost."),
        did=_("power cycled {}"),
    ),
    "machine.suspend": Act(
        label=_("Suspend"),
        doing=_("Suspending {}"),
        done=_("{} suspended"),
        undone=_("{} was not suspended"),
        icon="pause",
        effect=_("It is frozen in memory. Resume lets it go on."),
        effects=_("They are frozen in memory. Resume lets them go on."),
        did=_("suspended {}"),
    ),
    "machine.resume": Act(
        label=_("Resume"), doing=_("Resuming {}"), done=_("{} resumed"), undone=_("{} was not resumed"), icon="play", did=_("resumed {}")
    ),
    "machine.resize": Act(
        label=_("Resize"),
        doing=_("Resizing {}"),
        done=_("{} resized"),
        undone=_("{} was not resized"),
        icon="scaling",
        effect=_("Many clouds resize stopped machines only."),
        did=_("resized {}"),
    ),
    "machine.rename": Act(
        label=_("Rename"), doing=_("Renaming {}"), done=_("{} renamed"), undone=_("{} was not renamed"), icon="pencil", did=_("renamed {}")
    ),
    "machine.clone": Act(
        label=_("Clone"), doing=_("Cloning {}"), done=_("{} cloned"), undone=_("{} was not cloned"), icon="copy", did=_("cloned {}")
    ),
    "machine.create_snapshot": Act(
        label=_("Take snapshot"),
        doing=_("Taking a snapshot of {}"),
        done=_("Snapshot of {} taken"),
        undone=_("No snapshot of {} was taken"),
        icon="camera",
        order=_("Take a snapshot of {}"),
        did=_("took a snapshot of {}"),
    ),
    "machine.remove_snapshot": Act(
        label=_("Remove snapshot"),
        doing=_("Removing a snapshot of {}"),
        done=_("Snapshot of {} removed"),
        undone=_("Snapshot of {} was not removed"),
        icon="trash-2",
        effect=_("The snapshot cannot be brought back. The machine stays as it is."),
        critical=True,
        order=_("Remove a snapshot of {}"),
        did=_("removed a snapshot of {}"),
    ),
    "machine.revert_to_snapshot": Act(
        label=_("Revert"),
        doing=_("Reverting {}"),
        done=_("{} reverted"),
        undone=_("{} was not reverted"),
        icon="undo-2",
        effect=_("What happened on it since the snapshot is lost."),
        critical=True,
        did=_("reverted {}"),
    ),
    "machine.list_snapshots": Act(
        label=_("Look again"),
        doing=_("Reading the snapshots of {}"),
        done=_("Snapshots of {} read"),
        undone=_("Snapshots of {} were not read"),
        icon="refresh-cw",
        order=_("Read the snapshots of {}"),
        did=_("read the snapshots of {}"),
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
        did=_("destroyed {}"),
    ),
    "machine.undefine": Act(
        label=_("Undefine"),
        doing=_("Undefining {}"),
        done=_("{} undefined"),
        undone=_("{} was not undefined"),
        icon="eraser",
        effect=_("It leaves its hypervisor’s books. Its disk images stay unless you say otherwise."),
        critical=True,
        did=_("undefined {}"),
    ),
    "machine.remove": Act(
        label=_("Forget"),
        doing=_("Forgetting {}"),
        done=_("{} forgotten"),
        undone=_("{} was not forgotten"),
        icon="eye-off",
        effect=_("It leaves this list. Nothing at the provider is touched."),
        did=_("forgot {}"),
    ),
    "machine.shell": Act(
        label=_("Shell"),
        doing=_("Opening a shell on {}"),
        done=_("Shell on {}"),
        undone=_("No shell was opened on {}"),
        icon="square-terminal",
        order=_("Open a shell on {}"),
        did=_("opened a shell on {}"),
    ),
    "machine.upload": Act(
        label=_("Upload"),
        doing=_("Sending a file to {}"),
        done=_("A file was sent to {}"),
        undone=_("A file was not sent to {}"),
        icon="upload",
        order=_("Send a file to {}"),
        did=_("sent a file to {}"),
    ),
    "session.upload": Act(
        label=_("Upload"),
        doing=_("Sending a file to {}"),
        done=_("A file was sent to {}"),
        undone=_("A file was not sent to {}"),
        icon="upload",
        order=_("Send a file to {}"),
        did=_("sent a file to {}"),
    ),
    "session.watch": Act(
        label=_("Watch"),
        doing=_("Watching the shell on {}"),
        done=_("Shell on {} watched"),
        undone=_("Shell on {} was not watched"),
        icon="eye",
        order=_("Watch the shell on {}"),
        did=_("watched the shell on {}"),
    ),
    "session.join": Act(
        label=_("Join"),
        doing=_("Joining the shell on {}"),
        done=_("Shell on {} joined"),
        undone=_("Shell on {} was not joined"),
        icon="square-terminal",
        order=_("Join the shell on {}"),
        did=_("joined the shell on {}"),
    ),
    "session.replay": Act(
        label=_("Replay"),
        doing=_("Replaying the shell on {}"),
        done=_("Shell on {} replayed"),
        undone=_("Shell on {} was not replayed"),
        icon="play",
        order=_("Replay the shell on {}"),
        did=_("replayed the shell on {}"),
    ),
    "session.kill": Act(
        label=_("End"),
        doing=_("Ending the shell on {}"),
        done=_("Shell on {} is being ended"),
        undone=_("Shell on {} was not ended"),
        icon="square",
        effect=_("What runs in it is cut off. The recording stays."),
        order=_("End the shell on {}"),
        did=_("ended the shell on {}"),
    ),
    "session.delete": Act(
        label=_("Delete"),
        doing=_("Deleting the recording of {}"),
        done=_("Recording of {} deleted"),
        undone=_("Recording of {} was not deleted"),
        icon="trash-2",
        effect=_("The recording cannot be brought back. The audit log keeps that it was."),
        critical=True,
        order=_("Delete the recording of {}"),
        did=_("deleted the recording of {}"),
    ),
    "machine.push_tags": Act(
        label=_("Send tags"),
        doing=_("Sending the tags of {} to its cloud"),
        done=_("Tags of {} sent to its cloud"),
        undone=_("Tags of {} were not sent to its cloud"),
        icon="tag",
        order=_("Send the tags of {}"),
        did=_("sent the tags of {}"),
    ),
    "machine.tag": Act(
        label=_("Tag"), doing=_("Tagging {}"), done=_("{} tagged"), undone=_("{} was not tagged"), icon="tag", did=_("tagged {}")
    ),
    "machine.set_owner": Act(
        label=_("Set owner"),
        doing=_("Giving {} an owner"),
        done=_("{} has another owner"),
        undone=_("{} was not given another owner"),
        icon="user",
        order=_("Set the owner of {}"),
        did=_("set the owner of {}"),
    ),
    "machine.set_expiration": Act(
        label=_("Set end date"),
        doing=_("Dating {}"),
        done=_("{} has another end date"),
        undone=_("{} was not given another end date"),
        icon="calendar-clock",
        order=_("Set the end date of {}"),
        did=_("set the end date of {}"),
    ),
    "machine.extend": Act(
        label=_("Extend by a day"),
        doing=_("Extending {}"),
        done=_("{} extended"),
        undone=_("{} was not extended"),
        icon="calendar-plus",
        order=_("Extend {} by a day"),
        did=_("extended {}"),
    ),
    "machine.edit": Act(
        label=_("Set address"),
        doing=_("Editing {}"),
        done=_("{} edited"),
        undone=_("{} was not edited"),
        icon="map-pin",
        did=_("edited {}"),
    ),
    "machine.associate_key": Act(
        label=_("Associate key"),
        doing=_("Associating a key with {}"),
        done=_("{} has another key"),
        undone=_("{} was not given the key"),
        icon="key-round",
        order=_("Associate a key with {}"),
        did=_("associated a key with {}"),
    ),
    "machine.disassociate_key": Act(
        label=_("Disassociate"),
        doing=_("Taking a key from {}"),
        done=_("{} has a key less"),
        undone=_("The key was not taken from {}"),
        icon="x",
        order=_("Take a key from {}"),
        did=_("took a key from {}"),
    ),
    "machine.trust_ca": Act(
        label=_("Trust the certificate authority"),
        doing=_("Having {} trust the certificate authority"),
        done=_("{} trusts the certificate authority"),
        undone=_("{} was not made to trust the certificate authority"),
        icon="shield-check",
        order=_("Have {} trust the certificate authority"),
        did=_("had the certificate authority trusted on {}"),
    ),
    "machine.distrust_ca": Act(
        label=_("Trust it no more"),
        doing=_("Taking the certificate authority from {}"),
        done=_("{} trusts the certificate authority no more"),
        undone=_("The certificate authority was not taken from {}"),
        icon="x",
        effect=_("Nobody is let in by a certificate of the organization any more."),
        order=_("Take the certificate authority from {}"),
        did=_("took the certificate authority from {}"),
    ),
    "authority.create": Act(
        label=_("Make an authority"),
        doing=_("Making {}"),
        done=_("{} made"),
        undone=_("{} was not made"),
        icon="plus",
        did=_("made {}"),
    ),
    "authority.rotate": Act(
        label=_("Rotate"),
        doing=_("Rotating {}"),
        done=_("{} rotated"),
        undone=_("{} was not rotated"),
        icon="refresh-cw",
        did=_("rotated {}"),
    ),
    "authority.delete": Act(
        label=_("Delete"),
        doing=_("Deleting {}"),
        done=_("{} deleted"),
        undone=_("{} was not deleted"),
        icon="trash-2",
        critical=True,
        did=_("deleted {}"),
    ),
    "machine.create": Act(
        label=_("Create"), doing=_("Creating {}"), done=_("{} created"), undone=_("{} was not created"), icon="plus", did=_("created {}")
    ),
    "machine.run": Act(
        label=_("Run script"),
        doing=_("Running a script on {}"),
        done=_("Script run on {}"),
        undone=_("Script was not run to its end on {}"),
        icon="file-code",
        order=_("Run a script on {}"),
        did=_("ran a script on {}"),
    ),
    "script.create": Act(
        label=_("New script"), doing=_("Making {}"), done=_("{} made"), undone=_("{} was not made"), icon="plus", did=_("made {}")
    ),
    "script.edit": Act(
        label=_("Edit"), doing=_("Editing {}"), done=_("{} edited"), undone=_("{} was not edited"), icon="pencil", did=_("edited {}")
    ),
    "script.tag": Act(
        label=_("Tag"), doing=_("Tagging {}"), done=_("{} tagged"), undone=_("{} was not tagged"), icon="tag", did=_("tagged {}")
    ),
    "script.run": Act(
        label=_("Run"), doing=_("Running {}"), done=_("{} run"), undone=_("{} was not run to its end"), icon="play", did=_("ran {}")
    ),
    "script.delete": Act(
        label=_("Delete"),
        doing=_("Deleting {}"),
        done=_("{} deleted"),
        undone=_("{} was not deleted"),
        icon="trash-2",
        critical=True,
        did=_("deleted {}"),
    ),
    "preset.create": Act(
        label=_("Save preset"),
        doing=_("Saving preset {}"),
        done=_("Preset {} saved"),
        undone=_("Preset {} was not saved"),
        icon="bookmark",
        did=_("saved preset {}"),
    ),
    "preset.edit": Act(
        label=_("Edit preset"),
        doing=_("Editing preset {}"),
        done=_("Preset {} edited"),
        undone=_("Preset {} was not edited"),
        icon="pencil",
        did=_("edited preset {}"),
    ),
    "preset.delete": Act(
        label=_("Delete preset"),
        doing=_("Deleting preset {}"),
        done=_("Preset {} deleted"),
        undone=_("Preset {} was not deleted"),
        icon="trash-2",
        did=_("deleted preset {}"),
    ),
    "view.create": Act(
        label=_("Save view"),
        doing=_("Saving view {}"),
        done=_("View {} saved"),
        undone=_("View {} was not saved"),
        icon="star",
        did=_("saved view {}"),
    ),
    "view.edit": Act(
        label=_("Edit view"),
        doing=_("Editing view {}"),
        done=_("View {} edited"),
        undone=_("View {} was not edited"),
        icon="pencil",
        did=_("edited view {}"),
    ),
    "view.delete": Act(
        label=_("Delete view"),
        doing=_("Deleting view {}"),
        done=_("View {} deleted"),
        undone=_("View {} was not deleted"),
        icon="trash-2",
        did=_("deleted view {}"),
    ),
    "image.star": Act(
        label=_("Star"),
        doing=_("Changing the star of {}"),
        done=_("Star of {} changed"),
        undone=_("Star of {} was not changed"),
        icon="star",
        did=_("changed the star of {}"),
    ),
    "team.create": Act(
        label=_("Make team"), doing=_("Making {}"), done=_("{} made"), undone=_("{} was not made"), icon="users", did=_("made {}")
    ),
    "team.edit": Act(
        label=_("Edit"), doing=_("Editing {}"), done=_("{} edited"), undone=_("{} was not edited"), icon="pencil", did=_("edited {}")
    ),
    "team.set_policy": Act(
        label=_("Set policy"),
        doing=_("Setting the policy of {}"),
        done=_("Policy of {} set"),
        undone=_("Policy of {} was not set"),
        icon="shield-check",
        order=_("Set the policy of {}"),
        did=_("set the policy of {}"),
    ),
    "team.add_member": Act(
        label=_("Add member"),
        doing=_("Adding somebody to {}"),
        done=_("Somebody added to {}"),
        undone=_("Nobody was added to {}"),
        icon="plus",
        order=_("Add somebody to {}"),
        did=_("added somebody to {}"),
    ),
    "team.remove_member": Act(
        label=_("Remove member"),
        doing=_("Taking somebody from {}"),
        done=_("Somebody taken from {}"),
        undone=_("Nobody was taken from {}"),
        icon="x",
        order=_("Take somebody from {}"),
        did=_("took somebody from {}"),
    ),
    "team.delete": Act(
        label=_("Delete team"),
        doing=_("Deleting {}"),
        done=_("{} deleted"),
        undone=_("{} was not deleted"),
        icon="trash-2",
        critical=True,
        did=_("deleted {}"),
    ),
    "token.create": Act(
        label=_("Make token"),
        doing=_("Making token {}"),
        done=_("Token {} made"),
        undone=_("Token {} was not made"),
        icon="key-square",
        did=_("made token {}"),
    ),
    "token.delete": Act(
        label=_("Revoke token"),
        doing=_("Revoking token {}"),
        done=_("Token {} revoked"),
        undone=_("Token {} was not revoked"),
        icon="x",
        did=_("revoked token {}"),
    ),
    "invitation.create": Act(
        label=_("Invite"),
        doing=_("Inviting somebody"),
        done=_("Somebody invited"),
        undone=_("Nobody was invited"),
        icon="plus",
        order=_("Invite somebody"),
    ),
    "invitation.delete": Act(
        label=_("Withdraw"),
        doing=_("Withdrawing an invitation"),
        done=_("Invitation withdrawn"),
        undone=_("Invitation was not withdrawn"),
        icon="x",
        order=_("Withdraw an invitation"),
    ),
    "org.create": Act(
        label=_("Make organization"), doing=_("Making {}"), done=_("{} made"), undone=_("{} was not made"), icon="plus", did=_("made {}")
    ),
    "org.transfer": Act(
        label=_("Transfer"),
        doing=_("Transferring {}"),
        done=_("{} transferred"),
        undone=_("{} was not transferred"),
        icon="arrow-right",
        did=_("transferred {}"),
    ),
    "member.remove": Act(
        label=_("Remove member"),
        doing=_("Removing {}"),
        done=_("{} removed"),
        undone=_("{} was not removed"),
        icon="x",
        did=_("removed {}"),
    ),
    "member.ask": Act(
        label=_("Ask for access"),
        doing=_("Asking the owners for access"),
        done=_("Owners asked for access"),
        undone=_("Owners were not asked for access"),
        icon="hand",
        order=_("Ask the owners for access"),
    ),
    "member.decline": Act(
        label=_("Decline"),
        doing=_("Declining a request for access"),
        done=_("A request for access declined"),
        undone=_("No request for access was declined"),
        icon="x",
        order=_("Decline a request for access"),
    ),
    "org.edit": Act(
        label=_("Edit"), doing=_("Editing {}"), done=_("{} edited"), undone=_("{} was not edited"), icon="pencil", did=_("edited {}")
    ),
    "cloud.create": Act(
        label=_("Add cloud"), doing=_("Adding {}"), done=_("{} added"), undone=_("{} was not added"), icon="plus", did=_("added {}")
    ),
    "cloud.edit": Act(
        label=_("Edit"), doing=_("Editing {}"), done=_("{} edited"), undone=_("{} was not edited"), icon="pencil", did=_("edited {}")
    ),
    "cloud.rotate": Act(
        label=_("Change credentials"),
        doing=_("Changing credentials of {}"),
        done=_("{} has other credentials"),
        undone=_("{} was not given other credentials"),
        icon="key-round",
        order=_("Change the credentials of {}"),
        did=_("changed the credentials of {}"),
    ),
    "cloud.refresh": Act(
        label=_("Read again"),
        doing=_("Reading {}"),
        done=_("{} is being read again"),
        undone=_("{} was not read again"),
        icon="refresh-cw",
        did=_("had {} read again"),
    ),
    "cloud.tag": Act(
        label=_("Tag"), doing=_("Tagging {}"), done=_("{} tagged"), undone=_("{} was not tagged"), icon="tag", did=_("tagged {}")
    ),
    "cloud.remove": Act(
        label=_("Remove cloud"),
        doing=_("Removing {}"),
        done=_("{} removed"),
        undone=_("{} was not removed"),
        icon="trash-2",
        effect=_("Mist forgets the cloud, its credentials and what it listed. Nothing at the provider is touched."),
        critical=True,
        did=_("removed {}"),
    ),
    "secret.create": Act(
        label=_("New secret"), doing=_("Keeping {}"), done=_("{} kept"), undone=_("{} was not kept"), icon="plus", did=_("kept {}")
    ),
    "secret.adopt": Act(
        label=_("Adopt"), doing=_("Adopting {}"), done=_("{} adopted"), undone=_("{} was not adopted"), icon="plus", did=_("adopted {}")
    ),
    "secret.edit": Act(
        label=_("Edit"), doing=_("Editing {}"), done=_("{} edited"), undone=_("{} was not edited"), icon="pencil", did=_("edited {}")
    ),
    "secret.restore": Act(
        label=_("Restore"),
        doing=_("Restoring {}"),
        done=_("{} restored"),
        undone=_("{} was not restored"),
        icon="undo-2",
        did=_("restored {}"),
    ),
    "secret.refresh": Act(
        label=_("Look again"),
        doing=_("Looking at {}"),
        done=_("{} looked at again"),
        undone=_("{} was not looked at again"),
        icon="refresh-cw",
        did=_("looked again at {}"),
    ),
    "secret.read_value": Act(
        label=_("Show values"),
        doing=_("Showing values of {}"),
        done=_("Values of {} shown"),
        undone=_("Values of {} were not shown"),
        icon="eye",
        order=_("Show the values of {}"),
        did=_("looked at the values of {}"),
    ),
    "secret.use": Act(label=_("Use"), doing=_("Using {}"), done=_("{} used"), undone=_("{} was not used"), icon="arrow-right"),
    "secret.tag": Act(
        label=_("Tag"), doing=_("Tagging {}"), done=_("{} tagged"), undone=_("{} was not tagged"), icon="tag", did=_("tagged {}")
    ),
    "secret.delete": Act(
        label=_("Delete"),
        doing=_("Deleting {}"),
        done=_("{} deleted"),
        undone=_("{} was not deleted"),
        icon="trash-2",
        critical=True,
        did=_("deleted {}"),
    ),
    "secret_store.create": Act(
        label=_("Add store"), doing=_("Adding {}"), done=_("{} added"), undone=_("{} was not added"), icon="plus", did=_("added {}")
    ),
    "secret_store.edit": Act(
        label=_("Edit store"),
        doing=_("Editing {}"),
        done=_("{} edited"),
        undone=_("{} was not edited"),
        icon="pencil",
        did=_("edited {}"),
    ),
    "secret_store.delete": Act(
        label=_("Forget store"),
        doing=_("Forgetting {}"),
        done=_("{} forgotten"),
        undone=_("{} was not forgotten"),
        icon="trash-2",
        critical=True,
        did=_("forgot {}"),
    ),
    "export.create": Act(
        label=_("Make file"), doing=_("Making {}"), done=_("{} is ready"), undone=_("{} was not made"), icon="file-down", did=_("made {}")
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
    "key.create": Act(
        label=_("Add key"), doing=_("Adding {}"), done=_("{} added"), undone=_("{} was not added"), icon="plus", did=_("added {}")
    ),
    "key.edit": Act(
        label=_("Edit"), doing=_("Editing {}"), done=_("{} edited"), undone=_("{} was not edited"), icon="pencil", did=_("edited {}")
    ),
    "key.tag": Act(
        label=_("Tag"), doing=_("Tagging {}"), done=_("{} tagged"), undone=_("{} was not tagged"), icon="tag", did=_("tagged {}")
    ),
    "key.export": Act(
        label=_("Export"),
        doing=_("Exporting {}"),
        done=_("{} exported"),
        undone=_("{} was not exported"),
        icon="download",
        did=_("exported {}"),
    ),
    "host_key.trust": Act(
        label=_("Trust host"),
        doing=_("Trusting {}"),
        done=_("{} trusted"),
        undone=_("{} was not trusted"),
        icon="shield-check",
        did=_("trusted {}"),
    ),
    "host_key.retrust": Act(
        label=_("Trust new host key"),
        doing=_("Trusting {}"),
        done=_("{} trusted"),
        undone=_("{} was not trusted"),
        icon="shield-check",
        did=_("trusted {}"),
    ),
    "host_key.delete": Act(
        label=_("Forget host key"),
        doing=_("Forgetting {}"),
        done=_("{} forgotten"),
        undone=_("{} was not forgotten"),
        icon="trash-2",
        did=_("forgot {}"),
    ),
    "volume.delete": Act(
        label=_("Delete"),
        doing=_("Deleting {}"),
        done=_("{} deleted"),
        undone=_("{} was not deleted"),
        icon="trash-2",
        effect=_("All that is on it is lost."),
        critical=True,
        did=_("deleted {}"),
    ),
    "key.delete": Act(
        label=_("Delete"),
        doing=_("Deleting {}"),
        done=_("{} deleted"),
        undone=_("{} was not deleted"),
        icon="trash-2",
        effect=_("Machines keep it in their authorized_keys; Mist can no longer use it."),
        critical=True,
        did=_("deleted {}"),
    ),
}
