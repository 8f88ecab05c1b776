// mark.h
//
// The device's memory of what was installed, begun and refused: append-only
// records in the marks sector, each a full snapshot. Promises: a record counts
// only if all of it reads back; what was torn is skipped; the newest valid
// record survives a cut anywhere, also while the sector is being emptied.

#ifndef SPLITFLASH_MARK_H
#define SPLITFLASH_MARK_H

#include "loader.h"

#define MARKS_SPARE 256u   // an install begins with at least so many slots
#define REFUSALS_KEPT 64u  // records in a run; further ones stay in RAM

struct marks {
    struct mark_record newest; // state STATE_NONE if there is none
    uint32_t next_slot;        // first blank one
    uint32_t fresh;            // YES: newest was written since reset
};

// Finds the newest record; finishes an interrupted emptying.
void marks_open(struct marks *marks);

// 0 if flash, asked again, still gives the same newest record.
NODISCARD uint32_t marks_differ(const struct marks *marks);

// Writes `record` as the newest one; sequence and crc are filled in here.
NODISCARD int marks_append(struct marks *marks, struct mark_record *record);

// The same, and a second time: no single bad word takes it back.
NODISCARD int marks_append_twice(struct marks *marks,
                                 struct mark_record *record);

// Is not a single slot left?
int marks_are_full(const struct marks *marks);

// Is there room for a whole install?
int marks_have_room(const struct marks *marks);

// Empties the sector but for the newest record. Not 0: no slot of the carry
// area took the copy, and nothing else happened; or the sector cannot be
// emptied, and what is carried counts.
NODISCARD int marks_compact(struct marks *marks);

// YES while nothing but the carry area is sure to hold the newest record.
NODISCARD uint32_t marks_are_carried(void);

// Remembers a refusal, up to REFUSALS_KEPT in a run.
void marks_refuse(struct marks *marks, enum reason reason,
                  const struct update_header *header);

#endif
