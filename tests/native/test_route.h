/* Subjects of test_route that have a file of their own. */
#ifndef TEST_ROUTE_H
#define TEST_ROUTE_H

void route_files(void);

#endif
