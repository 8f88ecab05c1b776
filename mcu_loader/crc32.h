// crc32.h
//
// CRC-32 as zlib, Ethernet and PNG have it. Finds accidents, not attacks.

#ifndef SPLITFLASH_CRC32_H
#define SPLITFLASH_CRC32_H

#include <stdint.h>

// Start with 0 and feed the parts in order, as with zlib's crc32().
uint32_t crc32_update(uint32_t crc, const void *data, uint32_t size);

#endif
