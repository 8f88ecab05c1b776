"""What STM32CubeProgrammer prints, as logs in public reports have it, and programs that say it.

The words that our scripts look for are the same in logs of version 2.2 to 2.19; serial numbers and
sizes are made up.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

BANNER = (
    "      -------------------------------------------------------------------\n"
    "                       STM32CubeProgrammer v2.17.0                  \n"
    "      -------------------------------------------------------------------\n\n"
)
CONNECTED = (
    "USB speed   : Full Speed (12MBit/s)\n"
    "Manuf. ID   : STMicroelectronics\n"
    "Product ID  : DFU in FS Mode \n"
    "SN          : 200364500000\n"
    "DFU protocol: 1.1\n"
    "Board       : --\n"
    "Device ID   : 0x0450\n"
)
WRITING = (
    "\n\nMemory Programming ...\n"
    "Opening and parsing file: update.hex\n"
    "  File          : update.hex\n"
    "  Size          : 20.12 KB \n"
    "  Address       : 0x08020000 \n\n\n"
    "Erasing memory corresponding to segment 0:\n"
    "Erasing internal memory sector 1\n"
    "erasing sector 0001 @: 0x08020000 done\n"
    "Download in Progress:\n"
    "[==================================================] 100% \n\n"
)
COMPLETE = (
    "File download complete\nTime elapsed during download operation: 00:00:02.101\n\n"
    "Verifying ...\n\nRead progress:\n"
)
BAR = "[==================================================] 100% \n\n"
VERIFIED = BAR + "Download verified successfully \n"


def listed(count: int) -> str:
    """Return the answer to ``-l usb``."""
    head = BANNER + "=====  DFU Interface   =====\n\n"
    if not count:
        return head + "No STM32 device in DFU mode connected\n"
    devices = "".join(
        f"  Device Index           : USB{number}\n"
        "  USB Bus Number         : 001\n"
        f"  USB Address Number     : 00{number}\n"
        "  Product ID             : DFU in FS Mode\n"
        "  Serial number          : 200364500000\n"
        "  Firmware version       : 0x011a\n"
        "  Device ID              : 0x0450\n\n"
        for number in range(1, count + 1)
    )
    return f"{head}Total number of available STM32 device in DFU mode: {count}\n\n{devices}"


@dataclass(frozen=True)
class Case:
    """What the programmer answers, and what the script has to make of it."""

    devices: int
    answer: str
    answer_code: int
    code: int
    words: tuple[str, ...]
    list_code: int = 0


CASES = {
    "success": Case(
        1,
        BANNER + CONNECTED + WRITING + COMPLETE + VERIFIED,
        0,
        0,
        ("DONE", "BOOT0 to OFF", "Plug it in again"),
    ),
    "verify failed": Case(
        1,
        BANNER
        + CONNECTED
        + WRITING
        + COMPLETE
        + "Error: Data mismatch found at address 0x08020400 (byte = 0xFF instead of 0x3A)\n"
        "Error: Download verification failed\n",
        1,
        15,
        ("STOPPED", "did not verify", "step 1"),
    ),
    "verify failed, exit code 0": Case(
        1,
        BANNER + CONNECTED + WRITING + COMPLETE + "Error: Download verification failed\n",
        0,
        15,
        ("STOPPED", "did not verify"),
    ),
    "nothing done, exit code 0": Case(
        1, BANNER + CONNECTED + WRITING, 0, 10, ("STOPPED", "was not written")
    ),
    "unplugged while writing": Case(
        1,
        BANNER
        + CONNECTED
        + WRITING
        + "Error: failed to download Sector[0]\nError: failed to download the File\n",
        1,
        10,
        ("STOPPED", "was not written", "another cable"),
    ),
    "verified, but an error at the end": Case(
        1,
        BANNER + CONNECTED + WRITING + COMPLETE + VERIFIED,
        1,
        10,
        ("STOPPED", "ended with an error (1)"),
    ),
    "no device": Case(0, "", 0, 11, ("STOPPED", "no device found", "BOOT0 to ON")),
    "no device, exit code 1": Case(0, "", 0, 11, ("STOPPED", "no device found"), 1),
    "several devices": Case(
        3, "", 0, 12, ("STOPPED", "3 devices found", "Leave only one of them plugged in")
    ),
    "protected": Case(
        1,
        BANNER
        + CONNECTED
        + "\nWarning: Device is under Read Out Protection\n"
        + "Error: Data read failed\n",
        1,
        14,
        ("STOPPED", "read-protected", "Never", "erases the device for good"),
    ),
    "protected, exit code 0": Case(
        1,
        BANNER
        + CONNECTED
        + "Device is under read out protection ! If you want to disable RDP please reconnect with"
        " Read Unprotect enabled\n",
        0,
        14,
        ("STOPPED", "read-protected", "Never"),
    ),
}

LIST, WRITE, CALLS = "list", "write", "calls.txt"


def put_replies(folder: Path, case: Case) -> None:
    """Lay out what a fake programmer in ``folder`` will answer."""
    for name, text, code in (
        (LIST, listed(case.devices), case.list_code),
        (WRITE, case.answer, case.answer_code),
    ):
        (folder / f"{name}.txt").write_text(text)
        (folder / f"{name}.code").write_text(str(code))


def fake_for_sh(folder: Path, name: str = "STM32_Programmer_CLI") -> None:
    """Put a programmer into ``folder`` that answers with what lies beside it."""
    program = folder / name
    program.write_text(
        "#!/bin/sh\n"
        'here=$(dirname "$0")\n'
        f'printf "%s|" "$@" >>"$here/{CALLS}"\n'
        f'echo >>"$here/{CALLS}"\n'
        f"case $1 in -l) part={LIST} ;; *) part={WRITE} ;; esac\n"
        'cat "$here/$part.txt"\n'
        'exit "$(cat "$here/$part.code")"\n'
    )
    program.chmod(0o755)


_EXE = r"""
/* The same for Windows: no C library, so that it builds in no time. */
typedef void *HANDLE;
typedef unsigned int DWORD;
#define API __declspec(dllimport)
API HANDLE GetStdHandle(DWORD);
API int WriteFile(HANDLE, const void *, DWORD, DWORD *, void *);
API int ReadFile(HANDLE, void *, DWORD, DWORD *, void *);
API int CloseHandle(HANDLE);
API HANDLE CreateFileA(const char *, DWORD, DWORD, void *, DWORD, DWORD, HANDLE);
API char *GetCommandLineA(void);
API DWORD GetEnvironmentVariableA(const char *, char *, DWORD);
API void ExitProcess(unsigned);

