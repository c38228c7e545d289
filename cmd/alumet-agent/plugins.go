package main

import (
	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/hwsources/procfs"
	"github.com/alumet-hpc/alumet-hpc/hwsources/rapl"
	"github.com/alumet-hpc/alumet-hpc/hwsources/tdpmodel"
	"github.com/alumet-hpc/alumet-hpc/jobs/jobenergy"
	"github.com/alumet-hpc/alumet-hpc/outputs/csv"
	"github.com/alumet-hpc/alumet-hpc/scheduler/cgroups"
	"github.com/alumet-hpc/alumet-hpc/scheduler/slurm"
)

// plugins is the list of all plugins. The books and the tracker are what they share; for declarations that are never
// opened both may be nil.
func plugins(b *jobenergy.Book, t *cgroups.Tracker) []agent.Plugin {
	return []agent.Plugin{
		rapl.Plugin(),
		tdpmodel.Plugin(),
		procfs.Plugin(),
		slurm.Plugin(t),
		jobenergy.Plugin(b),
		csv.Plugin(),
	}
}

// standard are the plugins of a configuration that is made without naming any.
func standard() []string {
	return []string{"rapl", "tdp-model", "procfs", "slurm", jobenergy.Name, "csv"}
}
