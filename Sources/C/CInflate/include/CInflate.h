// What importing images needs of C: streaming decompression of gzip through ISA-L, and a setting of malloc.
#ifndef ZG_CINFLATE_H
#define ZG_CINFLATE_H

#include <stddef.h>
#include <stdint.h>

typedef struct zg_inflate zg_inflate;

enum {
    zg_inflate_more = 0,      // give more input or room
    zg_inflate_end = 1,       // one member ended; more may follow
    zg_inflate_broken = -1    // not gzip, or its checksum is wrong
};

zg_inflate *zg_inflate_open(void);
void zg_inflate_close(zg_inflate *inflate);
// Ready for another gzip member.
void zg_inflate_reset(zg_inflate *inflate);
// Decompresses from `input` to `output`; says how much of each it used.
int zg_inflate_step(
    zg_inflate *inflate, const uint8_t *input, size_t input_count, uint8_t *output, size_t output_count,
    size_t *consumed, size_t *produced);

// Freed memory stays with the process: pieces of images come and go, and the kernel would clear each page anew.
void zg_import_keep_memory(void);

#endif
