// descriptors.c
//
// See descriptors.h. What is constant is a table, what is not is put together
// in one buffer when it is asked for. Tables lie in ITCM with the code.

#include "descriptors.h"

#include "dfuse.h"

#define LARGEST 192u
#define VENDOR_REQUEST 0x53u
#define WINDOWS_8_1 0x00, 0x00, 0x03, 0x06
#define MS_OS_SIZE 162u
#define MS_OS_INDEX 7u
#define LANGUAGE_US 0x0409u
#define MODES_READ_ERASE_WRITE 'g'
#define MODES_READ 'a'

enum descriptor_kind {
    KIND_DEVICE = 1,
    KIND_CONFIGURATION = 2,
    KIND_STRING = 3,
    KIND_BOS = 15,
    KIND_DFU = 0x21,
};

enum text {
    TEXT_LANGUAGES,
    TEXT_MANUFACTURER,
    TEXT_PRODUCT,
    TEXT_SERIAL,
    TEXT_MEMORY,
    TEXT_OPTIONS,
};

#define FUNCTIONAL_SIZE 9u
#define FUNCTIONAL \
    FUNCTIONAL_SIZE, KIND_DFU, \
        0x0b,       /* download, upload, detach; after leave it is gone */ \
        0xff, 0x00, /* ms */ \
        DFUSE_TRANSFER_SIZE & 0xff, DFUSE_TRANSFER_SIZE >> 8, \
        0x1a, 0x01

static const uint8_t functional[] = { FUNCTIONAL };

static const uint8_t bos[] = {
    5, KIND_BOS, 33, 0, 1,
    // platform capability: MS OS 2.0
    28, 16, 5, 0,
    0xdf, 0x60, 0xdd, 0xd8, 0x89, 0x45, 0xc7, 0x4c,
    0x9c, 0xd2, 0x65, 0x9d, 0x9e, 0x64, 0x8a, 0x9f,
    WINDOWS_8_1, MS_OS_SIZE, 0, VENDOR_REQUEST, 0,
};

// Up to the property's name and data, which are UTF-16.
static const uint8_t ms_os_head[] = {
    10, 0, 0, 0, WINDOWS_8_1, MS_OS_SIZE, 0,
    20, 0, 3, 0, 'W', 'I', 'N', 'U', 'S', 'B', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    132, 0, 4, 0, 7, 0, 42, 0,
};
static const char ms_os_name[] = "DeviceInterfaceGUIDs";
static const char ms_os_guid[] = "{6b4f2c1e-95d3-4b0a-8f27-d1c36e0a7954}";

static struct {
    const struct info_block *info;
    uint32_t uid[3];
    uint32_t size;
    uint8_t bytes[LARGEST];
} out;

void
descriptors_open(const struct info_block *info, const uint32_t uid[3])
{
    out.info = info;
    for (uint32_t i = 0; i < 3; i++) {
        out.uid[i] = uid[i];
    }
}

// --- putting bytes together ------------------------------------------------

static void
put(uint32_t byte)
{
    if (out.size < LARGEST) {
        out.bytes[out.size] = (uint8_t)byte;
        out.size++;
    }
}

static void
put_all(const uint8_t *bytes, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        put(bytes[i]);
    }
}

static void
put_wide(uint32_t code)
{
    put(code);
    put(code >> 8);
}

static void
put_text(const char *text, uint32_t most)
{
    for (uint32_t i = 0; i < most && text[i]; i++) {
        put_wide((uint8_t)text[i]);
    }
}

static void
put_hex(uint32_t value)
{
    for (uint32_t i = 0; i < 8; i++, value <<= 4) {
        const uint32_t digit = value >> 28;
        put_wide(digit < 10 ? '0' + digit : 'A' + digit - 10);
    }
}

static void
put_two_digits(uint32_t value)
{
    put_wide('0' + value / 10 % 10);
    put_wide('0' + value % 10);
}

// --- descriptors -----------------------------------------------------------

