// fuzz_decide.c
//
// The decision table and the judgement of vector tables, with any words at
// all. What must hold is said here once more, in other words.

#include <string.h>

#include "app.h"
#include "decide.h"
#include "port.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    uint8_t choose[4]; // a known answer instead of the word below
    uint32_t word[4];
    uint32_t vectors[2];
    uint32_t image_size;
};

static uint32_t
pick(uint8_t choose, uint32_t word, const uint32_t *known, uint8_t count)
{
    return choose % 4 ? known[choose / 4 % count] : word;
}

static struct facts
facts_of(const struct input *in)
{
    static const uint32_t staged[] = { STAGED_NONE, STAGED_REFUSED,
                                       STAGED_AUTHENTIC };
    static const uint32_t state[] = { STATE_NONE, STATE_INSTALLING,
                                      STATE_INSTALLED };
    static const uint32_t same[] = { YES, NO };
    static const uint32_t app[] = { APP_VALID, APP_INVALID };
    struct facts facts;
    facts.staged = pick(in->choose[0], in->word[0], staged, 3);
    facts.state = pick(in->choose[1], in->word[1], state, 3);
    facts.same = pick(in->choose[2], in->word[2], same, 2);
    facts.app = pick(in->choose[3], in->word[3], app, 2);
    return facts;
}

static enum verdict
expected(const struct facts *facts)
{
    const int valid = facts->app == APP_VALID;
    if (facts->staged == STAGED_AUTHENTIC) {
        return facts->state == STATE_INSTALLED && facts->same == YES && valid
                   ? CLEAR
                   : INSTALL;
    }
    if (facts->state == STATE_INSTALLING || !valid) {
        return STAY;
    }
    if (facts->staged == STAGED_REFUSED) {
        return CLEAR;
    }
    return facts->staged == STAGED_NONE ? BOOT_APP : STAY;
}

static int
plausible(const uint32_t vectors[2], uint32_t image_size)
{
    const uint64_t sp = vectors[0];
    const uint64_t code = vectors[1] - 1ull;
    const uint64_t start = info_block.app.start;
    int in_ram = 0;
    for (int i = 0; i < 4; i++) {
        const uint64_t low = info_block.ram[i].start;
        in_ram |= sp > low && sp <= low + info_block.ram[i].size;
    }
    return in_ram && sp % 8 == 0 && vectors[1] % 2 == 1 && image_size > 8 &&
           code >= start + 8 && code + 2 <= start + image_size;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in;
    if (size < sizeof in) {
        return 0;
    }
    memcpy(&in, data, sizeof in);
    const struct facts facts = facts_of(&in);
    REQUIRE(decide(&facts) == expected(&facts), "another verdict");
    // as the loader calls it: the size has been checked before
    in.image_size %= info_block.app.size + 1;
    if (in.choose[0] & 0x80) {
        in.vectors[0] = info_block.ram[in.choose[1] % 4].start +
                        in.vectors[0] % (info_block.ram[1].size + 64);
        in.vectors[1] = info_block.app.start +
                        in.vectors[1] % (in.image_size + 64);
    }
    REQUIRE(!!app_vectors_plausible(in.vectors, in.image_size) ==
                plausible(in.vectors, in.image_size),
            "another judgement of vectors");
    return 0;
}
