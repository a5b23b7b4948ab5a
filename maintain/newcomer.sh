#!/usr/bin/env bash
# A stranger on a bare machine: a fresh Debian root with Python, make and libnuma1 alone, in which the README's commands are run in their
# order and nothing else. Usage: newcomer.sh TRANSCRIPT, as root, with debootstrap. The root goes when it ends; NEWCOMER_ROOT keeps it.
set -euo pipefail
transcript=$(mkdir -p "$(dirname "${1:?usage: newcomer.sh TRANSCRIPT}")" && realpath "$1")
checkout=$(cd "$(dirname "$0")/.." && pwd)
if [ "$(id -u)" != 0 ]; then  # the nightly lane's user may become root without a password
    sudo -n true 2> /dev/null && exec sudo --preserve-env=NEWCOMER_ROOT,NEWCOMER_SUITE "$0" "$transcript"
    echo "newcomer.sh: not root; run it with sudo" >&2
    exit 2
fi
command -v debootstrap > /dev/null || apt-get install --yes --quiet debootstrap debian-archive-keyring > /dev/null
root=${NEWCOMER_ROOT:-$(mktemp -d)}
mounted=()
end() {
    for place in "${mounted[@]}"; do umount --lazy "$root$place"; done
    [ -n "${NEWCOMER_ROOT:-}" ] || rm -rf --one-file-system "$root"
}
trap end EXIT

# The root: the mirror and the release of this machine's own package sources.
mirror=$(apt-cache policy | grep --only-matching --max-count=1 'http[^ ]*/debian\b' || true)
suite=${NEWCOMER_SUITE:-bookworm}
[ -x "$root/usr/bin/make" ] || debootstrap --variant=minbase \
    --include=python3,python3-venv,make,libnuma1,ca-certificates "$suite" "$root" ${mirror:+"$mirror"} > "$root.log" 2>&1 ||
    { tail -n 3 "$root.log" >&2; exit 1; }
for place in /proc /sys /dev /etc/resolv.conf; do  # vLLM asks lscpu, which reads /sys
    [ -e "$root$place" ] || touch "$root$place"
    mount --rbind "$place" "$root$place" && mounted=("$place" "${mounted[@]}")
done
# How this machine reaches a package index is part of the machine: pip's configuration, its folders of wheels and certificates.
for place in /etc/pip.conf /etc/xdg/pip /etc/ssl/certs $(python3 -m pip config get global.find-links 2> /dev/null || true); do
    [ -e "$place" ] || continue
    if [ -d "$place" ]; then mkdir -p "$root$place"; else touch "$root$place"; fi
    mount --bind -o ro "$place" "$root$place" && mounted=("$place" "${mounted[@]}")
done
rm -rf "$root/home/newcomer" && mkdir -p "$root/home/newcomer/cookbook"
git -C "$checkout" archive HEAD | tar x -C "$root/home/newcomer/cookbook"

# What the README tells: the indented commands of its first section, `make lab` aside, which stays open until it is closed.
mapfile -t commands < <(sed -n '/^## Try it/,/^## Serve/s/^    \(make [a-z-]*\).*/\1/p' "$checkout/README.md" | grep -v '^make lab$')
[ "${#commands[@]}" -gt 0 ] || { echo "newcomer.sh: the README's first section has no command" >&2; exit 1; }
{
    echo "$(date --utc +%F), a bare Debian $suite: $(chroot "$root" python3 --version), $(chroot "$root" make --version | head -n 1), $(nproc) cores"
    for words in "${commands[@]}"; do
        echo "\$ $words"
        began=$SECONDS
        env --unset=COOKBOOK_ROOT --unset=PYTHONPATH --unset=VIRTUAL_ENV --unset=MAKEFLAGS --unset=MAKELEVEL HOME=/home/newcomer PATH=/usr/sbin:/usr/bin:/sbin:/bin \
            chroot "$root" sh -c "cd /home/newcomer/cookbook && $words" 2>&1 | sed 's/\r/\n/g' && state=${PIPESTATUS[0]} || state=$?
        echo "[exit $state, $((SECONDS - began)) s]"
        [ "$state" = 0 ] || exit 1
    done
    # what the README promises of `make run`
    cd "$root/home/newcomer/cookbook/runs/latest"
    for file in notebook.ipynb record.json throughput.png server.log; do
        [ -s "$file" ] && echo "runs/latest/$file: there" || { echo "runs/latest/$file: missing"; exit 1; }
    done
} 2>&1 | tee "$transcript"
