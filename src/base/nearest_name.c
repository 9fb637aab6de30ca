#include "base/nearest_name.h"

#include <string.h>

#define MAX_BYTES 64

/* The optimal string alignment distance. */
static size_t distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	uint8_t cost[MAX_BYTES + 1][MAX_BYTES + 1];

	for (size_t i = 0; i <= a_len; i++) {
		for (size_t j = 0; j <= b_len; j++) {
			if (i == 0 || j == 0) {
				cost[i][j] = (uint8_t)(i + j);
				continue;
			}
			int best = cost[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
			if (best > cost[i - 1][j] + 1)
				best = cost[i - 1][j] + 1;
			if (best > cost[i][j - 1] + 1)
				best = cost[i][j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    best > cost[i - 2][j - 2] + 1)
				best = cost[i - 2][j - 2] + 1;
			cost[i][j] = (uint8_t)best;
		}
	}
	return cost[a_len][b_len];
}

void nearest_consider(struct nearest *nearest, const char *candidate)
{
	size_t text_len = strlen(nearest->text);
	size_t len = strlen(candidate);
	size_t allowed = len < 3 ? 1 : len / 3;

	/* Rule out most candidates by their length, so that ten thousand of them are cheap. */
	if (text_len > MAX_BYTES || len > MAX_BYTES || text_len > len + allowed ||
	    len > text_len + allowed)
		return;
	size_t edits = distance(nearest->text, text_len, candidate, len);
	if (edits <= allowed && edits < nearest->edits) {
		nearest->edits = edits;
		nearest->found = candidate;
	}
}
