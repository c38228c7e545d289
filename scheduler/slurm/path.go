package slurm

import (
	"strings"

	"github.com/alumet-hpc/alumet-hpc/jobs"
	"github.com/alumet-hpc/alumet-hpc/scheduler/cgroups"
)

// Scheduler is the first part of the IDs of Slurm's jobs.
const Scheduler = "slurm"

// matchPath recognises the groups of Slurm's two cgroup plugins:
//
//	v1  /slurm[_NODE]/uid_1000/job_10707/step_2/task_0
//	v2  /…slice/[NODE_]slurmstepd.scope/job_10707/step_2/{slurm,user}/task_0
//
// Builds with multiple slurmds on a host, such as Debian's, put the node's name in; the slice is configurable since 25.11;
// from 26.05 on the job's directory is named by its SLUID on v2. It allocates nothing.
func matchPath(path string, v cgroups.Version) cgroups.Match {
	if len(path) < 1 || path[0] != '/' {
		return cgroups.Match{UID: -1}
	}
	if path == "/" {
		return cgroups.Match{Role: cgroups.Above, UID: -1}
	}
	if v == cgroups.V1 {
		return matchV1(path[1:])
	}
	return matchV2(path[1:])
}

func matchV1(path string) cgroups.Match {
	none := cgroups.Match{UID: -1}
	root, rest, more := strings.Cut(path, "/")
	if root != "slurm" && !(strings.HasPrefix(root, "slurm_") && len(root) > len("slurm_")) {
		return none
	}
	if !more {
		return cgroups.Match{Role: cgroups.Parent, UID: -1}
	}
	name, rest, more := strings.Cut(rest, "/")
	digits, isUID := strings.CutPrefix(name, "uid_")
	uid, ok := number(digits, 1<<32-1)
	if !isUID || !ok {
		// `system` and whatever else is below Slurm's own group is no job.
		if more {
			return none
		}
		return cgroups.Match{Role: cgroups.Other, UID: -1, Leaf: true}
	}
	if !more {
		return cgroups.Match{Role: cgroups.Inner, UID: int64(uid)}
	}
	name, rest, more = strings.Cut(rest, "/")
	job, isJob := strings.CutPrefix(name, "job_")
	if !isJob || !isJobNumber(job) {
		return none
	}
	m := cgroups.Match{Role: cgroups.Job, ID: jobs.ID{Scheduler: Scheduler, Name: job}, UID: int64(uid)}
	if !more {
		return m
	}
	return matchStep(m, rest, cgroups.V1)
}

func matchV2(path string) cgroups.Match {
	none := cgroups.Match{UID: -1}
	for range maxSlices {
		name, rest, more := strings.Cut(path, "/")
		if isScope(name) {
			if !more {
				return cgroups.Match{Role: cgroups.Parent, UID: -1}
			}
			return matchInScope(rest)
		}
		if !strings.HasSuffix(name, ".slice") || name == "user.slice" || name == "machine.slice" {
			return none
		}
		if !more {
			return cgroups.Match{Role: cgroups.Above, UID: -1}
		}
		path = rest
	}
	return none
}

// maxSlices is how deep Slurm's scope is looked for.
const maxSlices = 5

func isScope(name string) bool {
	node, ok := strings.CutSuffix(name, "slurmstepd.scope")
	return ok && (node == "" || len(node) > 1 && node[len(node)-1] == '_')
}

func matchInScope(path string) cgroups.Match {
	name, rest, more := strings.Cut(path, "/")
	m := cgroups.Match{Role: cgroups.Job, ID: jobs.ID{Scheduler: Scheduler, Name: name}, UID: -1}
	if job, ok := strings.CutPrefix(name, "job_"); ok && isJobNumber(job) {
		m.ID.Name = job
	} else if isSLUID(name) {
		m.Unresolved = true
	} else if more {
		return cgroups.Match{UID: -1}
	} else {
		return cgroups.Match{Role: cgroups.Other, UID: -1, Leaf: true}
	}
	if !more {
		return m
	}
	return matchStep(m, rest, cgroups.V2)
}

// matchStep recognises what is below a job's group.
func matchStep(m cgroups.Match, path string, v cgroups.Version) cgroups.Match {
	none := cgroups.Match{UID: -1}
	name, rest, more := strings.Cut(path, "/")
	step, ok := strings.CutPrefix(name, "step_")
	if !ok || !isStep(step) {
		return none
	}
	m.Role, m.Step = cgroups.Step, step
	if !more {
		return m
	}
	m.Role = cgroups.Part
	if v == cgroups.V2 {
		m.Sub, rest, more = strings.Cut(rest, "/")
		if m.Sub != "slurm" && m.Sub != "user" {
			return none
		}
		if !more {
			return m
		}
	}
	task, ok := strings.CutPrefix(rest, "task_")
	if !ok || !isStep(task) {
		return none
	}
	m.Task, m.Leaf = task, true
	return m
}

// isStep accepts the names of steps and tasks: a number, or a lower-case word such as `batch`, `extern`, `interactive` or
// `special`.
func isStep(s string) bool {
	if _, ok := number(s, 1<<32-1); ok {
		return true
	}
	for i := range len(s) {
		if s[i] < 'a' || s[i] > 'z' {
			return false
		}
	}
	return s != "" && len(s) <= 32
}

func isJobNumber(s string) bool {
	_, ok := number(s, 1<<32-1)
	return ok
}

// number parses decimal digits without leading zeros, so that one job has one name.
func number(s string, most uint64) (uint64, bool) {
	if s == "" || len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	var v uint64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		if v = v*10 + uint64(s[i]-'0'); v > most {
			return 0, false
		}
	}
	return v, true
}

// isSLUID recognises the names of job directories since Slurm 26.05: `s` and 13 characters of Crockford's base 32.
func isSLUID(s string) bool {
	if len(s) != 14 || s[0] != 's' {
		return false
	}
	for i := 1; i < len(s); i++ {
		c := s[i]
		if !(c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' && c != 'I' && c != 'L' && c != 'O' && c != 'U') {
			return false
		}
	}
	return true
}
