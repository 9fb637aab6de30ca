#include "worker/sandbox_paths.h"

#include <stdlib.h>
#include <string.h>
#include <limits.h>

#include "base/util.h"

struct visitor {
	int (*visit)(void *arg, const char *path, bool is_writable, struct err *err);
	void *arg;
};

static const char *const variables[] = {
	"OPENSSL_CONF", "OPENSSL_MODULES", "SSL_CERT_FILE",
	"SSL_CERT_DIR", "TZDIR",	   "LD_LIBRARY_PATH",
};

/* The value may be a list with colons. */
static int visit_variable(const struct visitor *visitor, const char *name, struct err *err)
{
	const char *value = getenv(name);
	_cleanup_free_ char *copy = value ? strdup(value) : NULL;
	char *rest = copy, *path;

	while ((path = strsep(&rest, ":"))) {
		if (*path == '/' && visitor->visit(visitor->arg, path, false, err) < 0)
			return -1;
	}
	return 0;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
/* The program's directory for symbols, and the directory of log_path= for reports. */
static int visit_sanitizer(const struct visitor *visitor, struct err *err)
{
	static const char *const options[] = { "ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS" };
	char program[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", program, sizeof(program) - 1);

	program[len < 0 ? 0 : len] = '\0';
	char *slash = strrchr(program, '/');
	if (slash > program) {
		*slash = '\0';
		if (visitor->visit(visitor->arg, program, false, err) < 0)
			return -1;
	}
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		const char *value = getenv(options[i]);
		const char *path = value ? strstr(value, "log_path=/") : NULL;
		if (!path)
			continue;
		path += strlen("log_path=");
		_cleanup_free_ char *dir = strndup(path, strcspn(path, ":"));
		slash = dir ? strrchr(dir, '/') : NULL;
		if (slash > dir)
			*slash = '\0';
		if (slash && visitor->visit(visitor->arg, dir, true, err) < 0)
			return -1;
	}
	return 0;
}
#else
static int visit_sanitizer(const struct visitor *visitor, struct err *err)
{
	(void)visitor, (void)err;
	return 0;
}
#endif

int sandbox_paths_visit(int (*visit)(void *arg, const char *path, bool is_writable,
				     struct err *err),
			void *arg, struct err *err)
{
	const struct visitor visitor = { visit, arg };

	for (size_t i = 0; i < ARRAY_SIZE(variables); i++) {
		if (visit_variable(&visitor, variables[i], err) < 0)
			return -1;
	}
	return visit_sanitizer(&visitor, err);
}
