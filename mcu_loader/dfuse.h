// dfuse.h
//
// The DfuSe protocol (DFU 1.1a and AN3156) over staging alone. Promises: what
// is erased or programmed lies in staging, what can be read in one of four
// windows that hold no secret; dfuDNBUSY has been answered before an operation
// begins; no request waits for one; every request, in any state, has an answer
// from which the host finds its way back.

#ifndef SPLITFLASH_DFUSE_H
#define SPLITFLASH_DFUSE_H

#include "usb.h"

#define DFUSE_TRANSFER_SIZE 1024u

// `info` must stay readable while staging is being erased.
void dfuse_open(const struct info_block *info);
// By the bus, or because a new host begins: whatever was asked for is dropped.
void dfuse_reset(void);

// Class requests, as usb.h has them.
NODISCARD int dfuse_in(const struct usb_setup *setup, const uint8_t **data);
NODISCARD uint8_t *dfuse_out(const struct usb_setup *setup);
NODISCARD int dfuse_take(const struct usb_setup *setup);
void dfuse_done(const struct usb_setup *setup);

// Goes on with what was asked for; at most one operation begins in a call.
void dfuse_work(void);
// YES once the host has been told that the device leaves.
NODISCARD uint32_t dfuse_is_leaving(void);

#endif
