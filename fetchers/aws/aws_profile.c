#include "fetchers/aws/aws_profile.h"

#include <string.h>
#include <strings.h>

#include "base/safe_path.h"
#include "base/secret.h"
#include "fetchers/shared/secret_file.h"

#define FILE_MAX_BYTES (1024 * 1024)

enum section_kind { SECTION_OTHER, SECTION_PROFILE, SECTION_SERVICES };

/* Each profile and each section of services has one entry without a name, and one for each setting.
 * Points into the texts. */
struct entry {
	enum section_kind kind;
	const char *section; /* its name */
	const char *service; /* the setting is nested below this one; NULL: it is not nested */
	const char *name;    /* NULL: the section itself */
	const char *value;
	const char *path; /* borrowed from the caller's aws_paths */
	unsigned line;
};

struct aws_profiles {
	char *texts[2]; /* owned; locked memory */
	struct entry *entries;
	size_t n_entries;
	size_t n_allocated;
	char problem[ERR_MSG_SIZE];
};

/* One file while it is being read. */
struct reader {
	struct aws_profiles *profiles;
	const char *path;
	bool is_config, has_services;
	unsigned line;
	enum section_kind kind;
	const char *section; /* NULL: before the first one, or in one of another kind */
	const char *service; /* the setting of a section of services that may have nested ones */
	bool in_section;
	bool in_setting;
	size_t indent; /* of the last section or setting */
};

static bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

/* Removes trailing blanks in place and skips leading ones. */
static char *trim(char *text)
{
	text += strspn(text, " \t");
	size_t len = strlen(text);
	while (len && is_space(text[len - 1]))
		text[--len] = '\0';
	return text;
}

/* Adds an entry of the current line. name: NULL for the section itself. */
static int add(const struct reader *reader, const char *name, const char *value, struct err *err)
{
	struct aws_profiles *profiles = reader->profiles;

	if (profiles->n_entries == profiles->n_allocated) {
		size_t n = profiles->n_allocated ? 2 * profiles->n_allocated : 32;
		struct entry *grown = reallocarray(profiles->entries, n, sizeof(*grown));
		if (!grown)
			return err_set(err, ERR_INTERNAL, "credentials: out of memory");
		profiles->entries = grown;
		profiles->n_allocated = n;
	}
	profiles->entries[profiles->n_entries++] = (struct entry){
		.kind = reader->kind,
		.section = reader->section,
		.service = reader->service,
		.name = name,
		.value = value,
		.path = reader->path,
		.line = reader->line,
	};
	return 0;
}

static int fail(const struct reader *reader, const char *what, struct err *err)
{
	return err_set(err, ERR_DENIED, "%s:%u: %s", reader->path, reader->line, what);
}

/* Removes a pair of quotes. */
static char *unquote(char *name)
{
	size_t len = strlen(name);

	if (len >= 2 && (name[0] == '"' || name[0] == '\'') && name[len - 1] == name[0]) {
		name[len - 1] = '\0';
		name++;
	}
	return name;
}

/* The name in "[word NAME]"; NULL: the title has another form. */
static char *name_after(char *title, const char *word)
{
	size_t len = strlen(word);

	if (strncmp(title, word, len) != 0 || !is_space(title[len]))
		return NULL;
	return unquote(trim(title + len));
}

static void begin_section(struct reader *reader, char *title)
{
	char *profile = name_after(title, "profile");
	char *services = reader->has_services ? name_after(title, "services") : NULL;

	if (!profile && !services && (!reader->is_config || strcmp(title, "default") == 0))
		profile = title;
	reader->kind = profile ? SECTION_PROFILE : services ? SECTION_SERVICES : SECTION_OTHER;
	reader->section = profile ? profile : services;
	reader->service = NULL;
	reader->in_section = true;
	reader->in_setting = false;
}

static int read_section(struct reader *reader, char *text, struct err *err)
{
	char *end = strchr(text, ']');

	if (!end)
		return fail(reader, "the section has no \"]\"", err);
	*end = '\0';
	begin_section(reader, trim(text + 1));
	return reader->section ? add(reader, NULL, NULL, err) : 0;
}

