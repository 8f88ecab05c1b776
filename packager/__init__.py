"""splitflash: encrypted, signed firmware updates for STM32H743 devices over plain USB DfuSe."""

__version__ = "0.1.0"
