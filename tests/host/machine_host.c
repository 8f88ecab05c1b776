// machine_host.c
//
// machine.h without a machine: every way out of the loader is a jump back to
// host_boot(), which never returns into frames that were left.

#include "machine.h"

#include <setjmp.h>

#include "host.h"
#include "mem.h"
#include "update.h"

NORETURN void loader_main(void);

struct host *host;

static jmp_buf way_out;
static int boots;

void
host_leave(enum host_end end)
{
    longjmp(way_out, (int)end);
}

void
host_step(void)
{
    if (host->steps_left == 0) {
        host_leave(HOST_HANG);
    }
    host->steps_left--;
}

int
host_boot(struct host *simulator)
{
    if (boots++) {
        return HOST_STALE; // statics keep what the boot before left there
    }
    host = simulator;
    // RAM that nobody clears holds anything after power-on
    memset(&update_chunk, 0xa5, sizeof update_chunk);
    const int end = setjmp(way_out);
    if (end) {
        return end;
    }
    machine_open();
    loader_main();
}

void
machine_open(void)
{
}

void
machine_long_work(void)
{
}

uint32_t
machine_flash_kib(void)
{
    return host->flash_kib;
}

int
machine_is_unprotected(void)
{
    return (int)host->is_unprotected;
}

uint32_t
machine_reset_cause(void)
{
    return 0;
}

void
machine_feed_watchdog(void)
{
    host_step();
}

void
machine_hand_over(const struct result_record *record)
{
    memcpy(&host->result, record, sizeof host->result);
}

void
machine_start(uint32_t vectors, uint32_t sp, uint32_t pc)
{
    (void)vectors;
    (void)sp;
    host->entry = pc;
    host_leave(HOST_APP);
}

void
machine_enter_rom(void)
{
    host_leave(HOST_ROM);
}

void
machine_park(void)
{
    host_leave(HOST_PARKED);
}

void
machine_panic(void)
{
    host_leave(HOST_RESET);
}
