/* The subjects of test_store, a file each. */
#ifndef TEST_STORE_H
#define TEST_STORE_H

void store_codec(void);
void store_names(void);
void store_versions(void);
void store_large(void);
void store_damage(void);
void store_threads(void);
void store_walk(void);
void store_copy(void);
void store_gc(void);
void store_branch(void);
void store_usage(void);

#endif
