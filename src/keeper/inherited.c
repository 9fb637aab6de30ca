#include "keeper/inherited.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"

void inherited_reset_signals_and_umask(void)
{
	static const int used[] = { SIGCHLD, SIGTERM, SIGUSR1, SIGUSR2 };
	sigset_t none;

	for (size_t i = 0; i < ARRAY_SIZE(used); i++)
		signal(used[i], SIG_DFL);
	signal(SIGXFSZ, SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	umask(umask(0077) & 0077);
}

void inherited_open_standard(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

static int compare_numbers(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

void inherited_close_fds(const struct systemd_stored *stored)
{
	int kept[] = { STDERR_FILENO, stored->device, stored->inflight, stored->store,
		       stored->machine };

	qsort(kept, ARRAY_SIZE(kept), sizeof(*kept), compare_numbers);
	/* Closes the gaps between them. */
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
		bool is_last = i + 1 == ARRAY_SIZE(kept);
		unsigned first = (unsigned)kept[i] + 1;
		unsigned last = is_last ? ~0U : (unsigned)kept[i + 1] - 1;
		if (kept[i] >= STDERR_FILENO && first <= last)
			close_range(first, last, 0);
	}
}
