// app_v2.c
//
// The application after its first update: says who it is and what the loader
// did before it started it, read from the result record.

#include "console.h"
#include "splitflash_layout.h"

static const char *
action_text(uint32_t action)
{
    static const char *const texts[] = {
        "nothing", "booted", "installed an update", "refused an update",
        "found its update already installed",
    };
    return action < sizeof texts / sizeof *texts ? texts[action] : "?";
}

int
main(void)
{
    const volatile struct splitflash_result *result =
        (const volatile struct splitflash_result *)SPLITFLASH_RESULT_RECORD;

    console_init();
    console_text("example application 2.0.0\nthe loader ");
    console_text(action_text(result->action));
    console_text(", installed version ");
    console_version(result->version);
    console_text(", security counter ");
    console_number(result->security_counter);
    console_text(", reason ");
    console_number(result->reason);
    console_text("\n");
    return 0;
}
