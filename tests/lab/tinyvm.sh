#!/bin/bash
# libvirt started by hand, and a disk image small enough to boot in seconds under software emulation.
#
#   tinyvm.sh up RUN          virtlogd + libvirtd (nothing if one answers already) and the NAT network RUN/network.xml, if given
#   tinyvm.sh image DIR       DIR/tiny.qcow2: Debian's cloud kernel, busybox and dropbear behind a boot loader on a partition.
#                             At boot it reads the disk labelled cidata as cloud-init does: host name, public keys, the
#                             host key of vendor-data, and a user-data that begins with #! is run. Answers ACPI, speaks on ttyS0, DHCP on eth0.
#   tinyvm.sh down RUN        stop the daemons that `up` started
#
# Needs root, and from Debian: libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients qemu-system-x86 qemu-utils genisoimage
# dnsmasq-base busybox-static dropbear-bin cpio kmod syslinux syslinux-common mtools fdisk iptables
set -eu
uri=qemu:///system
case ${1:?} in
up)
  run=$2; mkdir -p "$run" /run/libvirt /var/log/libvirt/qemu
  if ! virsh -c $uri version >/dev/null 2>&1; then
    # Debian's libvirt-daemon-system would make this user; without it the QEMU driver does not start.
    getent group kvm >/dev/null || groupadd --system kvm
    getent group libvirt-qemu >/dev/null || groupadd --system libvirt-qemu
    getent passwd libvirt-qemu >/dev/null || useradd --system -g kvm -G libvirt-qemu -d /var/lib/libvirt -s /usr/sbin/nologin libvirt-qemu
    # As udev would have it. While that user cannot open the device, libvirt asks QEMU anew at each define: 20 s.
    if [ -c /dev/kvm ]; then chgrp kvm /dev/kvm; chmod 660 /dev/kvm; fi
    nohup python3 "$(dirname "$0")/reaper.py" virtlogd -p "$run/virtlogd.pid" + libvirtd -p "$run/libvirtd.pid" >"$run/log" 2>&1 </dev/null &
    echo $! >"$run/pid"
    for _ in $(seq 1 300); do virsh -c $uri version >/dev/null 2>&1 && break; sleep 0.1; done
  fi
  virsh -c $uri version >/dev/null
  if [ -e "$run/network.xml" ]; then
    name=$(sed -n 's|.*<name>\([^<]*\)</name>.*|\1|p' "$run/network.xml")
    virsh -q -c $uri net-destroy "$name" >/dev/null 2>&1 || true # of a run that was killed
    virsh -q -c $uri net-create "$run/network.xml"
  fi ;;
image)
  dir=$2; mkdir -p "$dir/deb"; cd "$dir"
  if ! ls deb/linux-image-*.deb >/dev/null 2>&1; then
    kernel=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/{print $2; exit}')
    (cd deb && apt-get download -q "$kernel" >/dev/null 2>&1)
  fi
  rm -rf x root; dpkg -x deb/linux-image-*.deb x; cp x/boot/vmlinuz-* vmlinuz
  mkdir -p root/{bin,dev/pts,proc,sys,etc/dropbear,root/.ssh,lib64,mod,tmp,var/log,run,seed}
  cp "$(command -v busybox)" root/bin/; for a in $(busybox --list); do [ "$a" = busybox ] || ln -sf busybox "root/bin/$a"; done
  cp /usr/sbin/dropbear /usr/bin/dropbearconvert root/bin/
  ldd /usr/sbin/dropbear /usr/bin/dropbearconvert | awk '/=> \//{print $3}' | while read -r l; do mkdir -p "root$(dirname "$l")"; cp -L "$l" "root$l"; done
  cp -L /lib64/ld-linux-x86-64.so.2 root/lib64/
  cp -L /lib/x86_64-linux-gnu/libnss_files.so.2 root/lib/x86_64-linux-gnu/ 2>/dev/null || true
  modules="virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci failover net_failover virtio_net virtio_blk button evdev rng-core virtio-rng cdrom isofs"
  for m in $modules; do find x/lib/modules -name "$m.ko" -exec cp {} root/mod/ \;; done
  echo 'root:x:0:0:root:/root:/bin/sh' >root/etc/passwd; echo 'root:x:0:' >root/etc/group; echo /bin/sh >root/etc/shells
  chmod 700 root/root root/root/.ssh
  cat >root/udhcpc.sh <<'U'
