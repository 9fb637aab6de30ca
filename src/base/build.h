/*
 * build: the version of this program.
 */
#ifndef BASE_BUILD_H
#define BASE_BUILD_H

#define BUILD_VERSION_SIZE 48

/* "0.1.0 (3f2a91c0)": the release, and the first bytes of the linker's build id ("0.1.0" if there
 * is none). Two builds of one release differ in the build id. Returns ret. */
const char *build_version(char ret[BUILD_VERSION_SIZE]);

#endif
