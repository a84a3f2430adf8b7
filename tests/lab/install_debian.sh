#!/usr/bin/env bash
# The Debian packages some tests need, installed where that is allowed (root and apt). Elsewhere the tests that need
# them are skipped, by name, and pytest counts them. MIST_NO_APT=1 leaves the machine as it is.
set -u
packages=(
  chromium                                                                     # tests/browser
  zsh fish                                                                     # tests/cli: completion in the real shells
  openssh-server openssh-client iputils-ping                                   # keys, other, kvm over SSH
  docker.io busybox-static                                                     # docker
  libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients qemu-system-x86 qemu-utils genisoimage cpio # kvm
  dnsmasq-base iptables iproute2 dropbear-bin kmod syslinux syslinux-common mtools fdisk # kvm: network and image of tinyvm.sh
)
missing=()
for package in "${packages[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || [ -n "${MIST_NO_APT:-}" ]; then
  echo "Not installed here, so the tests that need them are skipped: ${missing[*]}"
  exit 0
fi
echo "Installing Debian packages that tests need: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt=(apt-get -o DPkg::Lock::Timeout=500 -o Dpkg::Use-Pty=0 -qq)
"${apt[@]}" update </dev/null >/dev/null || true
for package in "${missing[@]}"; do # one by one: one that is not to be had keeps no other away
  "${apt[@]}" install -y --no-install-recommends "$package" </dev/null >/dev/null 2>&1 || echo "Cannot be installed: $package"
done
exit 0
