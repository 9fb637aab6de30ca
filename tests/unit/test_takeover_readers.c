/*
 * Taking over: readers, look-ups and listings continue meanwhile, and never see an older version.
 */
#include "takeover_mount.h"

#define N_READERS  4
#define N_VERSIONS 2000
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#	define N_DEATHS 50
#else
#	define N_DEATHS 150
#endif

static void reader_main(void)
{
	static const size_t read_names[] = { A, B, C };
	unsigned seed = (unsigned)getpid();
	uint64_t last[N_NAMES] = { 0 }, id = 0;
	struct {
		int fd;
		uint64_t id;
	} kept[8];

	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		kept[i].fd = -1;
	while (!atomic_load(&control->end)) {
		size_t name = read_names[(size_t)rand_r(&seed) % ARRAY_SIZE(read_names)];
		size_t place = (size_t)rand_r(&seed) % ARRAY_SIZE(kept);
		int fd = open_and_read(name, &id, rand_r(&seed) % 2);
		if (id < last[name])
			fail("%s: %" PRIu64 " after %" PRIu64, names[name], id, last[name]);
		last[name] = id;
		if (kept[place].fd >= 0) {
			read_all(kept[place].fd, kept[place].id, true);
			close(kept[place].fd);
		}
		kept[place].fd = fd;
		kept[place].id = id;
		if (!is_listed(C))
			fail("%s is not listed", names[C]);
	}
	_exit(0);
}

/* No look-up returns a version older than one that any process saw before it. */
static void looker_main(bool lists)
{
	while (!atomic_load(&control->end)) {
		uint64_t seen = atomic_load(&control->seen);
		if (lists)
			is_listed(C);
		uint64_t id = shown_id(C);
		if (id < seen)
			fail("%s: %" PRIu64 " after %" PRIu64, names[C], id, seen);
		while (seen < id && !atomic_compare_exchange_weak(&control->seen, &seen, id))
			;
	}
	_exit(0);
}

/* Look-ups and listings of a directory run side by side. */
static void test_listed_while_moving(void)
{
	pid_t lookers[N_READERS];

	for (size_t i = 0; i < N_READERS; i++) {
		lookers[i] = fork_child();
		if (lookers[i] == 0)
			looker_main(i % 2);
	}
	atomic_store(&control->hurry, true);
	atomic_store(&control->publish, true);
	uint64_t until = atomic_load(&world->next_id) + N_VERSIONS;
	ok(wait_for(atomic_load(&world->next_id) > until), "there were many versions");
	atomic_store(&control->publish, false);
	atomic_store(&control->hurry, false);
	atomic_store(&control->end, true);
	for (size_t i = 0; i < N_READERS; i++)
		ok(ends_well(lookers[i]), "a looker ends");
	atomic_store(&control->end, false);
	if (!ok(atomic_load(&control->failures) == 0, "no name goes back"))
		printf("# the first: %s\n", control->what);
}

static void test_deaths(void)
{
	pid_t readers[N_READERS];
	unsigned seed = 7;
	int orderly = 0, clean = 0;

	for (size_t i = 0; i < N_READERS; i++) {
		readers[i] = fork_child();
		if (readers[i] == 0)
			reader_main();
	}
	atomic_store(&control->publish, true);
	kill_worker();
	start_worker();
	for (int i = 0; i < N_DEATHS; i++) {
		usleep((unsigned)rand_r(&seed) % 40000);
		if (i % 5 == 4) {
			orderly++;
			clean += hand_over();
		} else {
			kill_worker();
		}
		start_worker();
	}
	uint64_t reads = atomic_load(&control->reads);
	ok(wait_for(atomic_load(&control->reads) > reads + 20), "readers continue");
	atomic_store(&control->end, true);
	for (size_t i = 0; i < N_READERS; i++)
		ok(ends_well(readers[i]), "a reader ends");
	atomic_store(&control->publish, false);
	is_int(clean, orderly, "each worker that was asked to end did so");
	if (!ok(atomic_load(&control->failures) == 0, "no read failed, was torn or went back"))
		printf("# %d failures, the first: %s\n", atomic_load(&control->failures),
		       control->what);
	printf("# %" PRIu64 " reads over %d deaths\n", atomic_load(&control->reads), N_DEATHS);
	ok(wait_for(inflight_occupied(inflight) == 0), "no request is left");
}

int main(void)
{
	if (!set_up())
		return 1;
	test_listed_while_moving();
	test_deaths();
	return tear_down();
}
