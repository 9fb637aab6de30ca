#include "base/build.h"

#include <elf.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define SHOWN_BYTES 4

struct search {
	const uint8_t *id; /* at least SHOWN_BYTES long; NULL: none */
};

static size_t aligned(size_t size)
{
	return (size + 3) & ~(size_t)3;
}

/* A note is a header, a name and a descriptor, each padded to four bytes. */
static void search_notes(struct search *search, const uint8_t *notes, size_t size)
{
	while (size >= sizeof(ElfW(Nhdr))) {
		ElfW(Nhdr) note;

		memcpy(&note, notes, sizeof(note));
		size_t name = aligned(note.n_namesz), whole = name + aligned(note.n_descsz);
		if (whole > size - sizeof(note))
			return;
		notes += sizeof(note);
		size -= sizeof(note);
		if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == sizeof(ELF_NOTE_GNU) &&
		    memcmp(notes, ELF_NOTE_GNU, sizeof(ELF_NOTE_GNU)) == 0 &&
		    note.n_descsz >= SHOWN_BYTES) {
			search->id = notes + name;
			return;
		}
		notes += whole;
		size -= whole;
	}
}

/* The program comes first; its libraries are skipped. */
static int search_program(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	for (size_t i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];
		uintptr_t address = (uintptr_t)(info->dlpi_addr + header->p_vaddr);

		if (header->p_type == PT_NOTE)
			search_notes(arg, (const uint8_t *)address, header->p_memsz);
	}
	return 1;
}

const char *build_version(char ret[BUILD_VERSION_SIZE])
{
	struct search search = { NULL };

	dl_iterate_phdr(search_program, &search);
	if (search.id)
		snprintf(ret, BUILD_VERSION_SIZE, "%s (%02x%02x%02x%02x)", RPTFS_VERSION,
			 search.id[0], search.id[1], search.id[2], search.id[3]);
	else
		snprintf(ret, BUILD_VERSION_SIZE, "%s", RPTFS_VERSION);
	return ret;
}
