// Telling the processor which memory will be wanted soon, which Swift has no word for. No code of its own to link.
#ifndef ZG_CPREFETCH_H
#define ZG_CPREFETCH_H

/// Begins to bring the cache line of an address near. Any address is allowed; nothing waits and nothing can fail.
static inline void zg_prefetch(const void *address) { __builtin_prefetch(address, 0, 3); }

#endif
