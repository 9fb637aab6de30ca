#include "keeper/notify.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "base/util.h"

#define NAME_SIZE     48
#define DEVICE_PREFIX "device-"

static bool is_ready;
static char device_name[NAME_SIZE]; /* what the device is kept as; "": it is not */

void notify_ready(void)
{
	is_ready = true;
	sd_notify(0, "READY=1");
}

void notify_alive(void)
{
	sd_notify(0, "WATCHDOG=1");
}

void notify_starting(void)
{
	if (!is_ready)
		sd_notify(0, "EXTEND_TIMEOUT_USEC=30000000");
}

void notify_stopping(void)
{
	sd_notify(0, "STOPPING=1");
}

bool notify_keeps(void)
{
	return *device_name;
}

/* ------------------------------------------------------------------ what is kept */

static bool keep(const char *name, int fd)
{
	char text[NAME_SIZE + 32];

	snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s", name);
	return sd_pid_notify_with_fds(0, 0, text, &fd, 1) > 0;
}

static void forget(const char *name)
{
	char text[NAME_SIZE + 32];

	snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", name);
	sd_notify(0, text);
}

void notify_keep_mount(const struct notify_kept *kept)
{
	char name[NAME_SIZE];

	snprintf(name, sizeof(name), DEVICE_PREFIX "%llu", (unsigned long long)kept->number);
	forget("config"); /* there may be another one */
	if (keep("config", kept->config) && keep("slots", kept->slots) && keep(name, kept->device))
		memcpy(device_name, name, sizeof(name));
	else
		*device_name = '\0';
}

/* A service manager polls what it keeps, which cannot be done with a handle (O_PATH) to a
 * directory. */
void notify_keep_store(int store)
{
	_cleanup_close_ int directory = openat(store, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (directory >= 0)
		keep("store", directory);
}

void notify_forget_mount(void)
{
	if (*device_name)
		forget(device_name);
	forget("slots");
	forget("config");
	*device_name = '\0';
}

void notify_forget_store(void)
{
	forget("store");
}

/* ------------------------------------------------------------------ taking it back */

static int *place_of(struct notify_kept *kept, const char *name)
{
	if (strncmp(name, DEVICE_PREFIX, strlen(DEVICE_PREFIX)) == 0)
		return &kept->device;
	if (strcmp(name, "slots") == 0)
		return &kept->slots;
	if (strcmp(name, "config") == 0)
		return &kept->config;
	return strcmp(name, "store") == 0 ? &kept->store : NULL;
}

static void take(struct notify_kept *kept, const char *name, int fd)
{
	int *place = place_of(kept, name);

	if (!place || *place >= 0) {
		/* The newest comes first; an older one belongs to a mount that was given up. */
		close(fd);
		forget(name);
		return;
	}
	*place = fd;
	if (place != &kept->device)
		return;
	kept->number = (dev_t)strtoull(name + strlen(DEVICE_PREFIX), NULL, 10);
	snprintf(device_name, sizeof(device_name), "%s", name);
}

void notify_take(struct notify_kept *ret)
{
	char **names = NULL;
	int n = sd_listen_fds_with_names(1, &names);

	*ret = (struct notify_kept){ .device = -1, .slots = -1, .config = -1, .store = -1 };
	for (int i = 0; i < n; i++) {
		take(ret, names[i], SD_LISTEN_FDS_START + i);
		free(names[i]);
	}
	free(names);
}
