package slurm

import (
	"strconv"

	"github.com/alumet-hpc/alumet-hpc/jobs"
	"github.com/alumet-hpc/alumet-hpc/scheduler/cgroups"
)

// describe fills in what the environment of a task says of its job: names, and the coordinates in an array or a
// heterogeneous job. The components of a heterogeneous job all have the leader's number as SLURM_JOB_ID; their own is among
// the numbers by component.
func describe(env cgroups.Environ, id jobs.ID, f *jobs.Facts) bool {
	leader, offset := hetJob(env, id)
	if env.Get("SLURM_JOB_ID") != id.Name && leader == "" {
		return false
	}
	set := func(to *string, key string) {
		if v := env.Get(key); v != "" && len(v) <= maxFact {
			*to = v
		}
	}
	f.HetJob, f.HetOffset = leader, offset
	set(&f.Partition, "SLURM_JOB_PARTITION")
	set(&f.Account, "SLURM_JOB_ACCOUNT")
	set(&f.JobName, "SLURM_JOB_NAME")
	if offset != "" {
		set(&f.Partition, "SLURM_JOB_PARTITION_HET_GROUP_"+offset)
		set(&f.Account, "SLURM_JOB_ACCOUNT_HET_GROUP_"+offset)
		set(&f.JobName, "SLURM_JOB_NAME_HET_GROUP_"+offset)
	}
	set(&f.ArrayJob, "SLURM_ARRAY_JOB_ID")
	set(&f.ArrayTask, "SLURM_ARRAY_TASK_ID")
	return true
}

// maxFact bounds a text that a user may choose.
const maxFact = 1024

// maxHet is Slurm's own bound of the components of a heterogeneous job.
const maxHet = 128

// hetJob returns the leader's number and the index of the component, empty when the job is not heterogeneous. In tasks of an
// srun without an allocation Slurm uses the older word PACK only.
func hetJob(env cgroups.Environ, id jobs.ID) (leader, offset string) {
	size, _ := strconv.Atoi(env.Get("SLURM_HET_SIZE"))
	for _, prefix := range [...]string{"SLURM_JOB_ID_HET_GROUP_", "SLURM_JOB_ID_PACK_GROUP_"} {
		for i := range min(size, maxHet) {
			if env.Get(prefix+strconv.Itoa(i)) == id.Name {
				return env.Get(prefix + "0"), strconv.Itoa(i)
			}
		}
	}
	return "", ""
}