static char path[1024], block[4096];

static DWORD length(const char *text) { DWORD n = 0; while (text[n]) n++; return n; }

static HANDLE file(const char *name, DWORD access, DWORD how)
{
    DWORD n = GetEnvironmentVariableA("FAKE_REPLIES", path, 900), i = 0;
    path[n++] = '\\';
    for (; name[i]; i++) path[n++] = name[i];
    path[n] = 0;
    return CreateFileA(path, access, 3, 0, how, 128, 0);
}

void entry(void)
{
    char *line = GetCommandLineA();
    DWORD got = 0, code = 0, lists = 0, n = length(line);
    for (DWORD i = 0; i + 3 < n; i++)
        if (line[i] == '-' && line[i + 1] == 'l' && line[i + 2] == ' ') lists = 1;
    HANDLE calls = file("calls.txt", 4, 4);
    WriteFile(calls, line, n, &got, 0);
    WriteFile(calls, "\n", 1, &got, 0);
    CloseHandle(calls);
    HANDLE text = file(lists ? "list.txt" : "write.txt", 0x80000000u, 3);
    while (ReadFile(text, block, sizeof block, &got, 0) && got)
        WriteFile(GetStdHandle((DWORD)-11), block, got, &got, 0);
    HANDLE number = file(lists ? "list.code" : "write.code", 0x80000000u, 3);
    ReadFile(number, block, 8, &got, 0);
    for (DWORD i = 0; i < got; i++) code = code * 10 + (DWORD)(block[i] - '0');
    ExitProcess(code);
}
"""


def fake_for_windows(folder: Path) -> Path:
    """Build a programmer for Windows that answers with what lies in ``FAKE_REPLIES``."""
    source, program = folder / "fake.c", folder / "STM32_Programmer_CLI.exe"
    source.write_text(_EXE)
    command = [
        sys.executable, "-m", "ziglang", "cc", "-target", "x86_64-windows-gnu", "-nostdlib", "-Os",
        "-fno-sanitize=all", "-fno-builtin", "-Wl,-e,entry", "-o", program, source, "-lkernel32",
    ]  # fmt: skip
    subprocess.run(command, check=True)
    return program
