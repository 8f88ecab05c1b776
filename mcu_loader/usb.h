// usb.h
//
// Between the driver of the USB controller (otg_fs.c) and the device it shows
// (usb_device.c): control transfers of endpoint 0, whole ones, one at a time.
// The driver owns packets and phases, the device owns meaning; the host tests
// drive the device without a driver.

#ifndef SPLITFLASH_USB_H
#define SPLITFLASH_USB_H

#include "loader.h"

#define USB_PACKET 64u
#define USB_IN 0x80u    // in `type`: data go to the host
#define USB_REFUSED (-1) // answer with STALL

struct usb_setup {
    uint8_t type;
    uint8_t request;
    uint16_t value;
    uint16_t index;
    uint16_t length;
};

// The driver. Never waits longer than a few milliseconds.
NODISCARD int usb_open(void); // 0, or the controller does not answer
void usb_poll(void);          // does what there is to do, one packet at most
void usb_set_address(uint32_t address);
void usb_close(void); // off the bus

// The device, called by the driver.
void device_reset(void); // by the bus
// How many bytes `data` gives; more than asked for are cut off.
NODISCARD int device_in(const struct usb_setup *setup, const uint8_t **data);
// Where `setup->length` bytes from the host go; a null pointer refuses.
NODISCARD uint8_t *device_out(const struct usb_setup *setup);
// They are there, or there are none to come.
NODISCARD int device_take(const struct usb_setup *setup);
// The host has seen the end of the transfer.
void device_done(const struct usb_setup *setup);

#endif
