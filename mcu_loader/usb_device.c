// usb_device.c
//
// Standard requests (USB 2.0 section 9.4), and to whom the others go.
// Promises: what is not known is refused and changes nothing.

#include "usb_device.h"

#include "descriptors.h"
#include "dfuse.h"

#define TYPE_MASK 0x60u
#define TYPE_STANDARD 0x00u
#define TYPE_CLASS 0x20u
#define RECIPIENT_MASK 0x1fu
#define TO_DEVICE 0x00u
#define TO_INTERFACE 0x01u
#define TO_ENDPOINT 0x02u
#define CONFIGURATION 1u

enum standard_request {
    GET_STATUS = 0,
    CLEAR_FEATURE = 1,
    SET_ADDRESS = 5,
    GET_DESCRIPTOR = 6,
    GET_CONFIGURATION = 8,
    SET_CONFIGURATION = 9,
    GET_INTERFACE = 10,
    SET_INTERFACE = 11,
};

static struct {
    uint32_t alternates;
    uint8_t alternate;
    uint8_t configuration;
    uint8_t status[2];
} device;

void
device_open(const struct info_block *info, const uint32_t uid[3])
{
    device.alternates = info->option_bytes_alt ? 2 : 1;
    descriptors_open(info, uid);
    dfuse_open(info);
    device_reset();
}

void
device_reset(void)
{
    device.alternate = 0;
    device.configuration = 0;
    dfuse_reset();
}

static uint32_t
recipient(const struct usb_setup *setup)
{
    return setup->type & RECIPIENT_MASK;
}

static int
is_class_of_ours(const struct usb_setup *setup)
{
    return (setup->type & (TYPE_MASK | RECIPIENT_MASK)) ==
               (TYPE_CLASS | TO_INTERFACE) &&
           setup->index == 0;
}

static int
get_status(const struct usb_setup *setup, const uint8_t **data)
{
    if (setup->index != 0 || recipient(setup) > TO_ENDPOINT) {
        return USB_REFUSED;
    }
    device.status[0] = recipient(setup) == TO_DEVICE; // self-powered
    device.status[1] = 0;
    *data = device.status;
    return 2;
}

static int
standard_in(const struct usb_setup *setup, const uint8_t **data)
{
    switch (setup->request) {
    case GET_STATUS:
        return get_status(setup, data);
    case GET_DESCRIPTOR:
        return descriptor(setup->value >> 8, setup->value & 0xffu, data);
    case GET_CONFIGURATION:
        *data = &device.configuration;
        return 1;
    case GET_INTERFACE:
        *data = &device.alternate;
        return setup->index == 0 ? 1 : USB_REFUSED;
    default:
        return USB_REFUSED;
    }
}

static int
set_configuration(uint32_t value)
{
    if (value > CONFIGURATION) {
        return USB_REFUSED;
    }
    device_reset();
    device.configuration = (uint8_t)value;
    return 0;
}

static int
set_interface(const struct usb_setup *setup)
{
    if (setup->index != 0 || setup->value >= device.alternates) {
        return USB_REFUSED;
    }
    dfuse_reset(); // whoever comes begins anew
    device.alternate = (uint8_t)setup->value;
    return 0;
}

static int
standard_take(const struct usb_setup *setup)
{
    switch (setup->request) {
    case SET_ADDRESS:
        if (setup->value > 127) {
            return USB_REFUSED;
        }
        usb_set_address(setup->value);
        return 0;
    case SET_CONFIGURATION:
        return set_configuration(setup->value);
    case SET_INTERFACE:
        return set_interface(setup);
    case CLEAR_FEATURE: // a halt of endpoint 0 ends with every SETUP
        return recipient(setup) == TO_ENDPOINT && setup->value == 0
                   ? 0
                   : USB_REFUSED;
    default:
        return USB_REFUSED;
    }
}

int
device_in(const struct usb_setup *setup, const uint8_t **data)
{
    if ((setup->type & TYPE_MASK) == TYPE_STANDARD) {
        return standard_in(setup, data);
    }
    if (is_class_of_ours(setup)) {
        return dfuse_in(setup, data);
    }
    return descriptor_of_vendor(setup, data);
}

uint8_t *
device_out(const struct usb_setup *setup)
{
    return is_class_of_ours(setup) ? dfuse_out(setup) : 0;
}

int
device_take(const struct usb_setup *setup)
{
    if (setup->type & USB_IN) {
        return USB_REFUSED; // an answer of no bytes is asked for
    }
    if ((setup->type & TYPE_MASK) == TYPE_STANDARD) {
        return standard_take(setup);
    }
    return is_class_of_ours(setup) ? dfuse_take(setup) : USB_REFUSED;
}

void
device_done(const struct usb_setup *setup)
{
    if (is_class_of_ours(setup)) {
        dfuse_done(setup);
    }
}