/* A comment may follow any value except a command line, where "#" may be part of it. */
static void cut_comment(const char *name, char *value)
{
	if (strcasecmp(name, "credential_process") == 0)
		return;
	for (char *at = value; *at; at++) {
		if ((*at == '#' || *at == ';') && at > value && is_space(at[-1])) {
			*at = '\0';
			return;
		}
	}
}

/* Splits "name = value". */
static int split(const struct reader *reader, char *text, char **ret_name, char **ret_value,
		 struct err *err)
{
	char *equals = text + strcspn(text, "=:");

	if (!*equals || equals == text)
		return fail(reader, "neither \"[section]\" nor \"setting = value\"", err);
	*equals = '\0';
	*ret_name = trim(text);
	cut_comment(*ret_name, equals + 1);
	*ret_value = trim(equals + 1);
	return 0;
}

static int read_setting(struct reader *reader, char *text, struct err *err)
{
	char *name, *value;

	if (split(reader, text, &name, &value, err) < 0)
		return -1;
	if (!reader->in_section)
		return fail(reader, "a setting before the first section", err);
	reader->in_setting = true;
	reader->service = NULL;
	if (reader->kind == SECTION_SERVICES)
		reader->service = name;
	return reader->kind == SECTION_PROFILE ? add(reader, name, value, err) : 0;
}

static int read_nested(struct reader *reader, char *text, struct err *err)
{
	char *name, *value;

	if (reader->kind != SECTION_SERVICES)
		return 0;
	return split(reader, text, &name, &value, err) < 0 ? -1 : add(reader, name, value, err);
}

static int read_line(struct reader *reader, char *line, struct err *err)
{
	size_t indent = strspn(line, " \t");
	char *text = trim(line);

	if (!*text || *text == '#' || *text == ';')
		return 0;
	if (reader->in_setting && indent > reader->indent)
		return read_nested(reader, text, err);
	reader->indent = indent;
	return *text == '[' ? read_section(reader, text, err) : read_setting(reader, text, err);
}

static int read_text(struct reader *reader, char *text, struct err *err)
{
	char *line;

	while ((line = strsep(&text, "\n"))) {
		size_t len = strlen(line);
		if (len && line[len - 1] == '\r')
			line[len - 1] = '\0';
		reader->line++;
		if (read_line(reader, line, err) < 0)
			return -1;
	}
	return 0;
}

/* ours: only if nobody but root and the user of this process can change it. */
static int read_text_file(struct helper *helper, const char *path, bool ours, char **ret,
			  struct err *err)
{
	size_t len;

	if (ours) {
		_cleanup_close_ int fd = safe_path_open(path, SAFE_PATH_OURS, err);
		if (fd < 0)
			return err_prefix(err, "opening %s", path);
		if (secret_file_read_open(fd, path, FILE_MAX_BYTES, ret, &len, err) < 0)
			return -1;
	} else if (secret_file_read(helper, path, FILE_MAX_BYTES, ret, &len, err) < 0) {
		return -1;
	}
	if (memchr(*ret, '\0', len))
		return err_set(err, ERR_DENIED, "%s: not a text file", path);
	return 0;
}

enum purpose { FOR_KEYS, FOR_SETTINGS, FOR_TRUST };

struct loading {
	struct aws_profiles *profiles;
	struct helper *helper;
	enum purpose purpose;
	bool ours;
	bool is_only; /* there is only the credentials file */
};

static int read_profiles(const struct loading *loading, size_t i, const char *path, bool is_config,
			 struct err *err)
{
	struct aws_profiles *profiles = loading->profiles;
	struct reader reader = {
		.profiles = profiles,
		.path = path,
		.is_config = is_config,
		.has_services = is_config || loading->is_only,
	};
	bool is_required = loading->is_only && loading->purpose != FOR_SETTINGS;
	struct err why = ERR_INIT;

	if (!path)
		return 0;
	if (read_text_file(loading->helper, path, loading->ours, &profiles->texts[i], &why) < 0) {
		bool is_missing = why.kind == ERR_NOT_FOUND;
		bool is_unreadable = why.kind == ERR_DENIED && !loading->ours;
		if (is_required || (!is_missing && !is_unreadable))
			return err_set(err, is_missing ? ERR_DENIED : why.kind, "%s", why.msg);
		if (!is_missing)
			memcpy(profiles->problem, why.msg, sizeof(profiles->problem));
		return 0;
	}
	return read_text(&reader, profiles->texts[i], err);
}

