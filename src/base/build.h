/*
 * build: which rptfs is this?
 */
#ifndef BASE_BUILD_H
#define BASE_BUILD_H

#define BUILD_VERSION_SIZE 48

/* "0.1.0 (3f2a91c0)": the release, and the beginning of the build id that the linker gave this very
 * program ("0.1.0" if it gave none). Two builds of one release differ in it. */
const char *build_version(char ret[BUILD_VERSION_SIZE]);

#endif
