#!/bin/sh
# Writes the update @{product_id} @{version} into a device, with dfu-util, and reads it back.
#
# It may be run again at any time. It only writes the update: it never erases the whole chip,
# never changes option bytes and never removes a read protection.
#
# Ends with 0: written and read back. 1: dfu-util is missing. 4: the kit is incomplete.
# 10: not written. 11: no device. 12: several devices. 13: no permission. 14: read-protected.
# 15: what was read back differs.
set -u
unset CDPATH

file='@{stem}.bin'
size=@{bin_size}
sum='@{bin_sha256}'
address=@{address}
work=

say() {
    printf '%s\n' "$@"
}

stop() {
    code=$1
    shift
    say '' "STOPPED: $1"
    shift
    [ $# -eq 0 ] || say "$@"
    say 'HOWTO.html has a table "What to do when ...".'
    exit "$code"
}

clean_up() {
    [ -z "$work" ] || rm -rf "$work"
}

sum_of() {
    if command -v sha256sum >/dev/null; then
        sha256sum "$1" | cut -c 1-64
    elif command -v shasum >/dev/null; then
        shasum -a 256 "$1" | cut -c 1-64
    else
        say "$sum" # nothing here can tell; the device itself checks the update
    fi
}

says() {
    grep -i -E -q "$1" "$work/log"
}

# The device is named by its USB id, the place by its address: dfu-util guesses nothing.
dfu() {
    {
        dfu-util -d 0483:df11 -a 0 "$@"
        echo $? >"$work/code"
    } 2>&1 | tee "$work/log"
    code=$(cat "$work/code")
}

# dfu-util does not say why the device refused. The device tells at the next look at it: status 11.
stop_if_protected() {
    dfu -s "$address:1024" -U "$work/look" >/dev/null
    if says 'status\(11\)|vendor specific'; then
        stop 14 'the device says that it is read-protected.' \
            'Never let any program remove the protection (dfu-util calls that "unprotect"):' \
            'that erases the device for good. Ask those who sent you this update.'
    fi
}

say 'Update @{product_id} @{version}' ''
cd "$(dirname "$0")" || exit 4
[ -f "$file" ] || stop 4 "$file is missing." \
    'Unpack the whole kit into one folder and start this script there.'
[ "$(sum_of "$file")" = "$sum" ] || stop 4 "$file is damaged." 'Fetch the kit again.'
command -v dfu-util >/dev/null || stop 1 'dfu-util was not found.' \
    'Install it (the package is called dfu-util), and start this script again.'
trap clean_up EXIT
trap 'exit 130' HUP INT TERM
work=$(mktemp -d) || exit 1

say 'Looking for the device ...'
dfu-util -d 0483:df11 -l >"$work/log" 2>&1
devices=$(grep 'Found DFU: \[0483:df11\]' "$work/log" | grep -c 'alt=0,')
case $devices in
0)
    cat "$work/log"
    if says 'LIBUSB_ERROR_ACCESS|permission'; then
        stop 13 'you may not use the USB device.' \
            'HOWTO.html shows the rule that allows it. Or start this script with sudo.'
    fi
    stop 11 'no device found.' \
        '@{enter_again} then start this script again.'
    ;;
1) ;;
*)
    cat "$work/log"
    stop 12 "$devices devices found." 'Leave only one of them plugged in, then start this script again.'
    ;;
esac

say 'Found one device. Writing, this takes about a minute. Do not unplug it.' \
    '(A line about an invalid DFU suffix is normal.)' ''
dfu -s "$address" -D "$file"
if [ "$code" != 0 ] || ! says 'File downloaded successfully'; then
    failed=$code
    stop_if_protected
    stop 10 "the update was not written (dfu-util ended with $failed)." \
        'Unplug the device and begin again at step 1, with another cable or USB port.'
fi

say '' 'Reading it back ...'
dfu -s "$address:@{bin_read}" -U "$work/back"
[ "$code" = 0 ] && head -c "$size" "$work/back" >"$work/written" && cmp "$file" "$work/written" ||
    stop 15 'the device does not hold what was written.' \
        'Unplug it and begin again at step 1, with another cable or USB port.'

say '' 'DONE: the update is in the device. Now:' \
    '  1. Unplug the device.' \
    @{then_sh} \
    'It installs the update by itself and stays silent meanwhile:' \
    'usually @{usual} seconds, at most @{longest}.'
