/*
 * hash: uthash, which does not end the process when it runs out of memory.
 *
 * HASH_ADD…() can fail then: hash_has(element, hh) tells afterwards whether the element was added.
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define hash_has(element, hh) ((element)->hh.tbl != NULL)

#endif