static void
put_device(void)
{
    static const uint8_t head[] = {
        18, KIND_DEVICE, 0x10, 0x02, 0, 0, 0, USB_PACKET,
    };
    static const uint8_t tail[] = {
        0x46, 0x53, TEXT_MANUFACTURER, TEXT_PRODUCT, TEXT_SERIAL, 1,
    };
    put_all(head, sizeof head);
    put_wide(out.info->usb_vid);
    put_wide(out.info->usb_pid);
    put_all(tail, sizeof tail);
}

static void
put_configuration(void)
{
    const uint32_t alternates = out.info->option_bytes_alt ? 2 : 1;
    const uint32_t size = 9 + alternates * 9 + FUNCTIONAL_SIZE;
    static const uint8_t tail[] = { 1, 1, 0, 0xc0, 50 }; // 100 mA
    put(9);
    put(KIND_CONFIGURATION);
    put_wide(size);
    put_all(tail, sizeof tail);
    for (uint32_t i = 0; i < alternates; i++) {
        const uint8_t interface[] = {
            9, 4, 0, (uint8_t)i, 0, 0xfe, 1, 2, (uint8_t)(TEXT_MEMORY + i),
        };
        put_all(interface, sizeof interface);
    }
    put_all(functional, sizeof functional);
}

// UM0424 4.3.2; three spaces as in the chip's own.
static void
put_memory(void)
{
    const struct area *staging = &out.info->staging;
    put_text("@Internal Flash   /0x", LARGEST);
    put_hex(staging->start);
    put_wide('/');
    put_two_digits(staging->size / SECTOR_SIZE);
    put_text("*128K", LARGEST);
    put_wide(MODES_READ_ERASE_WRITE);
}

static int
put_string(uint32_t number)
{
    const struct info_block *info = out.info;
    put(0);
    put(KIND_STRING);
    switch ((enum text)number) {
    case TEXT_LANGUAGES:
        put_wide(LANGUAGE_US);
        break;
    case TEXT_MANUFACTURER:
        put_text((const char *)info->usb_manufacturer,
                 sizeof info->usb_manufacturer);
        break;
    case TEXT_PRODUCT:
        put_text((const char *)info->usb_product, sizeof info->usb_product);
        break;
    case TEXT_SERIAL:
        for (uint32_t i = 0; i < 3; i++) {
            put_hex(out.uid[i]);
        }
        break;
    case TEXT_MEMORY:
        put_memory();
        break;
    case TEXT_OPTIONS:
        put_text("@Option Bytes   /0x5200201C/01*128 ", LARGEST);
        put_wide(MODES_READ);
        break;
    default:
        return USB_REFUSED;
    }
    out.bytes[0] = (uint8_t)out.size;
    return (int)out.size;
}

static void
put_ms_os(void)
{
    put_all(ms_os_head, sizeof ms_os_head);
    put_text(ms_os_name, sizeof ms_os_name);
    put_wide(0);
    put_wide(80);
    put_text(ms_os_guid, sizeof ms_os_guid);
    put_wide(0);
    put_wide(0);
}

int
descriptor(uint32_t kind, uint32_t number, const uint8_t **data)
{
    out.size = 0;
    *data = out.bytes;
    switch (kind) {
    case KIND_DEVICE:
        put_device();
        break;
    case KIND_CONFIGURATION:
        put_configuration();
        break;
    case KIND_STRING:
        return put_string(number);
    case KIND_BOS:
        put_all(bos, sizeof bos);
        break;
    case KIND_DFU:
        put_all(functional, sizeof functional);
        break;
    default:
        return USB_REFUSED;
    }
    return (int)out.size;
}

int
descriptor_of_vendor(const struct usb_setup *setup, const uint8_t **data)
{
    if (setup->type != 0xc0 || setup->request != VENDOR_REQUEST ||
        setup->index != MS_OS_INDEX) {
        return USB_REFUSED;
    }
    out.size = 0;
    *data = out.bytes;
    put_ms_os();
    return (int)out.size;
}
