// mem.c

#include "mem.h"

// Word by word where both sides are aligned: the long copies and fills of the
// loader all are.
#define ALIGNED(a) (((uintptr_t)(a) & 3u) == 0)

void *
memcpy(void *restrict to, const void *restrict from, size_t size)
{
    uint8_t *out = to;
    const uint8_t *in = from;
    if (ALIGNED(out) && ALIGNED(in)) {
        for (; size >= 4; size -= 4, out += 4, in += 4) {
            *(uint32_t *)(void *)out = *(const uint32_t *)(const void *)in;
        }
    }
    while (size--) {
        *out++ = *in++;
    }
    return to;
}

void *
memmove(void *to, const void *from, size_t size)
{
    uint8_t *out = to;
    const uint8_t *in = from;
    if ((uintptr_t)out - (uintptr_t)in >= size) {
        return memcpy(to, from, size); // no overlap that forward would break
    }
    while (size--) {
        out[size] = in[size];
    }
    return to;
}

void *
memset(void *to, int value, size_t size)
{
    uint8_t *out = to;
    const uint32_t word = (uint8_t)value * 0x01010101u;
    if (ALIGNED(out)) {
        for (; size >= 4; size -= 4, out += 4) {
            *(uint32_t *)(void *)out = word;
        }
    }
    while (size--) {
        *out++ = (uint8_t)value;
    }
    return to;
}

int
memcmp(const void *a, const void *b, size_t size)
{
    const uint8_t *x = a;
    const uint8_t *y = b;
    for (; size; size--, x++, y++) {
        if (*x != *y) {
            return *x < *y ? -1 : 1;
        }
    }
    return 0;
}

uint32_t
mem_differs(const void *a, const void *b, size_t size)
{
    const volatile uint8_t *x = a;
    const volatile uint8_t *y = b;
    uint32_t mismatch = 0;
    for (size_t i = 0; i < size; i++) {
        const uint8_t left = x[i];
        const uint8_t right = y[i];
        mismatch |= (uint32_t)(left ^ right);
    }
    return mismatch;
}

uint32_t
mem_differs_from(const void *a, uint8_t value, size_t size)
{
    const uint8_t *x = a;
    const uint32_t word = value * 0x01010101u;
    uint32_t mismatch = 0;
    if (ALIGNED(x)) {
        for (; size >= 4; size -= 4, x += 4) {
            mismatch |= *(const uint32_t *)(const void *)x ^ word;
        }
    }
    for (; size; size--) {
        mismatch |= (uint32_t)(*x++ ^ value);
    }
    return mismatch;
}
