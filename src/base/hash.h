/*
 * hash: uthash, without exit() when out of memory.
 *
 * HASH_ADD…() can then fail: hash_has(element, hh) returns whether the element was added.
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define hash_has(element, hh) ((element)->hh.tbl != NULL)

#endif
