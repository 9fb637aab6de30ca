/*
 * hash: uthash, without its habit to end the process when it runs out of memory.
 *
 * After HASH_ADD…() the element was added unless its handle's tbl is NULL: hash_has(element, hh).
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define hash_has(element, hh) ((element)->hh.tbl != NULL)

#endif
