#!/bin/sh
# Writes the update @{product_id} @{version} into a device, with STM32CubeProgrammer.
#
# It may be run again at any time. It only writes the update: it never erases the whole chip,
# never changes option bytes and never removes a read protection.
#
# Ends with 0: written and verified. 1: STM32CubeProgrammer is missing. 4: the kit is incomplete.
# 10: not written. 11: no device. 12: several devices. 13: no permission. 14: read-protected.
# 15: not verified.
set -u
unset CDPATH

file='@{stem}.hex'
sum='@{hex_sha256}'
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

find_tool() {
    tool=$(command -v STM32_Programmer_CLI) && return 0
    home=${HOME:-/nowhere}
    for folder in \
        "$home/STMicroelectronics/STM32Cube/STM32CubeProgrammer/bin" \
        /usr/local/STMicroelectronics/STM32Cube/STM32CubeProgrammer/bin \
        /opt/STMicroelectronics/STM32Cube/STM32CubeProgrammer/bin \
        /Applications/STMicroelectronics/STM32Cube/STM32CubeProgrammer/STM32CubeProgrammer.app/Contents/MacOs/bin
    do
        tool=$folder/STM32_Programmer_CLI
        [ -f "$tool" ] && [ -x "$tool" ] && return 0
    done
    return 1
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

# STM32CubeProgrammer does not tell a device that it may not use from none at all; Linux does.
is_plugged_in() {
    for product in /sys/bus/usb/devices/*/idProduct; do
        [ -e "$product" ] && [ "$(cat "$product")" = df11 ] &&
            [ "$(cat "${product%Product}Vendor")" = 0483 ] && return 0
    done
    return 1
}

stop_if_protected() {
    if says 'read[- ]?out protection|read[- ]?protect|RDP'; then
        stop 14 'the device says that it is read-protected.' \
            'Never let any program remove the protection ("Read Unprotect", RDP, option bytes):' \
            'that erases the device for good.' \
            'Some computers see a protection where there is none: try another USB port, or a USB 2 hub' \
            'in between. If that changes nothing, ask those who sent you this update.'
    fi
}

say 'Update @{product_id} @{version}' ''
cd "$(dirname "$0")" || exit 4
[ -f "$file" ] || stop 4 "$file is missing." \
    'Unpack the whole kit into one folder and start this script there.'
[ "$(sum_of "$file")" = "$sum" ] || stop 4 "$file is damaged." 'Fetch the kit again.'
find_tool || stop 1 'STM32CubeProgrammer was not found.' \
    'Install it (free, from www.st.com) to the folder it suggests, and start this script again.'
trap clean_up EXIT
trap 'exit 130' HUP INT TERM
work=$(mktemp -d) || exit 1

say "Found $tool" 'Looking for the device ...'
"$tool" -l usb >"$work/log" 2>&1
devices=$(grep -i -c 'Device Index' "$work/log")
case $devices in
0)
    cat "$work/log"
    stop_if_protected
    is_plugged_in && stop 13 'the device is there, but you may not use it.' \
        'HOWTO.html shows the rule that allows it. Or start this script with sudo.'
    stop 11 'no device found.' \
        '@{enter_again} then start this script again.'
    ;;
1) ;;
*)
    cat "$work/log"
    stop 12 "$devices devices found." 'Leave only one of them plugged in, then start this script again.'
    ;;
esac

say 'Found one device. Writing and verifying, this takes about a minute. Do not unplug it.' ''
{
    "$tool" -c port=usb1 -w "$file" -v
    echo $? >"$work/code"
} 2>&1 | tee "$work/log"
code=$(cat "$work/code")

if ! says 'Download verified successfully'; then
    stop_if_protected
    if says 'File download complete'; then
        stop 15 'the device did not verify.' \
            'Unplug it and begin again at step 1, with another cable or USB port.'
    fi
    stop 10 'the update was not written.' \
        'Unplug the device and begin again at step 1, with another cable or USB port.'
fi
[ "$code" = 0 ] || stop 10 "STM32CubeProgrammer ended with an error ($code)." \
    'Unplug the device and begin again at step 1.'

say '' 'DONE: the update is in the device. Now:' \
    '  1. Unplug the device.' \
    @{then_sh} \
    'It installs the update by itself and stays silent meanwhile:' \
    'usually @{usual} seconds, at most @{longest}.'
