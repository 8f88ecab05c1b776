"""The virtual STM32H743: flash, core, ROM bootloader, USB and the board around them."""
