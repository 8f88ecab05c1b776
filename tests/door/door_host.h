// door_host.h
//
// See door_host.c.

#ifndef SPLITFLASH_DOOR_HOST_H
#define SPLITFLASH_DOOR_HOST_H

#include <stdint.h>

enum host_broken {
    HOST_OUTSIDE_STAGING = 1,
    HOST_READ_OF_A_SECRET = 2,
    HOST_READ_WHILE_BUSY = 4,
    HOST_TWO_OPERATIONS = 8,
    HOST_WRITTEN_TWICE = 16,
    HOST_BAD_ADDRESS = 32,
    HOST_NOT_TOLD = 64, // an operation before dfuDNBUSY was answered
};

struct host_door {
    uint32_t broken;
    uint32_t erases;
    uint32_t last_erased;
    uint32_t programs;
    uint32_t usb_address;
    uint32_t busy_was_told;
    uint32_t turns_of_an_operation;
    uint32_t supply_is_low;
    uint32_t operations_fail;
    uint32_t programs_go_wrong;
};

void host_open(const uint8_t *info_bytes);
void host_work(uint32_t turns);
uint32_t host_is_leaving(void);
void host_bus_reset(void);
uint8_t *host_flash(void);
uint8_t *host_sick(void);
struct host_door *host_state(void);

// `request`: bmRequestType, bRequest << 8; `value_index`: wValue, wIndex << 16.
// Of OUT data, `arrived` bytes come. -1: STALL; else bytes in `data`.
int host_control(uint32_t request, uint32_t value_index, uint32_t length,
                 uint8_t *data, uint32_t arrived, uint32_t is_finished);

#endif
