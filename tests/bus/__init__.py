"""Stock programs against virtual boards: dfu-util, libusb and usbip as the distribution ships them.

    mocked_bus    a USB bus that programs see instead of the computer's own, run in virtual time
      usbfs         the ioctls of its device nodes        udev   news of a board plugged in
      virtual_time  C, preloaded: sleeping costs nothing  permission   nodes nobody may open
    scene         a product: its boards, its update, what a power cycle shows
    table         the acceptance table below the results of a run (test_table fills it)
    transcript    what dfu-util sends, as text in transcripts/ (test_transcripts records it anew)
    usbip_client  the host's end of USB/IP, for packager/sim/usbip.py

Needed: dfu-util, umockdev, gir1.2-umockdev-1.0, python3-gi, usbip, and any C compiler. Without one
of them its tests are skipped; with SPLITFLASH_TEST_ALL_TOOLS=1 they fail. Only a kernel without
USB/IP host (module vhci_hcd) is a skip always.
"""
