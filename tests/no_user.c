/*
 * no_user: a machine without the user "rptfs", for LD_PRELOAD.
 */
#include <dlfcn.h>
#include <pwd.h>
#include <string.h>

struct passwd *getpwnam(const char *name)
{
	struct passwd *(*original)(const char *) = dlsym(RTLD_NEXT, "getpwnam");

	return original && strcmp(name, "rptfs") != 0 ? original(name) : NULL;
}
