#include "base/process_id.h"

#include <stdlib.h>
#include <unistd.h>

static pid_t remembered;

void process_id_remember(void)
{
	char number[16];
	ssize_t len = readlink("/proc/self", number, sizeof(number) - 1);

	if (len <= 0)
		return;
	number[len] = '\0';
	remembered = (pid_t)strtol(number, NULL, 10);
}

pid_t process_id(void)
{
	return remembered > 0 ? remembered : getpid();
}
