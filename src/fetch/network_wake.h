/*
 * network_wake: when the network comes back, updates of terms whose sources were unreachable are
 * planned again. Used by the scheduler's thread alone.
 */
#ifndef FETCH_NETWORK_WAKE_H
#define FETCH_NETWORK_WAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "fetch/network.h"
#include "fetch/update_plan.h"

struct network_wake {
	struct update_plan *plan; /* borrowed */
	struct network *network;  /* owned; NULL: there is no news */
	int64_t act_at_ms;	  /* when to act on the news; INT64_MAX: there is none */
	int64_t acted_at_ms;	  /* when the news was last acted on */
	int64_t gap_ms;		  /* the shortest time until it is acted on again */
};

void network_wake_init(struct network_wake *wake, struct update_plan *plan);
void network_wake_release(struct network_wake *wake);

/* For poll(): a descriptor that is readable when there is news, or -1; and the timeout. */
int network_wake_fd(const struct network_wake *wake);
int network_wake_timeout_ms(const struct network_wake *wake);

/* Reads the news, and returns whether there was any. Call this when poll() has found the descriptor
 * readable. */
bool network_wake_read(struct network_wake *wake);

/* Plans the updates, if it is time. */
void network_wake_act(struct network_wake *wake);

#endif