#!/bin/sh
[ "$1" = bound ] || [ "$1" = renew ] && { ip addr flush dev $interface; ip addr add $ip/$mask dev $interface; ip route add default via $router; }
U
  cat >root/init <<I
#!/bin/busybox sh
export PATH=/bin
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev; mkdir -p /dev/pts; mount -t devpts v /dev/pts
for m in $modules; do insmod /mod/\$m.ko 2>/dev/null; done
I
  cat >>root/init <<'I'
for d in /dev/vd?; do
  [ "$(dd if=$d bs=1 skip=32808 count=6 2>/dev/null)" = cidata ] && mount -t iso9660 -o ro $d /seed
done
hostname "$(sed -n 's/.*"local-hostname": *"\([^"]*\)".*/\1/p' /seed/meta-data)"
sed -n 's/.*"public-keys": *\[\([^]]*\)\].*/\1/p' /seed/meta-data | tr ',' '\n' | tr -d '"' | sed 's/^ *//' >/root/.ssh/authorized_keys
chmod 600 /root/.ssh/authorized_keys
k=$(sed -n 's/.*"ed25519_private": *"\([^"]*\)".*/\1/p' /seed/vendor-data)
[ -z "$k" ] || { printf '%b' "$k" >/tmp/k; dropbearconvert openssh dropbear /tmp/k /etc/dropbear/dropbear_ed25519_host_key; } 2>/dev/ttyS0
ip link set lo up; ip link set eth0 up; udhcpc -f -t 5 -T 1 -A 1 -i eth0 -s /udhcpc.sh >/var/log/udhcpc 2>&1 &
dropbear -R -E -s 2>/dev/null
mkdir -p /etc/acpi/PWRF; printf '#!/bin/sh\npoweroff -f\n' >/etc/acpi/PWRF/00000080; chmod +x /etc/acpi/PWRF/00000080; acpid -c /etc/acpi -l /var/log/acpid 2>/dev/null
case $(head -c2 /seed/user-data) in '#!') cp /seed/user-data /tmp/user-data; chmod +x /tmp/user-data; /tmp/user-data >/dev/ttyS0 2>&1 ;; esac
echo "READY $(hostname)" >/dev/ttyS0
setsid sh -c 'while :; do sh </dev/ttyS0 >/dev/ttyS0 2>&1; sleep 1; done' &
while :; do sleep 3600; done
I
  chmod +x root/init root/udhcpc.sh
  (cd root && find . | cpio -o -H newc --quiet | gzip -1) >initrd.gz
  # A disk with an MBR, one FAT partition from 1 MiB on, and syslinux in it. No loop device, no mount.
  truncate -s 64M tiny.raw
  echo '2048,,c,*' | sfdisk -q tiny.raw
  dd if=/usr/lib/syslinux/mbr/mbr.bin of=tiny.raw conv=notrunc status=none
  export MTOOLS_SKIP_CHECK=1
  mformat -i tiny.raw@@1M -h 64 -s 32 -T $((63 * 2048)) -F ::
  printf 'DEFAULT tiny\nPROMPT 0\nTIMEOUT 0\nLABEL tiny\n LINUX /vmlinuz\n INITRD /initrd.gz\n APPEND console=ttyS0 quiet panic=1\n' >syslinux.cfg
  mcopy -i tiny.raw@@1M vmlinuz initrd.gz syslinux.cfg ::
  syslinux --install --offset $((2048 * 512)) tiny.raw
  qemu-img convert -c -O qcow2 tiny.raw tiny.qcow2; rm -rf tiny.raw x root; chmod 644 tiny.qcow2; ls -l tiny.qcow2 ;;
down)
  run=$2
  if [ -e "$run/pid" ]; then kill "$(cat "$run/pid")" || true; while kill -0 "$(cat "$run/pid")" 2>/dev/null; do sleep 0.1; done; fi ;;
*) sed -n '2,14p' "$0" >&2; exit 2 ;;
esac
