#include "CInflate.h"

#include <isa-l/igzip_lib.h>
#include <malloc.h>
#include <stdlib.h>

struct zg_inflate {
    struct inflate_state state;
};

zg_inflate *zg_inflate_open(void) {
    zg_inflate *inflate = malloc(sizeof *inflate);
    if (!inflate) return NULL;
    isal_inflate_init(&inflate->state);
    inflate->state.crc_flag = ISAL_GZIP;
    return inflate;
}

void zg_inflate_close(zg_inflate *inflate) { free(inflate); }

void zg_inflate_reset(zg_inflate *inflate) {
    isal_inflate_reset(&inflate->state);
    inflate->state.crc_flag = ISAL_GZIP;
}

int zg_inflate_step(
    zg_inflate *inflate, const uint8_t *input, size_t input_count, uint8_t *output, size_t output_count,
    size_t *consumed, size_t *produced) {
    struct inflate_state *state = &inflate->state;
    state->next_in = (uint8_t *)(uintptr_t)input;
    state->avail_in = (uint32_t)input_count;
    state->next_out = output;
    state->avail_out = (uint32_t)output_count;
    int result = isal_inflate(state);
    *consumed = input_count - state->avail_in;
    *produced = output_count - state->avail_out;
    if (result != ISAL_DECOMP_OK && result != ISAL_END_INPUT) return zg_inflate_broken;
    return state->block_state == ISAL_BLOCK_FINISH ? zg_inflate_end : zg_inflate_more;
}

void zg_import_keep_memory(void) {
    mallopt(M_MMAP_THRESHOLD, 16 << 20);
    mallopt(M_TRIM_THRESHOLD, 64 << 20);
}
