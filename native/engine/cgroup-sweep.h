/* Clearing what an engine that died under the same name has left. */
#ifndef OSB_CGROUP_SWEEP_H
#define OSB_CGROUP_SWEEP_H

#include "engine.h"

/* Kills every process in the cgroups below `directory` and removes them, but not `directory` itself. */
int osb_cgroup_sweep(int directory, struct osb_error *error);

#endif
