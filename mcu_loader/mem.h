// mem.h
//
// Memory functions without a C library. The compilers call the first four by
// name; mem_differs takes the same time whatever it compares.

#ifndef SPLITFLASH_MEM_H
#define SPLITFLASH_MEM_H

#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int value, size_t size);
int memcmp(const void *a, const void *b, size_t size);

// 0 if equal; otherwise some bits are set.
uint32_t mem_differs(const void *a, const void *b, size_t size);
// 0 if every byte is `value`; otherwise some bits are set.
uint32_t mem_differs_from(const void *a, uint8_t value, size_t size);

#endif
