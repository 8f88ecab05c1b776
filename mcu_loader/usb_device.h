// usb_device.h
//
// What the door is on the bus: one configuration, one interface, endpoint 0.

#ifndef SPLITFLASH_USB_DEVICE_H
#define SPLITFLASH_USB_DEVICE_H

#include "usb.h"

// `info` must stay readable while staging is being erased.
void device_open(const struct info_block *info, const uint32_t uid[3]);

#endif
