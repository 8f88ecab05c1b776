// descriptors.h
//
// What the device says about itself. Promises: the memory it offers is staging
// alone, from the layout; names and ids come from the info block, the serial
// number from the chip; Windows finds its own driver (MS OS 2.0).

#ifndef SPLITFLASH_DESCRIPTORS_H
#define SPLITFLASH_DESCRIPTORS_H

#include "usb.h"

// `info` must stay readable while staging is being erased.
void descriptors_open(const struct info_block *info, const uint32_t uid[3]);

// As device_in() in usb.h.
NODISCARD int
descriptor(uint32_t kind, uint32_t number, const uint8_t **data);
NODISCARD int
descriptor_of_vendor(const struct usb_setup *setup, const uint8_t **data);

#endif
