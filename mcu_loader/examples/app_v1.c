// app_v1.c
//
// The smallest application: says who it is, then sleeps.

#include "console.h"

int
main(void)
{
    console_init();
    console_text("example application 1.0.0\n");
    return 0;
}
