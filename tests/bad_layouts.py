"""Layouts that break rules, and what is said of each: the first line of every problem."""

from __future__ import annotations

KNOWN = (
    "known are chip, product, areas, data, boot_check, recovery, entry, usb, indicator, mailbox,"
    " rdp, supply_mv, result_record, app_ram, watchdog, security_counter"
)
"""Every key at the top."""

BAD_LAYOUTS: list[tuple[str, str, str, list[str]]] = [
    (
        "the chip in capitals",
        "chip: stm32h743xi",
        "chip: STM32H743xI",
        [
            "4:1: chip: found 'STM32H743xI', expected family and flash size in lower case, 'x' "
            "for any package; did you mean 'stm32h743xi'?",
        ],
    ),
    (
        "a chip with its package letter",
        "chip: stm32h743xi",
        "chip: stm32h743zit6",
        [
            "4:1: chip: found 'stm32h743zit6', expected family and flash size in lower case, 'x' "
            "for any package; did you mean 'stm32h743xi'?",
        ],
    ),
    (
        "a chip as it says on it",
        "chip: stm32h743xi",
        "chip: STM32H743VIT6",
        [
            "4:1: chip: found 'STM32H743VIT6', expected family and flash size in lower case, "
            "'x' for any package; did you mean 'stm32h743xi'?",
        ],
    ),
    (
        "a chip of 1 MB as it says on it",
        "chip: stm32h743xi",
        "chip: STM32H743VGT6",
        [
            "4:1: chip: found 'STM32H743VGT6', expected family and flash size in lower case, "
            "'x' for any package; did you mean 'stm32h743xg'?",
        ],
    ),
    (
        "a chip by half its name",
        "chip: stm32h743xi",
        "chip: STM32H743ZI",
        [
            "4:1: chip: found 'STM32H743ZI', expected family and flash size in lower case, "
            "'x' for any package; did you mean 'stm32h743xi'?",
        ],
    ),
    (
        "a chip by the name of its board",
        "chip: stm32h743xi",
        "chip: nucleo-h743zi2",
        [
            "4:1: chip: found 'nucleo-h743zi2', expected family and flash size in lower "
            "case, 'x' for any package; did you mean 'stm32h743xi'?",
        ],
    ),
    (
        "a chip without its maker's name",
        "chip: stm32h743xi",
        "chip: h753zi",
        [
            "4:1: chip: found 'h753zi', expected family and flash size in lower case, 'x' "
            "for any package; did you mean 'stm32h753xi'?",
        ],
    ),
    (
        "a chip by the name of its header",
        "chip: stm32h743xi",
        "chip: STM32H743xx",
        [
            "4:1: chip: found 'STM32H743xx', expected stm32h743xi (2048 KiB) or stm32h743xg "
            "(1024 KiB); look at the second letter behind the number on the chip",
        ],
    ),
    (
        "a family",
        "chip: stm32h743xi",
        "chip: stm32h743",
        [
            "4:1: chip: found 'stm32h743', expected stm32h743xi (2048 KiB) or stm32h743xg "
            "(1024 KiB); look at the second letter behind the number on the chip",
        ],
    ),
    (
        "a flash size that is not made",
        "chip: stm32h743xi",
        "chip: stm32h743xb",
        [
            "4:1: chip: found 'stm32h743xb', expected stm32h743xi (2048 KiB) or stm32h743xg "
            "(1024 KiB); look at the second letter behind the number on the chip",
        ],
    ),
    (
        "an H753 with 1 MB",
        "chip: stm32h743xi",
        "chip: stm32h753xg",
        [
            "4:1: chip: 'stm32h753xg' cannot be used, the STM32H753 is made with 2 MB only; "
            "did you mean 'stm32h753xi'?",
        ],
    ),
    (
        "an H750 as it is ordered",
        "chip: stm32h743xi",
        "chip: stm32h750vbt6",
        [
            "4:1: chip: 'stm32h750vbt6' cannot be used, it has one flash sector, so there is "
            "no room for loader, staging and app; use a larger part",
        ],
    ),
    (
        "a chip with two cores",
        "chip: stm32h743xi",
        "chip: stm32h747xi",
        [
            "4:1: chip: 'stm32h747xi' cannot be used, it has a second core, which starts by "
            "itself; use an H742, H743 or H753",
        ],
    ),
    (
        "a chip with one bank",
        "chip: stm32h743xi",
        "chip: STM32H723ZG",
        [
            "4:1: chip: 'STM32H723ZG' cannot be used, its flash has one bank, and the loader "
            "works across two; use an H742, H743 or H753",
        ],
    ),
    (
        "a chip with small sectors",
        "chip: stm32h743xi",
        "chip: stm32h7b3xi",
        [
            "4:1: chip: 'stm32h7b3xi' cannot be used, its flash has sectors of 8 KiB and "
            "words of 16 bytes, for which the loader is not made; use an H742, H743 or H753",
        ],
    ),
    (
        "a chip of another family",
        "chip: stm32h743xi",
        "chip: stm32f407vg",
        [
            "4:1: chip: found 'stm32f407vg', expected one of stm32h743xi, stm32h743xg, "
            "stm32h753xi, stm32h742xi, stm32h742xg; did you mean 'stm32h743xg'?",
        ],
    ),
    (
        "a chip with one sector, in capitals",
        "chip: stm32h743xi",
        "chip: STM32H750xB",
        [
            "4:1: chip: 'STM32H750xB' cannot be used, it has one flash sector, so there is "
            "no room for loader, staging and app; use a larger part",
        ],
    ),
    (
        "a chip that is a number",
        "chip: stm32h743xi",
        "chip: 743",
        [
            "4:1: chip: found 743, expected one of stm32h743xi, stm32h743xg, stm32h753xi, "
            "stm32h742xi, stm32h742xg; name a known chip",
        ],
    ),
    (
        "no value for the chip",
        "chip: stm32h743xi",
        "chip:",
        [
            "4:1: chip: found nothing, expected one of stm32h743xi, stm32h743xg, "
            "stm32h753xi, stm32h742xi, stm32h742xg; name a known chip",
        ],
    ),
    (
        "a product that is a word",
        "product: {id: demo-h743zi, name: splitflash demo board}",
        "product: demo",
        [
            "5:1: product: found 'demo', expected a mapping; indent its keys below it",
        ],
    ),
    (
        "a product id with a space",
        "id: demo-h743zi",
        "id: my board",
        [
            "5:11: product.id: found 'my board', expected 1 to 16 of a-z 0-9 . _ -; change it",
        ],
    ),
    (
        "a product id of 17 characters",
        "id: demo-h743zi",
        "id: abcdefghijklmnopq",
        [
            "5:11: product.id: found 'abcdefghijklmnopq', expected 1 to 16 of a-z 0-9 . _ -; "
            "change it",
        ],
    ),
    (
        "a product id that is a number",
        "id: demo-h743zi",
        "id: 743",
        [
            "5:11: product.id: found 743, expected 1 to 16 of a-z 0-9 . _ -; change it",
        ],
    ),
    (
        "a product id that begins with a dash",
        "id: demo-h743zi",
        "id: -demo",
        [
            "5:11: product.id: found '-demo', expected 1 to 16 of a-z 0-9 . _ -; change it",
        ],
    ),
    (
        "a product without an id",
        "id: demo-h743zi, ",
        "",
        [
            "5:1: product.id: missing; add 'id:'",
        ],
    ),
    (
        "a product name beyond ASCII",
        "name: splitflash demo board",
        "name: Gerät",
        [
            "5:28: product.name: found 'Gerät', expected 1 to 32 printable ASCII characters; "
            "change it",
        ],
    ),
    (
        "a product name of 33 characters",
        "name: splitflash demo board",
        "name: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        [
            "5:28: product.name: found 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', expected 1 to 32 "
            "printable ASCII characters; change it",
        ],
    ),
    (
        "a misspelt key of the product",
        "name: splitflash",
        "nmae: splitflash",
        [
            "5:1: product.name: missing; add 'name:'",
            "5:28: product.nmae: unknown key, known are id, name; did you mean 'name'?",
        ],
    ),
    (
        "areas as a list",
        "areas:\n  loader:  {start: 0x08000000, size: 128K}",
        "areas:\n  - loader\nother:\n  loader:  {start: 0x08000000, size: 128K}",
        [
            "6:1: areas: found ['loader'], expected a mapping; indent its keys below it",
            f"8:1: other: unknown key, {KNOWN}; remove it",
        ],
    ),
    (
        "no loader area",
        "  loader:  {start: 0x08000000, size: 128K}\n",
        "",
        [
            "6:1: areas.loader: missing; add 'loader:'",
        ],
    ),
    (
        "no marks area",
        "  marks:   {start: 0x081E0000, size: 128K}\n",
        "",
        [
            "6:1: areas.marks: missing; add 'marks:'",
        ],
    ),
    (
        "an area that is a number",
        "  app:     {start: 0x08100000, size: 896K}",
        "  app: 0x08100000",
        [
            "9:3: areas.app: found 0x08100000, expected exactly start and size; write it "
            "like {start: 0x08020000, size: 128K}",
        ],
    ),
    (
        "an area with an end",
        "app:     {start: 0x08100000, size: 896K}",
        "app: {start: 0x08100000, end: 0x081E0000}",
        [
            "9:3: areas.app: found {start, end}, expected exactly start and size; write it "
            "like {start: 0x08020000, size: 128K}",
        ],
    ),
    (
        "a start that is text",
        "app:     {start: 0x08100000, size: 896K}",
        "app: {start: '0x08100000', size: 896K}",
        [
            "9:3: areas.app: found start '0x08100000', expected a 32-bit address; write it "
            "like 0x08020000",
        ],
    ),
    (
        "a start that is negative",
        "app:     {start: 0x08100000, size: 896K}",
        "app: {start: -1, size: 896K}",
        [
            "9:3: areas.app: found start -1, expected a 32-bit address; write it like 0x08020000",
        ],
    ),
    (
        "a start beyond 32 bits",
        "app:     {start: 0x08100000, size: 896K}",
        "app: {start: 0x108100000, size: 896K}",
        [
            "9:3: areas.app: found start 0x108100000, expected a 32-bit address; write it "
            "like 0x08020000",
        ],
    ),
    (
        "a size with a fraction",
        "app:     {start: 0x08100000, size: 896K}",
        "app: {start: 0x08100000, size: 0.5M}",
        [
            "9:3: areas.app: found size '0.5M', expected bytes or like 128K, 1M; change it",
        ],
    ),
    (
        "a size that is negative",
        "app:     {start: 0x08100000, size: 896K}",
        "app: {start: 0x08100000, size: -128}",
        [
            "9:3: areas.app: found size -128, expected more than 0; use whole sectors of 128K",
        ],
    ),
    (
        "a size in kilobytes of 1000",
        "app:     {start: 0x08100000, size: 896K}",
        "app: {start: 0x08100000, size: 917 kB}",
        [
            "9:3: areas.app: found size '917 kB', expected bytes or like 128K, 1M; change it",
        ],
    ),
    (
        "an app in RAM",
        "app:     {start: 0x08100000, size: 896K}",
        "app: {start: 0x24000000, size: 128K}",
        [
            "9:3: areas.app: 0x24000000..0x2401FFFF is outside the flash of stm32h743xi, "
            "0x08000000..0x080FFFFF and 0x08100000..0x081FFFFF; move or shrink it",
        ],
    ),
    (
        "an app over the whole bank",
        "app:     {start: 0x08100000, size: 896K}",
        "app: {start: 0x08100000, size: 1M}",
        [
            "10:3: areas.marks: starts at 0x081E0000, 'areas.app' reaches up to 0x081FFFFF; "
            "let them not overlap",
        ],
    ),
    (
        "an app on top of staging",
        "app:     {start: 0x08100000, size: 896K}",
        "app: {start: 0x08020000, size: 896K}",
        [
            "9:3: areas.app: starts at 0x08020000, 'areas.staging' reaches up to 0x080FFFFF; "
            "let them not overlap",
        ],
    ),
    (
        "an app on top of the loader",
        "app:     {start: 0x08100000, size: 896K}",
        "app: {start: 0x08000000, size: 128K}",
        [
            "9:3: areas.app: starts at 0x08000000, 'areas.loader' reaches up to 0x0801FFFF; "
            "let them not overlap",
        ],
    ),
    (
        "an app that starts inside a sector",
        "app:     {start: 0x08100000, size: 896K}",
        "app: {start: 0x08104000, size: 112K}",
        [
            "9:3: areas.app: starts at 0x08104000 inside a sector, sectors are 128 KiB; use "
            "0x08100000 or 0x08120000",
        ],
    ),
    (
        "staging behind the end of flash",
        "staging: {start: 0x08020000, size: 896K}",
        "staging: {start: 0x08200000, size: 128K}",
        [
            "8:3: areas.staging: 0x08200000..0x0821FFFF is outside the flash of stm32h743xi, "
            "0x08000000..0x080FFFFF and 0x08100000..0x081FFFFF; move or shrink it",
        ],
    ),
    (
        "staging with a size that wraps",
        "staging: {start: 0x08020000, size: 896K}",
        "staging: {start: 0x08020000, size: 0xFFFFFFFF}",
        [
            "8:3: areas.staging: ends at 0x10801FFFF inside a sector, sectors are 128 KiB; "
            "use 0x108000000 or 0x108020000",
            "8:3: areas.staging: 0x08020000..0x10801FFFE is outside the flash of "
            "stm32h743xi, 0x08000000..0x080FFFFF and 0x08100000..0x081FFFFF; move or shrink "
            "it",
            "9:3: areas.app: starts at 0x08100000, 'areas.staging' reaches up to "
            "0x10801FFFE; let them not overlap",
            "10:3: areas.marks: starts at 0x081E0000, 'areas.staging' reaches up to "
            "0x10801FFFE; let them not overlap",
        ],
    ),
    (
        "staging of half a sector",
        "staging: {start: 0x08020000, size: 896K}",
        "staging: {start: 0x08020000, size: 64K}",
        [
            "8:3: areas.staging: ends at 0x08030000 inside a sector, sectors are 128 KiB; "
            "use 0x08020000 or 0x08040000",
        ],
    ),
    (
        "a loader of half a sector",
        "loader:  {start: 0x08000000, size: 128K}",
        "loader: {start: 0x08000000, size: 64K}",
        [
            "7:3: areas.loader: ends at 0x08010000 inside a sector, sectors are 128 KiB; use "
            "0x08000000 or 0x08020000",
        ],
    ),
    (
        "a loader in bank 2",
        (
            "loader:  {start: 0x08000000, size: 128K}\n  staging: {start: 0x08020000, size: "
            "896K}\n  app:     {start: 0x08100000, size: 896K}"
        ),
        (
            "loader: {start: 0x08100000, size: 128K}\n  staging: {start: 0x08020000, size: "
            "896K}\n  app: {start: 0x08120000, size: 768K}"
        ),
        [
            "7:3: areas.loader: starts at 0x08100000, the chip boots from 0x08000000; start "
            "it there",
        ],
    ),
    (
        "marks of two sectors",
        "app:     {start: 0x08100000, size: 896K}\n  marks:   {start: 0x081E0000, size: 128K}",
        "app:     {start: 0x08100000, size: 768K}\n  marks:   {start: 0x081C0000, size: 256K}",
        [
            "10:3: areas.marks: 256 KiB, expected one sector of 128 KiB; set size: 128K",
        ],
    ),
    (
        "a part of 1 MB with areas of 2 MB",
        "chip: stm32h743xi",
        "chip: stm32h743xg",
        [
            "8:3: areas.staging: 0x08020000..0x080FFFFF is outside the flash of stm32h743xg, "
            "0x08000000..0x0807FFFF and 0x08100000..0x0817FFFF; move or shrink it",
            "9:3: areas.app: 0x08100000..0x081DFFFF is outside the flash of stm32h743xg, "
            "0x08000000..0x0807FFFF and 0x08100000..0x0817FFFF; move or shrink it",
            "10:3: areas.marks: 0x081E0000..0x081FFFFF is outside the flash of stm32h743xg, "
            "0x08000000..0x0807FFFF and 0x08100000..0x0817FFFF; move or shrink it",
        ],
    ),
    (
        "an area in the hole of a part of 1 MB",
        (
            "xi\nproduct: {id: demo-h743zi, name: splitflash demo board}\nareas:\n  loader:  "
            "{start: 0x08000000, size: 128K}\n  staging: {start: 0x08020000, size: 896K}\n  app: "
            "    {start: 0x08100000, size: 896K}\n  marks:   {start: 0x081E0000, size: 128K}"
        ),
        (
            "xg\nproduct: {id: demo, name: demo}\nareas:\n  loader:  {start: 0x08000000, size: "
            "128K}\n  staging: {start: 0x08020000, size: 384K}\n  app:     {start: 0x08100000, "
            "size: 512K}\n  marks:   {start: 0x08080000, size: 128K}"
        ),
        [
            "10:3: areas.marks: 0x08080000..0x0809FFFF is outside the flash of stm32h743xg, "
            "0x08000000..0x0807FFFF and 0x08100000..0x0817FFFF; move or shrink it",
        ],
    ),
    (
        "a part with no second bank",
        "chip: stm32h743xi",
        "chip: stm32h750vb",
        [
            "4:1: chip: 'stm32h750vb' cannot be used, it has one flash sector, so there is "
            "no room for loader, staging and app; use a larger part",
        ],
    ),
    (
        "data on top of marks",
        "rdp: 0",
        "rdp: 0\ndata: {log: {start: 0x081E0000, size: 128K}}",
        [
            "14:8: data.log: starts at 0x081E0000, 'areas.marks' reaches up to 0x081FFFFF; "
            "let them not overlap",
        ],
    ),
    (
        "two data areas on top of each other",
        "rdp: 0",
        "rdp: 0\ndata: {a: {start: 0x081C0000, size: 128K}, b: {start: 0x081C0000, size: 128K}}",
        [
            "14:8: data.a: starts at 0x081C0000, 'areas.app' reaches up to 0x081DFFFF; let "
            "them not overlap",
            "14:44: data.b: starts at 0x081C0000, 'areas.app' reaches up to 0x081DFFFF; let "
            "them not overlap",
            "14:44: data.b: starts at 0x081C0000, 'data.a' reaches up to 0x081DFFFF; let "
            "them not overlap",
        ],
    ),
    (
        "a data area called like an area",
        "rdp: 0",
        "rdp: 0\ndata: {app: {start: 0x08040000, size: 128K}}",
        [
            "14:8: data.app: name 'app', expected 1 to 32 of a-z 0-9 _ that start with a "
            "letter, not loader, staging, app or marks; rename it",
        ],
    ),
    (
        "a data area with a capital",
        "rdp: 0",
        "rdp: 0\ndata: {Log: {start: 0x08040000, size: 128K}}",
        [
            "14:8: data.Log: name 'Log', expected 1 to 32 of a-z 0-9 _ that start with a "
            "letter, not loader, staging, app or marks; rename it",
        ],
    ),
    (
        "a data area called by a number",
        "rdp: 0",
        "rdp: 0\ndata: {1: {start: 0x08040000, size: 128K}}",
        [
            "14:8: data.1: name 1, expected 1 to 32 of a-z 0-9 _ that start with a letter, "
            "not loader, staging, app or marks; rename it",
        ],
    ),
    (
        "a data area without a size",
        "rdp: 0",
        "rdp: 0\ndata: {log: {start: 0x08040000}}",
        [
            "14:8: data.log: found {start}, expected exactly start and size; write it like "
            "{start: 0x08020000, size: 128K}",
        ],
    ),
    (
        "data as a list",
        "rdp: 0",
        "rdp: 0\ndata: [a, b]",
        [
            "14:1: data: found ['a', 'b'], expected a mapping; indent its keys below it",
        ],
    ),
    (
        "boot_check as YAML 1.1 had it",
        "boot_check: crc",
        "boot_check: false",
        [
            "11:1: boot_check: found false, expected one of off, crc, digest; choose one",
        ],
    ),
    (
        "boot_check in capitals",
        "boot_check: crc",
        "boot_check: CRC",
        [
            "11:1: boot_check: found 'CRC', expected one of off, crc, digest; choose one",
        ],
    ),
    (
        "an unknown recovery",
        "recovery: rom",
        "recovery: usb",
        [
            "12:1: recovery: found 'usb', expected one of rom, dfu, none; choose one",
        ],
    ),
    (
        "rdp as text",
        "rdp: 0",
        "rdp: '1'",
        [
            "13:1: rdp: found '1', expected a read-out protection level: 0, 1 or 2; change it",
        ],
    ),
    (
        "rdp as hexadecimal level",
        "rdp: 0",
        "rdp: 0xAA",
        [
            "13:1: rdp: found 170, expected a read-out protection level: 0, 1 or 2; change it",
        ],
    ),
    (
        "rdp 2 with the ROM",
        "rdp: 0",
        "rdp: 2",
        [
            "13:1: rdp: level 2 together with 'recovery: rom', at level 1 and 2 the ROM "
            "bootloader neither reads nor writes flash; set recovery: dfu, which works at "
            "every level",
        ],
    ),
    (
        "a supply of volts",
        "supply_mv: 2700",
        "supply_mv: 2.7",
        [
            "14:1: supply_mv: found 2.7, expected one of 1950, 2100, 2250, 2400, 2550, 2700, "
            "2850; choose the next lower one",
        ],
    ),
    (
        "a supply that is true",
        "supply_mv: 2700",
        "supply_mv: true",
        [
            "14:1: supply_mv: found true, expected one of 1950, 2100, 2250, 2400, 2550, "
            "2700, 2850; choose the next lower one",
        ],
    ),
    (
        "a result record that is not aligned",
        "rdp: 0",
        "rdp: 0\nresult_record: 0x38000010",
        [
            "14:1: result_record: found 0x38000010, expected 32-byte aligned in AXI SRAM "
            "(0x24000000) or SRAM4 (0x38000000); use for example 0x38000000",
        ],
    ),
    (
        "a result record beyond the end of RAM",
        "rdp: 0",
        "rdp: 0\nresult_record: 0x3800FFE0",
        [
            "14:1: result_record: found 0x3800FFE0, expected 32-byte aligned in AXI SRAM "
            "(0x24000000) or SRAM4 (0x38000000); use for example 0x38000000",
        ],
    ),
    (
        "a result record in flash",
        "rdp: 0",
        "rdp: 0\nresult_record: 0x08100000",
        [
            "14:1: result_record: found 0x08100000, expected 32-byte aligned in AXI SRAM "
            "(0x24000000) or SRAM4 (0x38000000); use for example 0x38000000",
        ],
    ),
    (
        "a negative security counter",
        "rdp: 0",
        "rdp: 0\nsecurity_counter: -1",
        [
            "14:1: security_counter: found -1, expected a number of 32 bits; change it",
        ],
    ),
    (
        "a security counter of 33 bits",
        "rdp: 0",
        "rdp: 0\nsecurity_counter: 0x100000000",
        [
            "14:1: security_counter: found 0x100000000, expected a number of 32 bits; change it",
        ],
    ),
    (
        "an unknown key",
        "rdp: 0",
        "rdp: 0\nencryption: aes",
        [
            f"14:1: encryption: unknown key, {KNOWN}; remove it",
        ],
    ),
    (
        "a key that is nearly right",
        "supply_mv: 2700",
        "supply_mV: 2700",
        [
            f"14:1: supply_mV: unknown key, {KNOWN}; did you mean 'supply_mv'?",
        ],
    ),
    (
        "a key that is a number",
        "rdp: 0",
        "rdp: 0\n7: seven",
        [
            f"14:1: 7: unknown key, {KNOWN}; remove it",
        ],
    ),
    (
        "three problems in one file",
        "boot_check: crc\nrecovery: rom\nrdp: 0",
        "boot_check: sha1\nrecovery: usb\nrdp: 5",
        [
            "11:1: boot_check: found 'sha1', expected one of off, crc, digest; choose one",
            "12:1: recovery: found 'usb', expected one of rom, dfu, none; choose one",
            "13:1: rdp: found 5, expected a read-out protection level: 0, 1 or 2; change it",
        ],
    ),
    (
        "a broken rule and a misspelt key",
        "boot_check: crc\nrecovery: rom\nrdp: 0",
        "boot_chek: crc\nrecovery: rom\nrdp: 1",
        [
            f"11:1: boot_chek: unknown key, {KNOWN}; did you mean 'boot_check'?",
            "13:1: rdp: level 1 together with 'recovery: rom', at level 1 and 2 the ROM "
            "bootloader neither reads nor writes flash; set recovery: dfu, which works at "
            "every level",
        ],
    ),
    (
        "staging over both banks and an app inside a sector",
        "staging: {start: 0x08020000, size: 896K}\n  app:     {start: 0x08100000, size: 896K}",
        "staging: {start: 0x08020000, size: 1M}\n  app:     {start: 0x08120200, size: 128K}",
        [
            "8:3: areas.staging: 0x08020000..0x0811FFFF crosses from bank 1 to bank 2, "
            "0x08000000..0x080FFFFF and 0x08100000..0x081FFFFF; keep it in one bank",
            "9:3: areas.app: starts at 0x08120200 inside a sector, sectors are 128 KiB; use "
            "0x08120000 or 0x08140000",
            "9:3: areas.app: ends at 0x08140200 inside a sector, sectors are 128 KiB; use "
            "0x08140000 or 0x08160000",
            "9:3: areas.app: a vector table at 0x08120200 is not aligned, it needs 1024 "
            "bytes; start it at a sector",
        ],
    ),
    (
        "no chip",
        "chip: stm32h743xi\n",
        "",
        [
            "1:1: chip: missing; add 'chip:'",
        ],
    ),
    (
        "an empty product name",
        "name: splitflash demo board",
        "name: ''",
        [
            "5:28: product.name: found '', expected 1 to 32 printable ASCII characters; change it",
        ],
    ),
    (
        "staging that ends inside a sector",
        "staging: {start: 0x08020000, size: 896K}",
        "staging: {start: 0x08020000, size: 834K}",
        [
            "8:3: areas.staging: ends at 0x080F0800 inside a sector, sectors are 128 KiB; "
            "use 0x080E0000 or 0x08100000",
        ],
    ),
    (
        "staging that reaches into bank 2",
        "staging: {start: 0x08020000, size: 896K}",
        "staging: {start: 0x08020000, size: 1M}",
        [
            "8:3: areas.staging: 0x08020000..0x0811FFFF crosses from bank 1 to bank 2, "
            "0x08000000..0x080FFFFF and 0x08100000..0x081FFFFF; keep it in one bank",
            "9:3: areas.app: starts at 0x08100000, 'areas.staging' reaches up to 0x0811FFFF; "
            "let them not overlap",
        ],
    ),
    (
        "marks behind the end of flash",
        "marks:   {start: 0x081E0000, size: 128K}",
        "marks:   {start: 0x08200000, size: 128K}",
        [
            "10:3: areas.marks: 0x08200000..0x0821FFFF is outside the flash of stm32h743xi, "
            "0x08000000..0x080FFFFF and 0x08100000..0x081FFFFF; move or shrink it",
        ],
    ),
    (
        "a loader in the second sector",
        "loader:  {start: 0x08000000, size: 128K}",
        "loader:  {start: 0x08020000, size: 128K}",
        [
            "7:3: areas.loader: starts at 0x08020000, the chip boots from 0x08000000; start "
            "it there",
            "8:3: areas.staging: starts at 0x08020000, 'areas.loader' reaches up to "
            "0x0803FFFF; let them not overlap",
        ],
    ),
    (
        "an app that starts a little late",
        "app:     {start: 0x08100000, size: 896K}",
        "app:     {start: 0x08100200, size: 896K}",
        [
            "9:3: areas.app: starts at 0x08100200 inside a sector, sectors are 128 KiB; use "
            "0x08100000 or 0x08120000",
            "9:3: areas.app: ends at 0x081E0200 inside a sector, sectors are 128 KiB; use "
            "0x081E0000 or 0x08200000",
            "9:3: areas.app: a vector table at 0x08100200 is not aligned, it needs 1024 "
            "bytes; start it at a sector",
            "10:3: areas.marks: starts at 0x081E0000, 'areas.app' reaches up to 0x081E01FF; "
            "let them not overlap",
        ],
    ),
    (
        "marks without a size",
        "marks:   {start: 0x081E0000, size: 128K}",
        "marks:   {start: 0x081E0000}",
        [
            "10:3: areas.marks: found {start}, expected exactly start and size; write it "
            "like {start: 0x08020000, size: 128K}",
        ],
    ),
    (
        "marks with a size in kB",
        "marks:   {start: 0x081E0000, size: 128K}",
        "marks:   {start: 0x081E0000, size: 128kB}",
        [
            "10:3: areas.marks: found size '128kB', expected bytes or like 128K, 1M; change it",
        ],
    ),
    (
        "marks with no bytes",
        "marks:   {start: 0x081E0000, size: 128K}",
        "marks:   {start: 0x081E0000, size: 0}",
        [
            "10:3: areas.marks: found size 0, expected more than 0; use whole sectors of 128K",
        ],
    ),
    (
        "rdp 1 with the ROM",
        "recovery: rom\nrdp: 0",
        "recovery: rom\nrdp: 1",
        [
            "13:1: rdp: level 1 together with 'recovery: rom', at level 1 and 2 the ROM "
            "bootloader neither reads nor writes flash; set recovery: dfu, which works at "
            "every level",
        ],
    ),
    (
        "rdp 3",
        "rdp: 0",
        "rdp: 3",
        [
            "13:1: rdp: found 3, expected a read-out protection level: 0, 1 or 2; change it",
        ],
    ),
    (
        "boot_check as a word of YAML 1.1",
        "boot_check: crc",
        "boot_check: no",
        [
            "11:1: boot_check: found 'no', expected one of off, crc, digest; choose one",
        ],
    ),
    (
        "a misspelt boot_check",
        "boot_check: crc",
        "boot_chek: crc",
        [
            f"11:1: boot_chek: unknown key, {KNOWN}; did you mean 'boot_check'?",
        ],
    ),
    (
        "a supply between two levels",
        "supply_mv: 2700",
        "supply_mv: 2800",
        [
            "14:1: supply_mv: found 2800, expected one of 1950, 2100, 2250, 2400, 2550, "
            "2700, 2850; choose the next lower one",
        ],
    ),
    (
        "a result record in DTCM",
        "rdp: 0",
        "rdp: 0\nresult_record: 0x20000000",
        [
            "14:1: result_record: found 0x20000000, expected 32-byte aligned in AXI SRAM "
            "(0x24000000) or SRAM4 (0x38000000); use for example 0x38000000",
        ],
    ),
    (
        "data on top of staging",
        "rdp: 0",
        "rdp: 0\ndata: {settings: {start: 0x080E0000, size: 128K}}",
        [
            "14:8: data.settings: starts at 0x080E0000, 'areas.staging' reaches up to "
            "0x080FFFFF; let them not overlap",
        ],
    ),
    (
        "a security counter that is true",
        "rdp: 0",
        "rdp: 0\nsecurity_counter: true",
        [
            "14:1: security_counter: found true, expected a number of 32 bits; change it",
        ],
    ),
    (
        "everything at one place",
        (
            "staging: {start: 0x08020000, size: 896K}\n  app:     {start: 0x08100000, size: "
            "896K}\n  marks:   {start: 0x081E0000, size: 128K}"
        ),
        (
            "staging: {start: 0x08000000, size: 128K}\n  app: {start: 0x08000000, size: 128K}\n  "
            "marks: {start: 0x08000000, size: 128K}"
        ),
        [
            "8:3: areas.staging: starts at 0x08000000, 'areas.loader' reaches up to "
            "0x0801FFFF; let them not overlap",
            "9:3: areas.app: starts at 0x08000000, 'areas.loader' reaches up to 0x0801FFFF; "
            "let them not overlap",
            "9:3: areas.app: starts at 0x08000000, 'areas.staging' reaches up to 0x0801FFFF; "
            "let them not overlap",
            "10:3: areas.marks: starts at 0x08000000, 'areas.loader' reaches up to "
            "0x0801FFFF; let them not overlap",
            "10:3: areas.marks: starts at 0x08000000, 'areas.staging' reaches up to "
            "0x0801FFFF; let them not overlap",
            "10:3: areas.marks: starts at 0x08000000, 'areas.app' reaches up to 0x0801FFFF; "
            "let them not overlap",
        ],
    ),
    (
        "its own DFU that only the application opens",
        "recovery: rom",
        "recovery: dfu",
        [
            "12:1: recovery: dfu without an entry that the application has no part in, an "
            "application that starts and then hangs could never be replaced; add for example "
            "entry: {double_reset: true, watchdog_resets: 3}",
        ],
    ),
    (
        "its own DFU with every entry switched off",
        "recovery: rom",
        "recovery: dfu\nentry: {double_reset: false, watchdog_resets: 0}",
        [
            "12:1: recovery: dfu without an entry that the application has no part in, an "
            "application that starts and then hangs could never be replaced; add for example "
            "entry: {double_reset: true, watchdog_resets: 3}",
        ],
    ),
    (
        "entries into the ROM bootloader",
        "recovery: rom",
        "recovery: rom\nentry: {pin: PC13}\nusb: {vid: 0x1209}",
        [
            "13:1: entry: written beside 'recovery: rom', only the loader's own DFU uses it; set "
            "recovery: dfu, or remove 'entry:'",
            "14:1: usb: written beside 'recovery: rom', only the loader's own DFU uses it; set "
            "recovery: dfu, or remove 'usb:'",
        ],
    ),
    (
        "entries into nothing",
        "recovery: rom",
        "recovery: none\nentry: {double_reset: true}",
        [
            "13:1: entry: written beside 'recovery: none', only the loader's own DFU uses it; set "
            "recovery: dfu, or remove 'entry:'",
        ],
    ),
    (
        "an entry by a pin of USB",
        "recovery: rom",
        "recovery: dfu\nentry: {pin: PA12}",
        [
            "13:9: entry.pin: PA12 is USB D+, expected a pin that nothing else drives at reset; "
            "use another",
        ],
    ),
    (
        "an entry by a pin of the debugger",
        "recovery: rom",
        "recovery: dfu\nentry: {pin: PA14, pin_level: high}",
        [
            "13:9: entry.pin: PA14 is SWCLK, expected a pin that nothing else drives at reset; "
            "use another",
        ],
    ),
    (
        "a pin that no port has",
        "recovery: rom",
        "recovery: dfu\nentry: {pin: PC16, double_reset: true}",
        [
            "13:9: entry.pin: found 'PC16', expected a pin like PC13; change it",
        ],
    ),
    (
        "a pin that is a number",
        "recovery: rom",
        "recovery: dfu\nentry: {pin: 13, double_reset: true}",
        [
            "13:9: entry.pin: found 13, expected a pin like PC13; change it",
        ],
    ),
    (
        "a level without a pin",
        "recovery: rom",
        "recovery: dfu\nentry: {pin_level: high, double_reset: true}",
        [
            "13:9: entry.pin_level: written without 'pin', which pin has it; add 'pin:' or remove "
            "it",
        ],
    ),
    (
        "a light on a pin of the debugger",
        "recovery: rom",
        "recovery: rom\nindicator: {pin: PA13}",
        [
            "13:13: indicator.pin: PA13 is SWDIO, expected a pin that nothing else drives at "
            "reset; use another",
        ],
    ),
    (
        "a light on the pin of the entry",
        "recovery: rom",
        "recovery: dfu\nentry: {pin: PC13}\nindicator: {pin: PC13}",
        [
            "14:13: indicator.pin: PC13 is the pin of 'entry', expected a pin that nothing else "
            "drives at reset; use another",
        ],
    ),
    (
        "the level of no light",
        "recovery: rom",
        "recovery: rom\nindicator: {pin_level: low}",
        [
            "13:13: indicator.pin_level: written without 'pin', which pin has it; add 'pin:' or "
            "remove it",
        ],
    ),
    (
        "a mailbox whose second register is none",
        "recovery: rom",
        "recovery: rom\nmailbox: 31",
        [
            "13:1: mailbox: found 31, expected a number from 0 to 30; change it",
        ],
    ),
    (
        "a level that is neither",
        "recovery: rom",
        "recovery: dfu\nentry: {pin: PC13, pin_level: 1}",
        [
            "13:20: entry.pin_level: found 1, expected one of low, high; choose one",
        ],
    ),
    (
        "a double reset that is a word of YAML 1.1",
        "recovery: rom",
        "recovery: dfu\nentry: {double_reset: yes}",
        [
            "13:9: entry.double_reset: found 'yes', expected true or false; choose one",
        ],
    ),
    (
        "too many watchdog resets",
        "recovery: rom",
        "recovery: dfu\nentry: {watchdog_resets: 16}",
        [
            "13:9: entry.watchdog_resets: found 16, expected a number from 0 to 15; change it",
        ],
    ),
    (
        "a misspelt entry",
        "recovery: rom",
        "recovery: dfu\nentry: {doublereset: true}",
        [
            "12:1: recovery: dfu without an entry that the application has no part in, an "
            "application that starts and then hangs could never be replaced; add for example "
            "entry: {double_reset: true, watchdog_resets: 3}",
            "13:9: entry.doublereset: unknown key, known are pin, pin_level, double_reset, "
            "watchdog_resets; did you mean 'double_reset'?",
        ],
    ),
    (
        "an entry that is a word",
        "recovery: rom",
        "recovery: dfu\nentry: double_reset",
        [
            "13:1: entry: found 'double_reset', expected a mapping; indent its keys below it",
        ],
    ),
    (
        "USB ids beyond 16 bits",
        "recovery: rom",
        "recovery: dfu\nentry: {double_reset: true}\nusb: {vid: 0x10483, pid: 0}",
        [
            "14:7: usb.vid: found 0x00010483, expected a USB id like 0x0483; change it",
            "14:21: usb.pid: found 0, expected a USB id like 0xDF11; change it",
        ],
    ),
    (
        "a USB name of 32 characters",
        "recovery: rom",
        "recovery: dfu\nentry: {double_reset: true}\n"
        "usb: {product: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx}",
        [
            "14:7: usb.product: found 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', expected 1 to 31 "
            "printable ASCII characters; change it",
        ],
    ),
    (
        "option bytes that can be written",
        "recovery: rom",
        "recovery: dfu\nentry: {double_reset: true}\nusb: {option_bytes_alt: writable}",
        [
            "14:7: usb.option_bytes_alt: found 'writable', expected one of none, readonly; "
            "choose one",
        ],
    ),
    (
        "an application's RAM without an own name",
        "supply_mv: 2700",
        "supply_mv: 2700\napp_ram: AXI",
        [
            "15:1: app_ram: found 'AXI', expected a RAM of the chip (DTCM, AXI SRAM, "
            "SRAM1-3, SRAM1, SRAM4) or start and size; choose one",
        ],
    ),
    (
        "an application's RAM in small letters",
        "supply_mv: 2700",
        "supply_mv: 2700\napp_ram: Sram4",
        [
            "15:1: app_ram: found 'Sram4', expected a RAM of the chip (DTCM, AXI SRAM, "
            "SRAM1-3, SRAM1, SRAM4) or start and size; did you mean 'SRAM4'?",
        ],
    ),
    (
        "an application's RAM that is a number",
        "supply_mv: 2700",
        "supply_mv: 2700\napp_ram: 0x24000000",
        [
            "15:1: app_ram: found 0x24000000, expected a RAM of the chip (DTCM, AXI SRAM, "
            "SRAM1-3, SRAM1, SRAM4) or start and size; choose one",
        ],
    ),
    (
        "an application's RAM that only an H742 has",
        "supply_mv: 2700",
        "supply_mv: 2700\napp_ram: SRAM1",
        [
            "15:1: app_ram: 'SRAM1' is in no RAM of stm32h743xi, it has DTCM "
            "(0x20000000..0x2001FFFF), AXI SRAM (0x24000000..0x2407FFFF), SRAM1-3 "
            "(0x30000000..0x30047FFF), SRAM4 (0x38000000..0x3800FFFF); choose one",
        ],
    ),
    (
        "an application's RAM that leaves its region",
        "supply_mv: 2700",
        "supply_mv: 2700\napp_ram: {start: 0x24040000, size: 512K}",
        [
            "15:1: app_ram: 0x24040000..0x240BFFFF is in no RAM of stm32h743xi, it has DTCM "
            "(0x20000000..0x2001FFFF), AXI SRAM (0x24000000..0x2407FFFF), SRAM1-3 "
            "(0x30000000..0x30047FFF), SRAM4 (0x38000000..0x3800FFFF); choose one",
        ],
    ),
    (
        "an application's RAM where only code may be",
        "supply_mv: 2700",
        "supply_mv: 2700\napp_ram: {start: 0, size: 64K}",
        [
            "15:1: app_ram: 0x00000000..0x0000FFFF is in no RAM of stm32h743xi, it has DTCM "
            "(0x20000000..0x2001FFFF), AXI SRAM (0x24000000..0x2407FFFF), SRAM1-3 "
            "(0x30000000..0x30047FFF), SRAM4 (0x38000000..0x3800FFFF); choose one",
        ],
    ),
    (
        "an application's RAM of an odd size",
        "supply_mv: 2700",
        "supply_mv: 2700\napp_ram: {start: 0x24000000, size: 1001}",
        [
            "15:1: app_ram: 0x24000000 to 0x240003E9, both are multiples of 8, because the "
            "stack starts at the end; use such addresses",
        ],
    ),
    (
        "an application's RAM without a size",
        "supply_mv: 2700",
        "supply_mv: 2700\napp_ram: {start: 0x24000000}",
        [
            "15:1: app_ram: found {start}, expected exactly start and size; write it like "
            "{start: 0x24000000, size: 128K}",
        ],
    ),
    (
        "a watchdog of another word",
        "supply_mv: 2700",
        "supply_mv: 2700\nwatchdog: on",
        [
            "15:1: watchdog: found 'on', expected one of software, hardware; choose one",
        ],
    ),
    (
        "a watchdog that is a time",
        "supply_mv: 2700",
        "supply_mv: 2700\nwatchdog: 32",
        [
            "15:1: watchdog: found 32, expected one of software, hardware; choose one",
        ],
    ),
    (
        "a security counter that is a version",
        "supply_mv: 2700",
        "supply_mv: 2700\nsecurity_counter: 1.4.2",
        [
            "15:1: security_counter: found '1.4.2', expected a number of 32 bits; change it",
        ],
    ),
]
"""What it is, what is replaced by what in the default layout, and the problems."""
