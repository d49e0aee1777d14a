/* Clearing what engines that died have left. */
#ifndef OSB_CGROUP_SWEEP_H
#define OSB_CGROUP_SWEEP_H

#include "engine.h"

/* Kills every process in the cgroups below `directory` and removes them, but not `directory` itself. */
int osb_cgroup_sweep(int directory, struct osb_error *error);
/* Removes the trees below `parent` whose name starts with `prefix`, which no engine has locked and in which no process
 * is left: those of engines of other names that were killed. Best effort. */
void osb_cgroup_sweep_dead(int parent, const char *prefix);

#endif
