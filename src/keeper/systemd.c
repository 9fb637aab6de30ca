#include "keeper/systemd.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "base/util.h"

#define NAME_SIZE     48
#define DEVICE_PREFIX "device-"

static bool is_ready;
static char device_name[NAME_SIZE]; /* of the device in the descriptor store; "": it is not there */

void systemd_ready(void)
{
	is_ready = true;
	sd_notify(0, "READY=1");
}

void systemd_alive(void)
{
	sd_notify(0, "WATCHDOG=1");
}

void systemd_extend_start(void)
{
	if (!is_ready)
		sd_notify(0, "EXTEND_TIMEOUT_USEC=30000000");
}

void systemd_stopping(void)
{
	sd_notify(0, "STOPPING=1");
}

bool systemd_is_there(void)
{
	return getenv("NOTIFY_SOCKET");
}

bool systemd_stores_mount(void)
{
	return *device_name;
}

/* ------------------------------------------------------------------ the descriptor store */

static bool store_fd(const char *name, int fd)
{
	char text[NAME_SIZE + 32];

	snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s", name);
	return sd_pid_notify_with_fds(0, 0, text, &fd, 1) > 0;
}

static void drop(const char *name)
{
	char text[NAME_SIZE + 32];

	snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", name);
	sd_notify(0, text);
}

void systemd_store_mount(const struct systemd_stored *mount)
{
	char name[NAME_SIZE];

	snprintf(name, sizeof(name), DEVICE_PREFIX "%llu", (unsigned long long)mount->number);
	drop("config"); /* an upgrade may have stored an older one */
	if (store_fd("config", mount->config) && store_fd("slots", mount->inflight) &&
	    store_fd(name, mount->device))
		memcpy(device_name, name, sizeof(name));
	else
		*device_name = '\0';
}

/* systemd polls the descriptors that it stores, which an O_PATH descriptor does not allow. */
void systemd_store_store(int store)
{
	_cleanup_close_ int directory = openat(store, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (directory >= 0)
		store_fd("store", directory);
}

/* The manager no longer knows the command once it has ended, so wait for the manager. */
int systemd_store_machine(int machine, struct err *err)
{
	drop("machine");
	if (!store_fd("machine", machine))
		return err_set(err, ERR_CONFIG, "no service manager takes a descriptor");
	int result = sd_notify_barrier(0, UINT64_MAX);
	return result < 0 ? err_set(err, ERR_INTERNAL, "the service manager: %s", strerror(-result))
			  : 0;
}

void systemd_drop_mount(void)
{
	if (*device_name)
		drop(device_name);
	drop("slots");
	drop("config");
	*device_name = '\0';
}

void systemd_drop_store(void)
{
	drop("store");
}

/* ------------------------------------------------------------------ taking from it */

static int *field_of(struct systemd_stored *stored, const char *name)
{
	if (strncmp(name, DEVICE_PREFIX, strlen(DEVICE_PREFIX)) == 0)
		return &stored->device;
	if (strcmp(name, "slots") == 0)
		return &stored->inflight;
	if (strcmp(name, "config") == 0)
		return &stored->config;
	if (strcmp(name, "machine") == 0)
		return &stored->machine;
	return strcmp(name, "store") == 0 ? &stored->store : NULL;
}

static void take(struct systemd_stored *stored, const char *name, int fd)
{
	int *field = field_of(stored, name);

	if (!field || *field >= 0) {
		/* The newest comes first; older ones belong to mounts that have ended. */
		close(fd);
		drop(name);
		return;
	}
	*field = fd;
	if (field != &stored->device)
		return;
	stored->number = (dev_t)strtoull(name + strlen(DEVICE_PREFIX), NULL, 10);
	snprintf(device_name, sizeof(device_name), "%s", name);
}

void systemd_take_stored(struct systemd_stored *ret)
{
	char **names = NULL;
	int n = sd_listen_fds_with_names(1, &names);

	*ret = (struct systemd_stored){
		.device = -1,
		.inflight = -1,
		.config = -1,
		.store = -1,
		.machine = -1,
	};
	for (int i = 0; i < n; i++) {
		take(ret, names[i], SD_LISTEN_FDS_START + i);
		free(names[i]);
	}
	free(names);
}
