// app_v2.c
//
// The application after its first update: says who it is and what the loader
// did before it started it, read from the result record.

#include "console.h"
#include "splitflash_layout.h"

static const char *
action_text(uint32_t action)
{
    switch ((enum splitflash_action)action) {
    case SPLITFLASH_ACTION_BOOTED:
        return "booted";
    case SPLITFLASH_ACTION_INSTALLED:
        return "installed an update";
    case SPLITFLASH_ACTION_REFUSED:
        return "refused an update";
    case SPLITFLASH_ACTION_ALREADY_INSTALLED:
        return "found its update already installed";
    }
    return "?";
}

static void
tell(const struct splitflash_result *result)
{
    console_text("the loader ");
    console_text(action_text(result->action));
    console_text(", installed version ");
    console_version(result->version);
    console_text(", security counter ");
    console_number(result->security_counter);
    console_text(", reason ");
    console_number(result->reason);
    if (result->reason == SPLITFLASH_REASON_PAYLOAD_DIGEST) {
        console_text(": the drop was interrupted, drop the file again");
    }
    console_text("\n");
}

int
main(void)
{
    const struct splitflash_result *result = splitflash_read_result();

    console_init();
    console_text("example application 2.0.0\n");
    if (result) {
        tell(result);
    } else {
        console_text("started without the loader\n");
    }
    return 0;
}
