// fuzz_dfuse.c
//
// Any bytes as control transfers, resets and time, for libFuzzer or for the
// loop in Python. A rule broken aborts. Half of the requests are built to make
// sense, because random ones hardly ever do.

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "door_host.h"
#include "format.h"

#define RECORD 10u // bytes of input for one step

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
uint32_t fuzz_transfers(void);

static uint32_t transfers;

static uint32_t
word(const uint8_t *from)
{
    uint32_t value;
    memcpy(&value, from, sizeof value);
    return value;
}

// Around what matters: the edges of staging, sectors, the loader, registers.
static uint32_t
address_of(const uint8_t *step)
{
    static const uint32_t near[] = {
        0x08020000, 0x08040000, 0x08100000, 0x08000000, 0x08000400, 0x08000600,
        0x081e0000, 0x08200000, 0x5200201c, 0x52002150, 0xfffffc00, 0x080fff00,
    };
    const uint32_t base = near[step[4] % (sizeof near / sizeof *near)];
    return base + (uint32_t)(int8_t)step[5] * (step[6] & 1 ? 32u : 1u);
}

static void
run_step(const uint8_t *step)
{
    static uint8_t data[65536];
    uint32_t request = word(step) & 0xffffu;
    uint32_t value_index = word(step + 2);
    uint32_t length = step[6] | (uint32_t)step[7] << 8;
    memset(data, step[8], 1100);
    switch (step[9] % 10) {
    case 0: // anything at all
        break;
    case 1:
        host_bus_reset();
        return;
    case 2: // a command
        request = 0x0121;
        value_index = 0;
        length = step[7] % 16 == 0 ? step[6] % 8u : 5;
        data[0] = step[3] & 1 ? 0x21 : step[3] & 2 ? 0x41 : step[3];
        if (step[7] % 16 == 1) {
            length = 1;
        }
        const uint32_t address = address_of(step);
        memcpy(data + 1, &address, 4);
        break;
    case 3: // data
        request = 0x0121;
        value_index = step[2] % 8u;
        length = step[7] & 1 ? 1024 : (step[6] | (uint32_t)step[7] << 8) % 1100;
        break;
    case 4:
    case 5:
        request = 0x03a1;
        value_index = 0;
        length = 6;
        break;
    case 6: // upload
        request = 0x02a1;
        value_index = step[2] % 8u;
        length %= 1100;
        break;
    case 7: // ABORT, CLRSTATUS, DETACH, GETSTATE
        request = (uint32_t)(uint8_t[]){ 6, 4, 0, 5 }[step[0] % 4] << 8 | 0x21;
        value_index = length = 0;
        break;
    case 8: // SET_INTERFACE and descriptors
        request = step[0] & 1 ? 0x0b01 : 0x0680;
        value_index = step[2] | (step[0] & 1 ? 0 : (uint32_t)step[3] << 8);
        length = step[0] & 1 ? 0 : length;
        break;
    default:
        host_work(step[0] * 2u);
        return;
    }
    transfers++;
    // one in sixteen is cut short: unplugged, or a new SETUP
    const uint32_t cut = step[8] % 16 == 0;
    (void)host_control(request, value_index, length, data,
                       cut ? length / 2 : length, !cut);
    host_work(step[8] % 4);
}

// The host finds its way back from anywhere, without the help of a reset.
static void
must_answer(void)
{
    uint8_t data[64];
    host_work(3000);
    if (host_control(0x03a1, 0, 6, data, 0, 1) != 6) {
        abort();
    }
    if (host_is_leaving() || data[4] == 7) {
        return;
    }
    host_work(3000);
    if (host_control(0x03a1, 0, 6, data, 0, 1) != 6 ||
        (data[4] == 10 && host_control(0x0421, 0, 0, data, 0, 1) != 0)) {
        abort();
    }
    if (!host_is_leaving() && host_control(0x0621, 0, 0, data, 0, 1) != 0) {
        abort();
    }
}

static void
begin(void)
{
    struct info_block info;
    memset(&info, 0, sizeof info);
    info.loader = (struct area){ 0x08000000, 0x20000 };
    info.staging = (struct area){ 0x08020000, 0xe0000 };
    info.app = (struct area){ 0x08100000, 0xe0000 };
    info.marks = (struct area){ 0x081e0000, 0x20000 };
    info.option_bytes_alt = 1;
    host_open((const uint8_t *)&info);
    host_state()->turns_of_an_operation = 3;
}

uint32_t
fuzz_transfers(void)
{
    return transfers;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    begin();
    for (; size >= RECORD; data += RECORD, size -= RECORD) {
        run_step(data);
    }
    if (host_state()->broken) {
        abort();
    }
    must_answer();
    if (host_state()->broken) {
        abort();
    }
    return 0;
}