static int load(struct aws_profiles **ret, struct helper *helper, const struct aws_paths *paths,
		enum purpose purpose, struct err *err)
{
	_cleanup_(aws_profiles_free_cleanup) struct aws_profiles *profiles = calloc(
		1, sizeof(*profiles));
	const struct loading loading = {
		.profiles = profiles,
		.helper = helper,
		.purpose = purpose,
		.ours = purpose == FOR_TRUST && geteuid() == 0,
		.is_only = !paths->config,
	};

	if (!profiles)
		return err_set(err, ERR_INTERNAL, "credentials: out of memory");
	if (read_profiles(&loading, 0, paths->config, true, err) < 0 ||
	    read_profiles(&loading, 1, paths->credentials, false, err) < 0)
		return -1;
	*ret = steal_ptr(&profiles);
	return 0;
}

int aws_profiles_load(struct aws_profiles **ret, struct helper *helper,
		      const struct aws_paths *paths, struct err *err)
{
	return load(ret, helper, paths, FOR_KEYS, err);
}

int aws_profiles_load_settings(struct aws_profiles **ret, const struct aws_paths *paths,
			       struct err *err)
{
	return load(ret, NULL, paths, FOR_SETTINGS, err);
}

int aws_profiles_load_trusted(struct aws_profiles **ret, const struct aws_paths *paths,
			      struct err *err)
{
	return load(ret, NULL, paths, FOR_TRUST, err);
}

void aws_profiles_free(struct aws_profiles *profiles)
{
	if (!profiles)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(profiles->texts); i++)
		secret_free(profiles->texts[i]);
	free(profiles->entries);
	free(profiles);
}

/* Of several equal ones, the last counts. service, name: as in struct entry. */
static const struct entry *find(const struct aws_profiles *profiles, enum section_kind kind,
				const char *section, const char *service, const char *name)
{
	for (size_t i = profiles->n_entries; i-- > 0;) {
		const struct entry *entry = &profiles->entries[i];
		if (entry->kind == kind && strcmp(entry->section, section) == 0 &&
		    (service ? entry->service && strcasecmp(entry->service, service) == 0
			     : !entry->service) &&
		    (name ? entry->name && strcasecmp(entry->name, name) == 0 : !entry->name))
			return entry;
	}
	return NULL;
}

static const char *value_of(const struct entry *entry)
{
	return entry && *entry->value ? entry->value : NULL;
}

bool aws_profiles_have(const struct aws_profiles *profiles, const char *profile)
{
	return find(profiles, SECTION_PROFILE, profile, NULL, NULL);
}

const char *aws_profiles_get(const struct aws_profiles *profiles, const char *profile,
			     const char *setting)
{
	return value_of(find(profiles, SECTION_PROFILE, profile, NULL, setting));
}

bool aws_profiles_have_services(const struct aws_profiles *profiles, const char *services)
{
	return find(profiles, SECTION_SERVICES, services, NULL, NULL);
}

const char *aws_profiles_get_of_service(const struct aws_profiles *profiles, const char *services,
					const char *service, const char *setting)
{
	return value_of(find(profiles, SECTION_SERVICES, services, service, setting));
}

void aws_profiles_place(const struct aws_profiles *profiles, const char *value, char *ret,
			size_t size)
{
	for (size_t i = 0; i < profiles->n_entries; i++) {
		const struct entry *entry = &profiles->entries[i];
		if (entry->name && entry->value == value)
			snprintf(ret, size, "%s:%u: %s", entry->path, entry->line, entry->name);
	}
}

bool aws_profiles_name(const struct aws_profiles *profiles, const char *setting, const char *value)
{
	for (size_t i = 0; i < profiles->n_entries; i++) {
		const struct entry *entry = &profiles->entries[i];
		if (entry->kind == SECTION_PROFILE && entry->name &&
		    strcasecmp(entry->name, setting) == 0 && strcmp(entry->value, value) == 0)
			return true;
	}
	return false;
}

const char *aws_profiles_problem(const struct aws_profiles *profiles)
{
	return profiles->problem;
}
