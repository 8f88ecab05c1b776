// indicator_none.c

#include "indicator.h"

void
indicator_busy(void)
{
}

void
indicator_refused(void)
{
}

void
indicator_toggle(void)
{
}

void
indicator_close(void)
{
}
