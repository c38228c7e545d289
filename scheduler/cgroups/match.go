package cgroups

import "github.com/alumet-hpc/alumet-hpc/jobs"

// Role is what a group means to a scheduler. Of several matchers' answers the largest role counts.
type Role uint8

// The roles.
const (
	// Ignore: neither a job's group nor a way to one. It is not watched.
	Ignore Role = iota
	// Above: job groups may be made somewhere below. It is watched and not read.
	Above
	// Plain: no job, but to be measured all the same.
	Plain
	// Other: child of a Parent that is no job, such as the scheduler's daemon. What it uses is no job's.
	Other
	// Parent counts what the job groups below it use and have used: what is left when one has vanished unread is its.
	Parent
	// Inner lies between a Parent and its jobs, such as Slurm's uid_1000.
	Inner
	// Job is a job's group.
	Job
	// Step is a step's group, inside its job's.
	Step
	// Part is a part of a step, such as a task: measured, but no account of its own.
	Part
)

// counts tells whether groups of the role have their CPU time read.
func (r Role) counts() bool { return r > Above }

// Match is a matcher's answer about one group.
type Match struct {
	Role Role
	// ID is the job of a Job, Step or Part.
	ID jobs.ID
	// Step names the step of a Step or Part: `0`, `batch`, …
	Step string
	// Sub and Task name a Part: `user` and `0`.
	Sub, Task string
	// UID is the owner where the path tells, else negative.
	UID int64
	// Leaf tells that nothing below matters, so that the group need not be watched for children.
	Leaf bool
	// Unresolved tells that ID is a stand-in that the matcher's [Resolver] has to replace.
	Unresolved bool

	by int // index of the matcher whose answer this is
}

// Matcher knows the paths of a scheduler's groups; that is a scheduler's whole duty. Match is called for each new group,
// with its path below the mount point. It does no input or output and allocates nothing. Parents come before children.
type Matcher interface {
	Match(path string, v Version) Match
}

// Resolver is implemented by matchers of schedulers whose paths do not name the job. Resolve looks into the group, which
// is at dir in the file system, and returns the completed match; false: not known yet, ask again.
type Resolver interface {
	Resolve(proc, dir string, m Match) (Match, bool)
}

// Describer is implemented by matchers that learn facts from the first environment of a job's process. That is the user's
// to set, so it may name things but never decide to whom energy belongs. It returns false when env is not of that job.
type Describer interface {
	Describe(env Environ, id jobs.ID, f *jobs.Facts) bool
}

// Environ is the environment of a process as the kernel shows it: `KEY=value` and a NUL, repeated.
type Environ []byte

// Get returns the value of a key, empty when it is not there.
func (e Environ) Get(key string) string {
	for len(e) > 0 {
		end := 0
		for end < len(e) && e[end] != 0 {
			end++
		}
		if end > len(key) && e[len(key)] == '=' && string(e[:len(key)]) == key {
			return string(e[len(key)+1 : end])
		}
		e = e[min(end+1, len(e)):]
	}
	return ""
}
