/*
 * fs_attr: attributes, computed for each request from immutable data.
 */
#include "mount/view/fs_state.h"

#include <string.h>

#include "base/clock.h"

#define BLOCK_SIZE 4096

static struct timespec from_ns(int64_t ns)
{
	struct timespec ts = { .tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S };

	if (ts.tv_nsec < 0) {
		ts.tv_nsec += NS_PER_S;
		ts.tv_sec--;
	}
	return ts;
}

static void set_times(struct stat *stat, struct timespec mtime, struct timespec ctime)
{
	stat->st_atim = mtime;
	stat->st_mtim = mtime;
	stat->st_ctim = ctime;
}

static void set_size(struct stat *stat, uint64_t size_bytes)
{
	stat->st_size = (off_t)size_bytes;
	stat->st_blocks = (blkcnt_t)((size_bytes + 511) / 512);
	stat->st_blksize = BLOCK_SIZE;
}

static struct stat any_dir_stat(const struct fs *fs, uint64_t id, size_t n_subdirs,
				int64_t mtime_ns)
{
	struct stat stat = {
		.st_ino = id,
		.st_mode = S_IFDIR | 0755,
		.st_nlink = 2 + n_subdirs,
		.st_uid = fs->setup.owner,
		.st_gid = fs->setup.owner_group,
		.st_blksize = BLOCK_SIZE,
	};

	set_times(&stat, from_ns(mtime_ns), from_ns(mtime_ns));
	return stat;
}

struct stat fs_dir_stat(const struct fs *fs, const struct tree_dir *dir)
{
	return any_dir_stat(fs, dir->id, dir->n_subdirs, atomic_load(&dir->mtime_ns));
}

struct stat fs_rpt_dir_stat(const struct fs *fs)
{
	return any_dir_stat(fs, fs->rpt_dir_id, 1, fs->started_ns); /* stage */
}

struct stat fs_snapshot_stat(const struct snapshot *snapshot, const struct term *term,
			     bool superseded)
{
	struct stat stat = {
		.st_ino = snapshot->id,
		.st_mode = S_IFREG | term->config->mode,
		.st_nlink = superseded ? 0 : 1,
		.st_uid = term->config->user,
		.st_gid = term->config->group,
	};

	set_size(&stat, snapshot->size_bytes);
	set_times(&stat, snapshot->mtime, clock_from_ms(snapshot->published_at_ms));
	return stat;
}

/* Accessible to the visitor, which runs as the owner without capabilities. */
struct stat fs_pending_dir_stat(const struct fs *fs)
{
	struct stat stat = any_dir_stat(fs, fs->pending_dir_id, 0, fs->started_ns);

	stat.st_mode = S_IFDIR | 0700;
	return stat;
}

struct stat fs_generations_stat(const struct fs *fs)
{
	struct stat stat = {
		.st_ino = fs->generations_id,
		.st_mode = S_IFREG | 0444,
		.st_nlink = 1,
		.st_uid = fs->setup.owner,
		.st_gid = fs->setup.owner_group,
	};

	set_size(&stat, GENERATIONS_SIZE);
	set_times(&stat, from_ns(fs->started_ns), from_ns(fs->started_ns));
	return stat;
}

struct stat fs_rendering_stat(const struct fs *fs, const struct rendering *rendering)
{
	struct stat stat = {
		.st_ino = rendering->ino,
		.st_mode = S_IFREG | 0444,
		.st_nlink = 1,
		.st_uid = fs->setup.owner,
		.st_gid = fs->setup.owner_group,
	};
	struct timespec at = clock_from_ms(rendering->rendered_at_ms);

	set_size(&stat, rendering->len);
	set_times(&stat, at, at);
	return stat;
}

/* FNV-1a */
static uint64_t mix(uint64_t hash, const void *data, size_t len)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
	return hash;
}

uint64_t fs_attributes(const struct fs_setup *setup)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	hash = mix(hash, &setup->owner, sizeof(setup->owner));
	hash = mix(hash, &setup->owner_group, sizeof(setup->owner_group));
	for (size_t i = 0; i < setup->n_terms; i++) {
		const struct term_config *config = setup->terms[i].config;
		hash = mix(hash, config->name, strlen(config->name) + 1);
		hash = mix(hash, &config->mode, sizeof(config->mode));
		hash = mix(hash, &config->user, sizeof(config->user));
		hash = mix(hash, &config->group, sizeof(config->group));
	}
	return hash ? hash : 1;
}

struct fuse_entry_param fs_entry(const struct stat *stat)
{
	return (struct fuse_entry_param){
		.ino = stat->st_ino,
		.attr = *stat,
		.attr_timeout = FS_FOREVER_S,
		.entry_timeout = FS_FOREVER_S,
	};
}

bool fs_child_entry(const struct fs *fs, const struct tree_child *child,
		    struct fuse_entry_param *ret)
{
	struct stat stat;

	if (child->dir) {
		stat = fs_dir_stat(fs, child->dir);
	} else {
		struct snapshot *snapshot = term_current(child->term);
		if (!snapshot)
			return false;
		stat = fs_snapshot_stat(snapshot, child->term, false);
		snapshot_unref(snapshot);
	}
	*ret = fs_entry(&stat);
	return true;
}
